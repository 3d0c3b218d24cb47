"""The feed without TensorFlow: a memory-mapped uint8 array, the sampler, and a thread ahead."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lupi_jax.data.batches import Batch, HostRows
from lupi_jax.data.images import parallel_map, read_images
from lupi_jax.data.index import Index
from lupi_jax.data.sampler import IdentitySampler
from lupi_jax.errors import InputError


def decode_to_memmap(
    index: Index, size: tuple[int, int], folder: Path, workers: int = 4
) -> np.ndarray:
    """Decode `index` once into `folder` and map it: uint8 [n, h, w, 3], read-only.

    The file is named by what it was made of (paths, lengths, modification times, size), so a
    changed data set is decoded anew, and it appears under its name only when complete.

    Raises:
      InputError: an image cannot be read.
    """
    digest = hashlib.sha256(repr(("lanczos", size)).encode())
    for path in index.paths:
        source = index.root / path
        try:
            stat = source.stat()
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}; replace or remove it") from error
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    file = folder / f"images-{digest.hexdigest()[:16]}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Processes of several machines, of equal numbers even, may share the folder.
        partial = file.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            shape = (len(index), *size, 3)
            pixels = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
            for row, image in enumerate(read_images(index, size, workers)):
                pixels[row] = image
            pixels.flush()
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(file, mmap_mode="r")


def memmap_batches(
    pixels: np.ndarray,
    sampler: IdentitySampler,
    names: tuple[str, ...],
    start: int,
    stop: int,
    host: HostRows,
    prefetch: int = 4,
) -> Iterator[Batch]:
    """The batches of steps `start`..`stop` - 1, gathered ahead of time by a thread.

    Args:
      pixels: uint8 [n, h, w, 3], row i the i-th image of the index.
      sampler: rows of a step.
      names: key of each of the sampler's tables in the batch.
      start: first step.
      stop: step after the last.
      host: which rows of every batch this process feeds.
      prefetch: batches kept ready.
    """

    def gather(step: int) -> Batch:
        rows, labels = sampler(step)
        batch = {name: pixels[host(r)] for name, r in zip(names, rows, strict=True)}
        return {**batch, "labels": host(labels)}

    return parallel_map(gather, iter(range(start, stop)), 1, prefetch)
