"""Refuse files of arrays that would not fit into memory."""

import contextlib
import zipfile
from pathlib import Path

from lupi_jax.errors import InputError
from lupi_jax.runtime.memory import free_memory

RATIO = 20
"""Most times its own size that a file may unpack to. Floating-point numbers hardly shrink."""

_SMALL = 2**24  # bytes; any file may unpack to this


def check_unpacked(path: Path, advice: str) -> None:
    """Refuse a file of arrays that does not fit into memory, before reading it.

    Args:
      path: the file. It may be a zip archive, as NumPy and PyTorch write them.
      advice: what the user should do.

    Raises:
      InputError: the file unpacks to more than `RATIO` times its size, or takes more memory than
        is free.
      OSError: the file cannot be read.
    """
    own = size = path.stat().st_size
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as packed:
        size = max(own, sum(part.file_size for part in packed.infolist()))
    if size > max(RATIO * own, _SMALL):
        raise InputError(
            f"{path} has {own / 1e6:.1f} MB but unpacks to {size / 1e6:.1f} MB, too much for "
            f"arrays of numbers: {advice}"
        )
    free = free_memory()
    if free is not None and size > free:
        raise InputError(
            f"{path} needs {size / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free: "
            f"{advice}"
        )
