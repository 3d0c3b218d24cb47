"""Describe each field's values and defaults in words."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from lupi_jax.config.fields import Config
from lupi_jax.config.recipes import RECIPES
from lupi_jax.declared import Field, describe, fields_of


def written(value: Any) -> str:
    """Write a field's value as `--config.NAME=` takes it; empty text becomes ''."""
    if isinstance(value, bool):
        return str(value).lower()
    return value or "''" if isinstance(value, str) else repr(value)


def allowed(field: Field) -> str:
    """Describe the values that a field may have."""
    return ", ".join([describe(field.kind), *(rule.message for rule in field.rules)])


def recipe_values(field: Field) -> dict[str, str]:
    """{value: recipes} for the recipes whose default differs from the field's."""
    own: dict[str, list[str]] = {}
    for recipe, values in RECIPES.items():
        if field.name in values:
            own.setdefault(written(values[field.name]), []).append(recipe)
    return {value: ", ".join(recipes) for value, recipes in own.items()}


def changes(field: Field) -> str:
    """Say when an existing run may take another value; "" means never."""
    return f"may change when a run is {' or '.join(field.may_change)}" if field.may_change else ""


def groups() -> Iterator[tuple[str, list[Field]]]:
    """Yield (description of a group, its fields) in the configuration's order."""
    classes = {name: type(value) for name, value in vars(Config()).items()}
    fields = fields_of(Config).values()
    for group, members in groupby(fields, lambda field: field.name.rpartition(".")[0]):
        doc = (classes[group] if group else Config).__doc__ or group
        yield doc.splitlines()[0], list(members)
