"""Run every command under every fault, and write down what was expected and what happened.

A row is one fault done to one command, in a directory of its own. Beside what the row expects, no
command may show a traceback or control characters, change or lose what it did not write, leave
half a file, or take minutes or gigabytes.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from experiments.faults import (
    process,
    rows_features,
    rows_files,
    rows_images,
    rows_names,
    rows_system,
    rows_words,
)
from experiments.faults.fault import Fault, SkipError, make_case, said, start_of, wrong
from experiments.faults.results import machine, table, write_results
from experiments.faults.world import digests, make_world

FAULTS: tuple[Fault, ...] = (
    *rows_system.FAULTS,
    *rows_names.FAULTS,
    *rows_images.FAULTS,
    *rows_files.FAULTS,
    *rows_features.FAULTS,
    *rows_words.FAULTS,
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What a fault did to a command.

    Attributes:
      fault: its name.
      command: its name.
      expected: statuses and a pattern of the last line on stderr.
      status: that it exited with; None, it hung or was not run.
      said: its last line on stderr, or why it was not run.
      busy: seconds that processors spent on it.
      megabytes: the most memory that it had.
      wrong: what was not as expected.
    """

    fault: str
    command: str
    expected: str
    status: int | None
    said: str
    busy: float
    megabytes: int
    wrong: list[str]


class Running:
    """A row that has been begun: a fault is done to a command, which runs."""

    def __init__(self, world: Path, folder: Path, fault: Fault, command: str) -> None:
        self.fault, self.command = fault, command
        self._undo = contextlib.ExitStack()
        self._undo.callback(shutil.rmtree, folder, ignore_errors=True)
        self._case = make_case(world, folder, command)
        self._undo.callback(lambda: [done() for done in self._case.after])
        self._why_not = ""
        try:
            fault.prepare(self._case)
        except SkipError as reason:
            self._why_not = f"not run: {reason}"
            return
        self._before = digests(self._case.out)
        self._started = [
            process.Running(start) for start in (start_of(self._case), *self._case.beside)
        ]

    @property
    def over(self) -> bool:
        """Whether `end` would return at once."""
        return bool(self._why_not) or all(each.over for each in self._started)

    def end(self) -> Row:
        """Wait for the command, and undo the fault."""
        fault, case = self.fault, self._case
        with self._undo:
            if self._why_not:
                return Row(fault.name, case.command, fault.expected, None, self._why_not, 0, 0, [])
            ends = [each.end() for each in self._started]
            faults = [text for each in ends for text in wrong(fault, case, each, self._before)]
            more = (ends[0].status, said(case, ends[0]), ends[0].busy, ends[0].megabytes, faults)
            return Row(fault.name, case.command, fault.expected, *more)


def run_rows(
    world: Path, folder: Path, asked: Sequence[tuple[Fault, str]], workers: int
) -> list[Row]:
    """Run rows, a few at once, and show each. Those that ended right before are not run again.

    Raises:
      RuntimeError: one has changed what it may only read.
    """
    whole, file = stamps(world), folder / "rows.jsonl"
    known = {name_of(row.fault, row.command): row for row in read_rows(file)}
    left = deque(
        (fault, command)
        for fault, command in asked
        if (row := known.get(name_of(fault.name, command))) is None
        or row.wrong
        or row.expected != fault.expected
    )
    count, running, number = len(left), list[Running](), 0
    with file.open("a") as written:
        while left or running:
            while left and len(running) < workers:
                number += 1
                running.append(Running(world, folder / f"case-{number}", *left.popleft()))
            over = next((each for each in running if each.over), None)
            if over is None:
                time.sleep(0.02)
                continue
            running.remove(over)
            row = over.end()
            if stamps(world) != whole:
                raise RuntimeError(f"one of the last {workers} rows has changed {world}")
            known[name_of(row.fault, row.command)] = row
            print(json.dumps(dataclasses.asdict(row)), file=written, flush=True)
            print(f"{number - len(running)}/{count} {row}", file=sys.stderr)
    return [known[name_of(fault.name, command)] for fault, command in asked]


def read_rows(file: Path) -> list[Row]:
    """Rows as they were written, one per line; [] if the file is missing."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return [Row(**json.loads(line)) for line in lines]


def name_of(fault: str, command: str) -> str:
    """What tells a row from others."""
    return f"{fault}, {command}"


def rows_of(faults: Sequence[Fault]) -> list[tuple[Fault, str]]:
    """Each fault with each of its commands."""
    return [(fault, command) for fault in faults for command in fault.commands]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files of a world, except those that a command in it writes."""
    parts = [part for part in folder.iterdir() if part.name != "out" and part.name[0] != "."]
    files = [file for part in parts for file in (part, *part.rglob("*")) if file.is_file()]
    stats = {str(file): file.stat() for file in files}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def report(rows: Sequence[Row]) -> str:
    """Markdown: every row."""
    bad = [row for row in rows if row.wrong]
    skipped = sum(row.said.startswith("not run: ") for row in rows)
    missing = f" {skipped} could not be done on this machine." if skipped else ""
    cells = [
        (
            row.fault,
            row.command,
            f"`{row.expected}`",
            "-" if row.status is None else row.status,
            f"`{row.said}`" if row.said else "",
            f"**{'; '.join(row.wrong)}**" if row.wrong else "as expected",
        )
        for row in rows
    ]
    headings = ("fault", "command", "expected", "status", "last line on stderr", "outcome")
    return f"""# Faults and what comes of them

    python -m experiments.faults table --workdir runs/faults

{machine()}

{len(rows)} rows: {len(rows) - len(bad) - skipped} as expected, {len(bad)} not.{missing} A row \
expects an exit status and a pattern in the last line on stderr, and of every command no \
traceback, no control characters, nothing changed or lost that it did not write, no half-written \
file, and an end within two minutes and two gigabytes.

{table(headings, cells)}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `table`."""
    add = parser.add_argument
    add("--only", default="", metavar="TEXT", help="rows whose fault or command holds TEXT (all)")
    text = "rows that run at once (the number of CPUs)"
    add("--workers", type=int, default=os.cpu_count(), metavar="N", help=text)


def main(options: argparse.Namespace) -> int:
    """Run the rows, and write the table."""
    folder = options.workdir.absolute()
    world = make_world(folder)
    asked = [(f, c) for f, c in rows_of(FAULTS) if options.only in name_of(f.name, c)]
    rows = run_rows(world, folder, asked, options.workers)
    result = {"rows": [dataclasses.asdict(row) for row in rows]}
    write_results(options.results, "faults_table", result, report(rows))
    return 1 if any(row.wrong for row in rows) else 0
