"""Candidates for a search by FAISS, for galleries too large to compare every image.

The index keeps a byte for each entry of a feature, in about sqrt(n) cells around centres of their
own, and looks into the cells nearest to a query. It only proposes: `ranking.nearest` compares what
it proposes exactly.
"""

import importlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.evaluation.metrics import BLOCK_ELEMENTS

# A quarter of the cells is looked into, at least eight: that finds nine tenths of the ten nearest
# and more among people well apart (tests/evaluation/test_approximate.py), fewer among noise.
_SHARE, _LEAST = 4, 8
_TRAINED_ON = 50  # images a cell; FAISS asks for 39


class ApproximateIndex:
    """An inverted file over some rows of a gallery.

    Args:
      index: of FAISS, over n features.
      rows: [n] their rows in the gallery.
    """

    def __init__(self, index: Any, rows: np.ndarray):
        self.index, self.rows = index, rows
        index.nprobe = max(_LEAST, -(-index.nlist // _SHARE))

    def __call__(self, query: np.ndarray, count: int) -> np.ndarray:
        """[q, k] rows of the gallery probably nearest to the queries [q, d], -1 where none is.

        k is `count`, or n where that is smaller.
        """
        count = min(count, len(self.rows))
        _, found = self.index.search(np.ascontiguousarray(query, np.float32), count)
        return np.where(found < 0, -1, self.rows[found])


def build_index(gallery: np.ndarray, rows: np.ndarray) -> ApproximateIndex:
    """Index rows [n] of a gallery [g, d] float32 of unit length, n >= 1; may be memory-mapped.

    Raises:
      InputError: FAISS is not installed.
    """
    cells, width = math.isqrt(len(rows)), gallery.shape[1]
    faiss = require_faiss()
    index = faiss.index_factory(width, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    drawn = np.random.default_rng(0).permutation(len(rows))[: _TRAINED_ON * cells]
    index.train(gallery[rows[np.sort(drawn)]])
    size = max(1, BLOCK_ELEMENTS // width)
    for i in range(0, len(rows), size):
        index.add(gallery[rows[i : i + size]])
    return ApproximateIndex(index, rows)


def stored_index(file: Path, gallery: np.ndarray, rows: np.ndarray) -> ApproximateIndex:
    """The index in `file`, built and written there where there is none that fits.

    Args:
      file: of FAISS.
      gallery: as for `build_index`.
      rows: as for `build_index`.

    Raises:
      InputError: FAISS is not installed, or the file cannot be read or written.
    """
    faiss = require_faiss()
    try:
        if file.is_file():
            index = faiss.read_index(str(file))
            if (index.ntotal, index.d) == (len(rows), gallery.shape[1]):
                return ApproximateIndex(index, rows)
        built = build_index(gallery, rows)
        part = file.with_name(f"{file.name}.{os.getpid()}")
        faiss.write_index(built.index, str(part))
        part.replace(file)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{file}: no index can be read or written there; remove it") from error
    return built


def require_faiss() -> Any:
    """The module of FAISS.

    Raises:
      InputError: it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise InputError(
            "an approximate search needs FAISS: pip install 'lupi-jax[faiss]', or search exactly"
        ) from error
