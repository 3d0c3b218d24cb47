"""Files that are written whole or not at all."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lupi_jax.errors import InputError

PARTIAL = ".lupi-partial-"
"""How the name of a file or directory begins that has not been written to its end."""


def expand(path: str | Path) -> Path:
    """`path`, with a `~` or `~user` that begins it replaced by that home directory.

    A shell does it for `--out ~/x`, and not for `--out=~/x`.

    Raises:
      InputError: there is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        begin = Path(path).parts[0]
        raise InputError(
            f"{path}: {begin} names no home directory here: write the path out, or ./{begin} for a "
            "directory of that name"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file or a directory to; in the end it replaces `path`.

    What stood at `path` stays until then. An exception removes what was written. What a killed
    process left behind is removed by the next one that writes to `path`.

    Raises:
      OSError: nothing can be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{PARTIAL}{path.name}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}????????"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        if part.is_file():
            with part.open("rb+") as written:  # a full disk shows here at the latest
                os.fsync(written.fileno())
        part.replace(path)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, in place of `path`: all of it or nothing.

    Raises:
      OSError: it cannot be written there.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
