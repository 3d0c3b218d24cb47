"""Prepared sets that the memory-mapped feed keeps for itself, and makes or mends as needed."""

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
    """`prepared_reader` of a set in the program's own cache, which is made first if missing.

    If the set is damaged or does not fit, a note says so and the set is made again.

    Args:
      cache: directory that holds such sets.
      index: n images.
      size: (height, width) in pixels.
      workers: number of files decoded, and of shards checked, at the same time.
      show: shows how many images are decoded and how many shards are checked.
    """
    folder = cache_folder(cache, index, size)
    # The first process prepares the images. Another one does so only if it cannot see them.
    if is_first():
        _mend(folder, index, size, workers, show)
    wait_for_all("images are prepared")
    _mend(folder, index, size, workers, show)
    return prepared_reader(folder, index, size, workers)


def _mend(folder: Path, index: Index, size: tuple[int, int], workers: int, show: Show) -> None:
    """Make sure that `folder` holds a whole set of the images of `index`."""
    begun = (folder / MANIFEST).exists()
    try:
        prepared_reader(folder, index, size, workers, show)
        return
    except UnfitError as error:
        if begun:
            say(f"note: {error.fault}: preparing the images again")
    try:
        prepare(index, size, folder, workers, show, wait=True)
    except UnfitError:  # `prepare` cannot continue what is there
        for name in (MANIFEST, MARKER):
            (folder / name).unlink(missing_ok=True)
        for shard in folder.glob("images-?????.npy"):
            shard.unlink()
        prepare(index, size, folder, workers, show, wait=True)


def cache_folder(cache: Path, index: Index, size: tuple[int, int]) -> Path:
    """The directory below `cache` for a prepared set of exactly these images, as they are now."""
    digest = hashlib.sha256(repr((FORMAT, DECODING, size)).encode())
    for path in index.paths.tolist():
        found = stat_file(index.root / path)
        line = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return cache / digest.hexdigest()[:16]
