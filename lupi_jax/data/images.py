"""One image file to pixels; every feed and the evaluator decode through here."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from lupi_jax.data.index import Index
from lupi_jax.errors import InputError

MAX_PIXELS = 64_000_000

PIXELS = "RGB of 8 bits, Lanczos; 1"
"""How a file becomes pixels. Features of another way are not compared with these: change it where
the same file gives other pixels."""

ReadRow = Callable[[int], np.ndarray]
"""Row of an index -> its image, uint8 [h, w, 3]."""

T = TypeVar("T")
S = TypeVar("S")


def read_image(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Decode an image and resize it to `size` = (height, width) with Lanczos, as the original.

    Grey images become three equal channels: uint8 [h, w, 3]. The header is checked first.

    Raises:
      InputError: the file is missing, no image, damaged, larger than 64 megapixels, or grey
        with more than 8 bits.
    """
    try:
        if Path(path).is_fifo():  # opening it would wait for a writer
            raise InputError(f"{path}: a pipe, no image; replace or remove it")
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {image.width} x {image.height} pixels are too many; make it smaller"
                )
            if image.mode.startswith(("I", "F")):
                raise InputError(f"{path}: more than 8 bits a channel; convert it to 8 bits first")
            image = image.convert("RGB")
            if image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
            return np.asarray(image)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels; make it smaller") from error
    except Exception as error:
        # On damaged bytes Pillow raises whatever its parsers meet, a dozen types.
        raise InputError(f"{path}: unreadable image; replace or remove it") from error


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
