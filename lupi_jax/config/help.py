"""What each field is, may be and is by default, in words."""

import textwrap
from collections.abc import Callable
from itertools import groupby

from lupi_jax.config.fields import Config
from lupi_jax.config.recipes import RECIPES
from lupi_jax.settings import Field, describe, fields_of


def summary(field: Field, code: Callable[[str], str] = str) -> str:
    """A field's values, its default and each recipe's own, and when it may change.

    `code` says how a default is written.
    """
    parts = [", ".join([describe(field.kind), *(rule.message for rule in field.rules)])]
    parts.append(f"default {code(repr(field.default))}")
    own: dict[str, list[str]] = {}
    for recipe, values in RECIPES.items():
        if field.name in values:
            own.setdefault(repr(values[field.name]), []).append(recipe)
    parts += [f"{', '.join(recipes)}: {code(text)}" for text, recipes in own.items()]
    if field.may_change:
        parts.append(f"may change when a run is {' or '.join(field.may_change)}")
    return "; ".join(parts)


def help_text() -> str:
    """All fields with their help, in groups, for a terminal of 100 columns."""
    intro = (
        "Fields of the configuration, set by --config.NAME=VALUE. What the command line says wins "
        "over the file, and the file over the recipe. The configuration of a run that exists "
        "changes only where a field says so."
    )
    lines = [textwrap.fill(intro, 100)]
    classes = {name: type(value) for name, value in vars(Config()).items()}
    fields = fields_of(Config).values()
    for group, members in groupby(fields, lambda field: field.name.rpartition(".")[0]):
        doc = (classes[group] if group else Config).__doc__ or group
        lines += ["", doc.splitlines()[0]]
        for field in members:
            text = textwrap.wrap(f"{field.help} [{summary(field)}]", 68)
            names = [f"  {field.name}", *[""] * (len(text) - 1)]
            lines += [f"{name:32}{line}" for name, line in zip(names, text, strict=True)]
    return "\n".join(lines)
