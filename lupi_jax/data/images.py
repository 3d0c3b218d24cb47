"""Reads image files as arrays of one size, for every feed and for evaluation."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from lupi_jax.data.decoding import decode
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError, some
from lupi_jax.runtime.files import expand

ReadRow = Callable[[int], np.ndarray]
"""A function from a row number of an index to its image, uint8 [h, w, 3]."""

T = TypeVar("T")
S = TypeVar("S")


def read_image(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """The picture in a file, decoded by `decoding.decode` and resized, uint8 [h, w, 3] in sRGB.

    Grey images get three equal channels. As in the original code, resizing uses Lanczos.

    Args:
      path: path of the image file.
      size: (height, width) in pixels.

    Raises:
      InputError: as `decode` raises it; the message names the file.
    """
    return fit_image(decode(expand(path), path), size)


def fit_image(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An image of mode RGB, resized to `size` = (height, width) for a network, [h, w, 3]."""
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image)


def parallel_map(
    function: Callable[[S], T], items: Iterator[S], workers: int, ahead: int
) -> Iterator[T]:
    """`map` with `workers` threads, in order; computes up to `ahead` results in advance."""
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(function, item) for item in islice(items, ahead)]
        try:
            while pending:
                result = pending.pop(0).result()
                pending.extend(pool.submit(function, item) for item in islice(items, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


def file_reader(index: Index, size: tuple[int, int]) -> ReadRow:
    """A function that decodes an image of `index` from its file at each call."""
    return lambda row: read_image(index.root / index.paths[row], size)


def read_rows(read: ReadRow, rows: Iterable[int], workers: int = 4) -> Iterator[np.ndarray]:
    """The images of `rows` in their order, read ahead by `workers` threads."""
    return parallel_map(read, iter(rows), workers, 8 * workers)


def read_images(index: Index, size: tuple[int, int], workers: int = 4) -> Iterator[np.ndarray]:
    """Every image of `index` in order, uint8 [h, w, 3] each, decoded from the files."""
    return read_rows(file_reader(index, size), range(len(index)), workers)


@contextlib.contextmanager
def naming_all(
    read: ReadRow, count: int, workers: int, tell: Callable[[Mapping[int, str]], str]
) -> Iterator[ReadRow]:
    """Read images in a block that stops at the first unreadable one, but name all of these.

    After a fault, the images that the block has not asked for are read too, only to find faults.

    Args:
      read: function that reads an image, given its row number.
      count: number of images.
      workers: number of images read at once after a fault.
      tell: function from {row: fault} to the error's message, such as `unreadable`.

    Yields:
      The function that the block has to use instead of `read`.

    Raises:
      InputError: the block raised one, and images cannot be read.
    """
    faults: dict[int, str] = {}
    seen: set[int] = set()

    def noting(row: int) -> np.ndarray:
        seen.add(row)
        try:
            return read(row)
        except InputError as error:
            faults[row] = str(error)
            raise

    def look(row: int) -> None:
        with contextlib.suppress(InputError):
            noting(row)

    try:
        yield noting
    except InputError:
        if not faults:
            raise
        rest = (row for row in range(count) if row not in seen)
        for _ in parallel_map(look, rest, workers, 8 * workers):
            pass
        raise InputError(tell(dict(sorted(faults.items())))) from None


def unreadable(index: Index, faults: Mapping[int, str]) -> str:
    """One line about the images of `index` that cannot be read.

    Args:
      index: the images.
      faults: {row: the fault of its image, as `read_image` words it}, in order; at least one.
    """
    if len(faults) == 1:
        return next(iter(faults.values()))
    alike = defaultdict(list)
    for row, fault in faults.items():
        path = str(index.paths[row])
        alike[fault.removeprefix(f"{index.root / path}: ")].append(path)
    # An intermediate image is read from the file of a visible one, which is named once.
    said = [f"{some(dict.fromkeys(paths))} ({fault})" for fault, paths in alike.items()]
    named = {str(index.paths[row]) for row in faults}
    count = len(dict.fromkeys(index.paths.tolist()))
    return f"{index.root}: {len(named)} of {count} images cannot be read: {some(said, 3)}"
