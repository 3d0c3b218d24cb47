"""Reads image files as arrays of one size, for every feed and for evaluation."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from lupi_jax.data.decoding import decode
from lupi_jax.data.index import Index
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
