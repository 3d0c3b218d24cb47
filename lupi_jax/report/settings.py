"""A run's configuration beside the defaults of its recipe."""

import dataclasses
from typing import Any

from lupi_jax.config import Config, defaults_of, to_fields
from lupi_jax.errors import shown

GIVEN = ("recipe", "setting", "steps", "epochs", "data.name", "data.root")
"""Fields that say what a run is. They get no default; the other defaults depend on them."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A dotted field of a run, with its recipe's default; fields in `GIVEN` have the default ""."""

    name: str
    value: str
    default: str
    changed: bool


def settings_of(config: Config) -> list[Setting]:
    """Every field of `config`, in the configuration's order."""
    fields, defaults = to_fields(config), defaults_of(config)
    return [
        Setting(
            name,
            _text(value),
            "" if name in GIVEN else _text(defaults[name]),
            name not in GIVEN and value != defaults[name],
        )
        for name, value in fields.items()
    ]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else shown(value) or "none"
