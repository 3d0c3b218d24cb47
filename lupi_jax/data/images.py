"""Image files to arrays of one size; every feed and the evaluator read through here."""

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
"""Row of an index -> its image, uint8 [h, w, 3]."""

T = TypeVar("T")
S = TypeVar("S")


def read_image(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """The picture in a file as `decoding.decode` gives it, uint8 [h, w, 3] in sRGB.

    Resized to `size` = (height, width) with Lanczos, as the original; grey images become three
    equal channels.

    Raises:
      InputError: as `decode`, which names the file.
    """
    return fit_image(decode(expand(path), path), size)


def fit_image(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An image of mode RGB at `size` = (height, width), as every network gets it: [h, w, 3]."""
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image)


def parallel_map(
    function: Callable[[S], T], items: Iterator[S], workers: int, ahead: int
) -> Iterator[T]:
    """`map` over threads, in order, at most `ahead` results computed before they are asked for."""
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
    """Decodes an image of `index` whenever it is asked for."""
    return lambda row: read_image(index.root / index.paths[row], size)


def read_rows(read: ReadRow, rows: Iterable[int], workers: int = 4) -> Iterator[np.ndarray]:
    """The images of `rows` in their order, read by `workers` threads, a few ahead."""
    return parallel_map(read, iter(rows), workers, 8 * workers)


def read_images(index: Index, size: tuple[int, int], workers: int = 4) -> Iterator[np.ndarray]:
    """Every image of `index` in its order, uint8 [h, w, 3] each, decoded from its file."""
    return read_rows(file_reader(index, size), range(len(index)), workers)
