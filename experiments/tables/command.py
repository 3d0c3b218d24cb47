"""The command line of a sweep: plan, run what is missing, write the results."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from experiments.tables.running import run
from experiments.tables.sweep import (
    Sweep,
    add_arguments,
    command_of,
    cost,
    make_sweep,
    plan,
    read_records,
)
from experiments.tables.table import Records, Table, markdown, provenance, rows_of
from lupi_jax.cli.console import print_table
from lupi_jax.cli.program import verdict
from lupi_jax.errors import InputError, shorten
from lupi_jax.runtime.compilation import keep_programs
from lupi_jax.runtime.files import write_whole
from lupi_jax.runtime.memory import keep_pages


def write(folder: Path, name: str, text: str, data: Mapping[str, Any]) -> None:
    """Write `<name>.md` and `<name>.json`, and print the Markdown."""
    write_whole(folder / f"{name}.json", json.dumps(data, indent=1) + "\n")
    write_whole(folder / f"{name}.md", text)
    print(text)


def guarded(script: str, main: Callable[[], None]) -> int:
    """Run `main` as a command: print an error as one line, and return the exit status."""
    logging.set_verbosity(logging.ERROR)  # Orbax logs every save
    keep_programs()
    keep_pages()
    try:
        main()
    except BaseException as error:
        status, message = verdict(error, "run the same command to resume")
        if status is None:
            raise
        print(f"{script}: {shorten(message, 1000)}", file=sys.stderr)
        return status
    return 0


def make_parser(script: str, description: str = "") -> argparse.ArgumentParser:
    """The command line of the sweep `script`, without the fields of the configuration."""
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{script}",
        description=description,
        epilog="--config.FIELD=VALUE sets a field of all runs, as in `lupi train`.",
        allow_abbrev=False,
    )
    add_arguments(parser)
    parser.add_argument("--plan", action="store_true", help="list the runs to train, and stop")
    parser.add_argument(
        "--rate", type=float, help="images per second, for the hours of --plan (the finished runs')"
    )
    return parser


def tabulate(
    script: str,
    description: str,
    cells: Sequence[str],
    render: Callable[[Sweep, str, Records], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """The command line of a sweep: plan, or run what is missing, and write the results.

    Args:
      script: the module below `experiments`, with its first argument if it takes one.
      description: text for --help.
      cells: names of the cells that the results need.
      render: writes the results of (sweep, command, records).
      arguments: the arguments; by default the command line's.

    Returns:
      The exit status: 0, 1 for a training that diverged, 2 for bad input, 75 for a training that
      was stopped and saved, 130 after an interrupt.
    """
    options, rest = make_parser(script, description).parse_known_args(arguments)

    def main() -> None:
        sweep = make_sweep(options, rest)
        chosen = options.cells.split(",") if options.cells else cells
        unknown = sorted(set(chosen) - set(cells))
        if unknown:
            raise InputError(f"--cells {', '.join(unknown)}: give some of {', '.join(cells)}")
        if options.plan:
            show_plan(sweep, chosen, options.rate)
            return
        records = run(sweep, chosen)
        render(sweep, command_of(script, options, rest), records)

    return guarded(script, main)


def show_plan(sweep: Sweep, cells: Sequence[str], rate: float | None) -> None:
    """Print which runs are still to train and how long they take.

    Raises:
      InputError: no rate was given, and no finished run has one.
    """
    if rate is None:
        rates = [r["last"].get("images_per_second") for r in read_records(sweep.results).values()]
        known = [r for r in rates if r]
        if not known:
            raise InputError("no run has finished yet: give --rate, the images/s of `lupi train`")
        rate = float(np.median(known))
    if not rate > 0:
        raise InputError(f"--rate {rate}: give images per second, above 0")
    planned = plan(sweep, cells)
    rows = cost(planned, rate)
    headings = ("cell", ">seed", ">split", ">steps", ">images", ">hours")
    shown = [
        (r["cell"], r["seed"], r["trial"], r["steps"], f"{r['images']:,}", f"{r['hours']:.2f}")
        for r in rows
    ]
    hours = sum(r["hours"] for r in rows)
    title = f"{len(rows)} of {len(planned)} runs to train, {hours:.1f} hours at {rate:.4g} images/s"
    print_table(title, headings, shown)


def run_table(table: Table, arguments: Sequence[str] | None = None) -> int:
    """Run the command line of one of the paper's tables, and return its exit status."""

    def render(sweep: Sweep, command: str, records: Records) -> None:
        rows = rows_of(table, records)
        made, facts = provenance(sweep, command, records)
        text = f"# Table {table.number} on {sweep.name}: {table.title}\n\n{made}\n"
        text += f"{markdown(table, rows)}\n"
        if table.notes:
            text += f"\n{table.notes.strip()}\n"
        write(sweep.results, table.script, text, {**facts, "rows": rows})

    description = f"Table {table.number} of the paper: {table.title}."
    return tabulate(f"tables {table.number}", description, table.cells, render, arguments)
