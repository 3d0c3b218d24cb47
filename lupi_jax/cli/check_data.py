"""`lupi check-data`: what is wrong with a data set."""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lupi_jax.cli.console import print_table, readable, say
from lupi_jax.cli.source import add_source, source_of
from lupi_jax.errors import InputError, plural

if TYPE_CHECKING:
    from lupi_jax.data.sources.counts import Count

SUMMARY = "find everything wrong with a data set before training on it"
EXAMPLE = "lupi check-data --data sysu --root SYSU-MM01"
NEEDS = ("data",)
SAVED = "a check writes nothing"

FEW = 5
"""Problems of one kind that a terminal shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi check-data`."""
    add_source(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> None:
    """Check a data set, and print its counts and everything that is wrong."""
    from lupi_jax.data.sources.check import check_data
    from lupi_jax.runtime.terminal import showing

    with showing() as show:
        report = check_data(source_of(options), show("images"))
    if options.json:
        print(json.dumps(readable(dataclasses.asdict(report))))
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

    headings = ["split", "modality", "camera", ">identities", ">images"]
    table: list[list[object]] = []
    for row in rows:
        split = "train + val" if (options.data, row.split) == ("sysu", "train") else row.split
        camera = "all" if row.camera is None else row.camera
        table.append([split, row.modality, camera, row.identities, row.images])
    if any(n is not None for row in rows for n in (row.expected_identities, row.expected_images)):
        headings += [">identities due", ">images due"]
        for cells, row in zip(table, rows, strict=True):
            cells.append(due(row.identities, row.expected_identities))
            cells.append(due(row.images, row.expected_images))
    print_table(f"{options.data} {options.root}", headings, table)


def _few(problems: Sequence[str]) -> list[str]:
    """The first of every kind of problem, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        # A kind is what is left without names and numbers.
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
