"""Results on stdout, as tables or JSON; messages on stderr."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from lupi_jax.errors import InputError, reason, shown

PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
"""Endings of picture files that can be written."""


def check_out(out: Path | None, endings: Sequence[str]) -> None:
    """Check before the long part that the file `--out`, if it is given, can be written.

    Makes the directory of the file.

    Raises:
      InputError: the file cannot be written, or its name has another ending.
    """
    if out is None:
        return
    if out.is_dir() or out.suffix.lower() not in endings:
        raise InputError(f"--out {out}: name a file that ends in {', '.join(endings)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        what = f"cannot be written there ({reason(error)}); name another place"
        raise InputError(f"--out {out}: {what}") from error


def require_no_input(out: Path | None, files: Iterable[Path]) -> None:
    """Raise InputError if `--out` is one of the files that a command reads, under any name."""
    if out is None or not out.exists():
        return
    place = out.stat()
    for file in files:
        with contextlib.suppress(OSError):  # whoever reads the file reports that
            if os.path.samestat(file.stat(), place):
                raise InputError(
                    f"--out {out}: this would overwrite {file}, which is read: give another name"
                )


def say(message: str) -> None:
    """`runtime.terminal.say`, imported when it is first used: help does not wait for JAX."""
    from lupi_jax.runtime import terminal

    terminal.say(message)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout. In a pipe or a file it is as wide as its content.

    A heading that begins with ">" makes a column of figures, aligned to the right. If the terminal
    is too narrow, a word that all rows share stands once in the title, a figure's spread stands
    below the figure, and the columns lose the lines between them.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Said here because under FORCE_COLOR rich takes a pipe for a terminal.
    terminal = sys.stdout.isatty()
    console = Console(force_terminal=terminal, width=None if terminal else 10_000)
    columns = [(h, *map(shown, cells)) for h, *cells in zip(headings, *rows, strict=True)]
    title = shown(title)
    widths = [max(map(cell_len, column)) for column in columns]
    narrow = sum(widths) + 3 * len(columns) + 1 > console.width
    table = Table()
    if narrow:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    kept = []
    for heading, *cells in columns:
        figures = heading.startswith(">")
        if narrow and not figures and len(cells) > 1 and len(set(cells)) == 1:
            title += f"; {heading} {cells[0]}"
            continue
        kept.append(cells)
        parts = [part for text in cells for part in text.split(" ", 1)]
        # Folded, because an ellipsis would hide the end of a path or of a word.
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if figures else "left",
            overflow="fold",
            width=max(map(cell_len, [heading[1:], *parts])) if narrow and figures else None,
        )
    for row in zip(*kept, strict=True):
        table.add_row(*map(Text, row))  # a path may look like markup
    with console.capture() as printed:  # where nobody reads it, rich would end the process with 1
        console.print(Text(title), table, sep="\n")
    print(printed.get(), end="")
