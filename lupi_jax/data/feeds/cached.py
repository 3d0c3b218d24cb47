"""The memory-mapped feed's own prepared sets: made where none is, mended where one is wrong."""

import hashlib
from pathlib import Path

from lupi_jax.data.contents import stat_file
from lupi_jax.data.decoding import DECODING
from lupi_jax.data.feeds.plan import FORMAT, MANIFEST, MARKER, UnfitError
from lupi_jax.data.feeds.prepared import prepare, prepared_reader
from lupi_jax.data.images import ReadRow
from lupi_jax.data.index import Index
from lupi_jax.runtime.hosts import is_first, wait_for_all
from lupi_jax.runtime.progress import Show, silent
from lupi_jax.runtime.terminal import say


def cached_reader(
    cache: Path, index: Index, size: tuple[int, int], workers: int, show: Show = silent
) -> ReadRow:
    """`prepared_reader` of a set that is the program's own: what is wrong with it is made anew.

    A note says so.

    Args:
      cache: directory that has such sets.
    """
    folder = cache_folder(cache, index, size)
    # Of several processes the first does it; the others only where they share no folder.
    if is_first():
        _mend(folder, index, size, workers, show)
    wait_for_all("images are prepared")
    _mend(folder, index, size, workers, show)
    return prepared_reader(folder, index, size, workers)


def _mend(folder: Path, index: Index, size: tuple[int, int], workers: int, show: Show) -> None:
    """Have a whole set of the images of `index` at `folder`."""
    begun = (folder / MANIFEST).exists()
    try:
        prepared_reader(folder, index, size, workers, show)
        return
    except UnfitError as error:
        if begun:
            say(f"note: {error.fault}: prepared anew")
    try:
        prepare(index, size, folder, workers, show, wait=True)
    except UnfitError:  # its record says nothing that helps
        for name in (MANIFEST, MARKER):
            (folder / name).unlink(missing_ok=True)
        for shard in folder.glob("images-?????.npy"):
            shard.unlink()
        prepare(index, size, folder, workers, show, wait=True)


def cache_folder(cache: Path, index: Index, size: tuple[int, int]) -> Path:
    """Where under `cache` a prepared set of just these images, as they are now, belongs."""
    digest = hashlib.sha256(repr((FORMAT, DECODING, size)).encode())
    for path in index.paths.tolist():
        found = stat_file(index.root / path)
        line = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return cache / digest.hexdigest()[:16]
