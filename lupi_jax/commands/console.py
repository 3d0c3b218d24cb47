"""Results on stdout, talk on stderr: tables, and progress on a terminal or in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lupi_jax.hosts import is_first

LOG_SECONDS = 30.0


def say(message: str) -> None:
    """One line of talk, of several processes by the first."""
    if is_first():
        print(message, file=sys.stderr)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; in a pipe or a file as wide as its content.

    A heading that begins with ">" is of a column aligned to the right.
    """
    table = Table()
    for heading in headings:
        justify = "right" if heading.startswith(">") else "left"
        table.add_column(heading.removeprefix(">"), justify=justify)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # a path may look like markup
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(Text(title), table, sep="\n")


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show long work: a bar with the time left on a terminal, now and then a line in a log.

    Yields:
      To be called with what is done so far and what there is in all.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        start = last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= LOG_SECONDS and done:
                last = now
                left = (now - start) / done * (total - done)
                say(f"{what}: {done} of {total}, {left:.0f} s left")

        yield line
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
