"""Files of arrays that state, or unpack to, more than there is room for."""

import contextlib
import zipfile
from pathlib import Path

from lupi_jax.errors import InputError
from lupi_jax.runtime.memory import free_memory

RATIO = 20
"""Times its own size that a file may unpack to: floating numbers hardly shrink."""

_SMALL = 2**24  # bytes that nobody minds


def check_unpacked(path: Path, advice: str) -> None:
    """Refuse a file of arrays that does not fit into memory, before it is read.

    Args:
      path: a file, which may be a zip archive, as NumPy's and PyTorch's are.
      advice: what to do.

    Raises:
      InputError: it unpacks to more than `RATIO` times its size, or takes more memory than is free.
      OSError: it cannot be read.
    """
    own = size = path.stat().st_size
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as packed:
        size = max(own, sum(part.file_size for part in packed.infolist()))
    if size > max(RATIO * own, _SMALL):
        raise InputError(
            f"{path} has {own / 1e6:.1f} MB and unpacks to {size / 1e6:.1f}, which arrays of "
            f"numbers do not: {advice}"
        )
    free = free_memory()
    if free is not None and size > free:
        raise InputError(
            f"{path} takes {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: "
            f"{advice}"
        )
