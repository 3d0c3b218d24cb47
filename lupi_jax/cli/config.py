"""`lupi config`: the fields of a configuration, with their meanings and allowed values."""

import argparse
import dataclasses
import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from lupi_jax.errors import shown
from lupi_jax.runtime.records import printable

if TYPE_CHECKING:
    from rich.console import Console

    from lupi_jax.config import Config
    from lupi_jax.declared import Field

SUMMARY = "list the fields of a configuration: values, defaults, choices"
EXAMPLE = """lupi config configs/folder.py:baseline --config.steps=600

The command reads only FILE and writes nothing. `lupi train` takes the same file and fields."""
NEEDS = ("config",)
SAVED = "nothing was saved"

_NARROW, _WIDE = 96, 140
"""Columns: below `_NARROW` a field is a paragraph instead of a row; a table has at most `_WIDE`."""
_PIPE = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi config`."""
    parser.usage = "lupi config [FILE[:VARIANT]] [--config.FIELD=VALUE ...] [--json]"
    add = parser.add_argument
    text = "Python file of a configuration, and optionally one of its variants (the defaults)"
    add("file", nargs="?", metavar="FILE[:VARIANT]", help=text)
    add("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(takes_fields=True)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A field as it is shown."""

    field: "Field"
    value: Any
    default: Any

    @property
    def differs(self) -> bool:
        return self.value != self.default


def run(options: argparse.Namespace) -> None:
    """Print every field with its value, default, allowed values and meaning."""
    from lupi_jax.config import defaults_of, to_fields
    from lupi_jax.config.help import groups

    config = _read(options.file, options.overrides)
    values, defaults = to_fields(config), defaults_of(config)
    tables = [
        (about, [_Row(field, values[field.name], defaults[field.name]) for field in fields])
        for about, fields in groups()
    ]
    if options.json:
        print(json.dumps(printable([_as_json(row) for _, rows in tables for row in rows])))
        return
    _print(tables, f"{options.file or 'the defaults'}; recipe {config.recipe}")


def _read(file: str | None, overrides: dict[str, str]) -> "Config":
    """The configuration as training reads it, except that `data.root` may be left out."""
    from lupi_jax.config import parse_config
    from lupi_jax.config.file import read_file

    values = read_file(file) if file else {}
    data = values.get("data")
    rootless = not (isinstance(data, dict) and data.get("root")) and "data.root" not in overrides
    config = parse_config(values, {**overrides, "data.root": "."} if rootless else overrides)
    data = dataclasses.replace(config.data, root="") if rootless else config.data
    return dataclasses.replace(config, data=data)


def _as_json(row: _Row) -> dict[str, Any]:
    from lupi_jax.config.help import allowed

    return {
        "field": row.field.name,
        "value": row.value,
        "default": row.default,
        "differs": row.differs,
        "allowed": allowed(row.field),
        "may_change": row.field.may_change,
        "help": row.field.help,
    }


def _print(tables: list[tuple[str, list[_Row]]], title: str) -> None:
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(force_terminal=terminal, width=None if terminal else _PIPE)
    differing = sum(row.differs for _, rows in tables for row in rows)
    count = sum(len(rows) for _, rows in tables)
    head = f"{title}. {differing} of {count} fields differ from their default, marked *."
    console.print(Text(shown(head)))
    for about, rows in tables:
        console.print(Text(f"\n{about}", style="bold"))
        (_print_paragraphs if console.width < _NARROW else _print_table)(console, rows)
    console.print(Text("\nSet a field with --config.NAME=VALUE, for instance --config.steps=600."))


def _print_table(console: "Console", rows: list[_Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from lupi_jax.config import field_types

    width = min(console.width, _WIDE)
    name = 2 + max(len(each) for each in field_types())
    value = (width - name) // 5
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    headings = ("  field", "value", "default", "meaning [allowed values]")
    for size in (name, value, value, width - name - 3 - 2 * value):
        table.add_column(width=size, overflow="fold")
    table.add_row(*(Text(heading, style="italic") for heading in headings))
    for row in rows:
        style = "bold" if row.differs else ""
        cells = (f"{_mark(row)} {row.field.name}", _written(row.value), _written(row.default))
        table.add_row(*(Text(cell, style=style) for cell in cells), Text(_about(row)))
    console.print(table)


def _print_paragraphs(console: "Console", rows: list[_Row]) -> None:
    from rich.text import Text

    for row in rows:
        head = f"{_mark(row)} {row.field.name} = {_written(row.value)}"
        console.print(Text(head, style="bold" if row.differs else ""), overflow="fold")
        default = f"Default {_written(row.default)}. " if row.differs else ""
        body = textwrap.wrap(f"{default}{_about(row)}", max(20, console.width - 5))
        console.print(Text(textwrap.indent("\n".join(body), " " * 4)))


def _mark(row: _Row) -> str:
    return "*" if row.differs else " "


def _written(value: Any) -> str:
    from lupi_jax.config.help import written

    return shown(written(value))


def _about(row: _Row) -> str:
    """The meaning of a field, and its allowed values."""
    from lupi_jax.config.help import allowed, changes

    rest = "; ".join(filter(None, (allowed(row.field), changes(row.field))))
    return f"{row.field.help} [{rest}]"
