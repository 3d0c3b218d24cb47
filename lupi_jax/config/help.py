"""What each field is, may be and is by default, in words."""

import textwrap
from collections.abc import Callable, Iterator
from itertools import groupby

from lupi_jax.config.fields import Config
from lupi_jax.config.recipes import RECIPES
from lupi_jax.settings import Field, describe, fields_of

_INDENT = 32


def summary(field: Field, code: Callable[[str], str] = str) -> str:
    """A field's values, its default and each recipe's own, and when it may change.

    Args:
      field: of the configuration.
      code: how a default is written.
    """
    parts = [", ".join([describe(field.kind), *(rule.message for rule in field.rules)])]
    own: dict[str, list[str]] = {}
    for recipe, values in RECIPES.items():
        if values.get(field.name, field.default) != field.default:
            own.setdefault(repr(values[field.name]), []).append(recipe)
    parts.append(f"default {code(repr(field.default))}")
    parts += [f"{', '.join(recipes)}: {code(text)}" for text, recipes in own.items()]
    if field.may_change:
        parts.append(f"may change when a run is {' or '.join(field.may_change)}")
    return "; ".join(parts)


def help_text(width: int = 100) -> str:
    """All fields with their help, in groups, for a terminal of `width` columns."""
    intro = (
        "Fields of the configuration, set by --config.NAME=VALUE. What the command line says wins "
        "over the file, and the file over the recipe. The configuration of a run that exists "
        "changes only where a field says so."
    )
    return "\n".join([textwrap.fill(intro, width), *_groups(width)])


def _groups(width: int) -> Iterator[str]:
    classes = {name: type(value) for name, value in vars(Config()).items()}
    fields = fields_of(Config).values()
    for group, members in groupby(fields, lambda field: field.name.rpartition(".")[0]):
        doc = (classes[group] if group else Config).__doc__
        yield ""
        yield doc.splitlines()[0] if doc else group
        for field in members:
            yield _entry(field, width)


def _entry(field: Field, width: int) -> str:
    margin = " " * _INDENT
    text = f"{field.help} [{summary(field)}]"
    lines = textwrap.fill(text, width, initial_indent=margin, subsequent_indent=margin)
    return f"  {field.name}".ljust(_INDENT) + lines[_INDENT:]
