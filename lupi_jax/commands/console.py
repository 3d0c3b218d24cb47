"""Results on stdout, as tables or JSON; talk on stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lupi_jax.hosts import is_first


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
        # Folded, since an ellipsis would take the end of a path or of a word.
        table.add_column(heading.removeprefix(">"), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # a path may look like markup
    # Said, not left to rich, which takes a pipe for a terminal under FORCE_COLOR.
    terminal = sys.stdout.isatty()
    console = Console(force_terminal=terminal, width=None if terminal else 10_000)
    console.print(Text(title), table, sep="\n")


@contextlib.contextmanager
def interrupted(saved: Callable[[], str]) -> Iterator[None]:
    """Answer Ctrl-C with what was saved until then, as `saved` says it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"interrupted; {saved()}") from error
