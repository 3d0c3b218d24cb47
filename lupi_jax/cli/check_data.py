"""`lupi check-data`: find the faults of a data set."""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lupi_jax.cli.console import print_table, say
from lupi_jax.cli.source import add_source, source_of
from lupi_jax.errors import InputError, plural
from lupi_jax.runtime.records import printable

if TYPE_CHECKING:
    from lupi_jax.data.sources.counts import Count

SUMMARY = "find every fault of a data set before training on it"
EXAMPLE = """lupi check-data --data sysu --root SYSU-MM01
  lupi check-data --data folder --root DATA --run runs/mine

The exit status is 0 if nothing is wrong, and 2 if there are problems. Notes do not change it. They
say what the data cannot be used for, such as data of one modality or without a split."""
NEEDS = ("data",)
SAVED = "a check writes nothing"

FEW = 5
"""Number of problems of one kind that a terminal shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi check-data`."""
    add_source(parser)
    text = "directory of a run of `lupi train`, to find images that changed since it read them"
    parser.add_argument("--run", type=Path, dest="trained", metavar="RUN", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> None:
    """Check a data set, and print its counts and its faults."""
    from lupi_jax.data import check_data
    from lupi_jax.runtime.terminal import showing

    with showing() as show:
        report = check_data(source_of(options), show, options.trained)
    if options.json:
        print(json.dumps(printable(dataclasses.asdict(report))))
    else:
        if report.rows:
            _print_counts(report.rows, options)
        for line in _few(report.problems) if sys.stdout.isatty() else report.problems:
            print(line)
    for line in report.notes:
        say(f"note: {line}")
    if report.problems:
        raise InputError(f"{options.root}: {plural(len(report.problems), 'problem')}, named above")
    say(f"{options.root}: nothing wrong")


def _print_counts(rows: "Sequence[Count]", options: argparse.Namespace) -> None:
    def due(found: int, wanted: int | None) -> str:
        return "" if wanted is None else f"{wanted}{'' if wanted == found else ' (!)'}"

    roles = any(row.role for row in rows)
    headings = ["split", "modality", "camera", *["role"] * roles, ">identities", ">images"]
    table: list[list[object]] = []
    for row in rows:
        split = "train + val" if (options.data, row.split) == ("sysu", "train") else row.split
        camera = "all" if row.camera is None else row.camera
        role = [row.role or "all"] * roles
        table.append([split, row.modality, camera, *role, row.identities, row.images])
    if any(n is not None for row in rows for n in (row.expected_identities, row.expected_images)):
        headings += [">identities due", ">images due"]
        for cells, row in zip(table, rows, strict=True):
            cells.append(due(row.identities, row.expected_identities))
            cells.append(due(row.images, row.expected_images))
    print_table(f"{options.data} {options.root}", headings, table)


def _few(problems: Sequence[str]) -> list[str]:
    """The first problems of every kind, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        # Problems are of one kind if they differ only in names and numbers.
        kind = re.sub(r":|\S*[\d/\\'\"]\S*", "", problem)
        kinds.setdefault(kind, []).append(problem)
    lines = []
    for same in kinds.values():
        lines += same[:FEW]
        if len(same) > FEW:
            lines.append(
                f"... and {len(same) - FEW} more of this kind (pipe through cat to see all)"
            )
    return lines
