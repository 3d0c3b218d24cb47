"""Show long work, as a bar on a terminal or as an occasional line in a log.

Everything goes to stderr. Colours appear only on a terminal, and only if NO_COLOR is not set.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lupi_jax.errors import shown
from lupi_jax.runtime.hosts import is_first
from lupi_jax.runtime.progress import Advance, Show, silent

LOG_SECONDS = 30.0
"""Least seconds between two lines in a log."""


def say(message: str) -> None:
    """Print one line on stderr, in the first of several processes."""
    if is_first():
        with talking():
            print(shown(message), file=sys.stderr)


@contextlib.contextmanager
def talking() -> Iterator[None]:
    """Print on stderr in this block. If its reader is gone, the work goes on silently."""
    try:
        yield
    except BrokenPipeError:
        leave_stderr()


def leave_stderr() -> None:
    """Discard stderr from now on. Its reader is gone, so the next line would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


class _Talk(Console):
    def on_broken_pipe(self) -> None:  # rich's own ends the process
        leave_stderr()


def stderr_console(quiet: bool = False) -> Console:
    """A rich console on stderr. By itself rich takes a log for a terminal under FORCE_COLOR."""
    return _Talk(stderr=True, quiet=quiet, force_terminal=moves_cursor())


def moves_cursor() -> bool:
    """Whether a bar can be drawn on stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def make_bar(console: Console, disable: bool = False) -> Progress:
    """Make a display of bars with counts, elapsed time and time left."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(
        TextColumn("{task.description}", markup=False), *columns, console=console, disable=disable
    )


@contextlib.contextmanager
def showing() -> Iterator[Show]:
    """Show long work during this block, in the first of several processes."""
    if not is_first():
        yield silent
        return
    if not moves_cursor():
        yield _log
        return
    with make_bar(stderr_console()) as bar:

        def draw(what: str) -> Advance:
            task = bar.add_task(shown(what), total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield draw


def _log(what: str) -> Advance:
    last = time.monotonic()
    first: tuple[float, int] | None = None  # work of an earlier run does not count

    def line(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        if first is None:
            first = now, done
        elif now - last >= LOG_SECONDS and done > first[1]:
            last = now
            left = (now - first[0]) / (done - first[1]) * (total - done)
            line = f"{shown(what)}: {done} of {total}, {left:.0f} s left"
            with talking():
                print(line, file=sys.stderr, flush=True)

    return line
