"""Results on stdout, as tables or JSON; talk on stderr."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lupi_jax.errors import InputError

_WORDS = (12, 8, 6, 1)
"""Characters of a word that is not folded in a table: the most that a terminal has room for."""

PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
"""Endings of the pictures that can be drawn."""


def check_out(out: Path | None, endings: Sequence[str]) -> None:
    """Find out before the long part whether the file `--out` can be written, where it is given.

    Makes the directory that it is to be in.

    Raises:
      InputError: it cannot, or its name has another ending.
    """
    if out is None:
        return
    if out.is_dir():
        example = out / f"result{endings[0]}"
        raise InputError(f"--out {out}: a directory; name a file in it, as {example}")
    if out.suffix.lower() not in endings:
        raise InputError(f"--out {out}: end it on one of {', '.join(endings)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written there ({error.strerror}); name another place"
        ) from error


def say(message: str) -> None:
    """One line of talk, of several processes by the first."""
    from lupi_jax.runtime.hosts import is_first

    if is_first():
        print(message, file=sys.stderr)


def say_wrote(place: Path, what: str = "") -> None:
    """Say that something was written, and perhaps what."""
    say(f"wrote {place}{what and f': {what}'}")


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; in a pipe or a file as wide as its content.

    A heading that begins with ">" is of a column aligned to the right. On a terminal that is too
    narrow, what every row says is said once above, and there are no lines between the columns.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Said, not left to rich, which takes a pipe for a terminal under FORCE_COLOR.
    terminal = sys.stdout.isatty()
    console = Console(force_terminal=terminal, width=None if terminal else 10_000)
    columns = [(heading, *map(str, cells)) for heading, *cells in zip(headings, *rows, strict=True)]
    table = Table()
    if sum(map(_width, columns)) + 3 * len(columns) + 1 > console.width:
        kept = [column for column in columns if not _is_repeated(*column)] or columns
        title = "; ".join((title, *(f"{c[0]} {c[1]}" for c in columns if c not in kept)))
        columns = kept
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        widths = _folded(columns, console.width - 2 * (len(columns) - 1))
    else:
        widths = [_width(column) for column in columns]
    for (heading, *_), width in zip(columns, widths, strict=True):
        justify = "right" if heading.startswith(">") else "left"
        # Folded, since an ellipsis would take the end of a path or of a word.
        table.add_column(heading.removeprefix(">"), justify=justify, overflow="fold", width=width)
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*map(Text, row))  # a path may look like markup
    console.print(Text(title), table, sep="\n")


def _is_repeated(heading: str, *cells: str) -> bool:
    """Whether a column of words, not of figures, says one thing in all of several rows."""
    return not heading.startswith(">") and len(cells) > 1 and len(set(cells)) == 1


def _width(column: Sequence[str]) -> int:
    from rich.cells import cell_len

    heading, *cells = column
    return max(map(cell_len, (heading.removeprefix(">"), *cells)))


def _folded(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of columns that fit into `room`, between words as long as that does."""
    widths = [_width(column) for column in columns]
    words = [_width([word for text in column for word in text.split()]) for column in columns]
    for longest in _WORDS:
        while sum(widths) > room:
            loose = [i for i, word in enumerate(words) if widths[i] > min(word, longest)]
            if not loose:
                break
            widths[max(loose, key=widths.__getitem__)] -= 1
    return widths
