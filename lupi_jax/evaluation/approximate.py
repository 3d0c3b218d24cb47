"""Candidates for a search by FAISS, for galleries too large to compare every image.

The index keeps a byte for each entry of a feature, in about sqrt(n) cells around centres of their
own, and looks into the cells nearest to a query. It only proposes: `ranking.nearest` compares what
it proposes exactly.
"""

import contextlib
import hashlib
import importlib
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.evaluation.metrics.retrieval import BLOCK_ELEMENTS, require_unit

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
      ValueError: a feature is not of unit length.
    """
    cells, width = math.isqrt(len(rows)), gallery.shape[1]
    faiss = require_faiss()
    index = faiss.index_factory(width, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    drawn = np.random.default_rng(0).permutation(len(rows))[: _TRAINED_ON * cells]
    index.train(_read(gallery, rows[np.sort(drawn)]))
    size = max(1, BLOCK_ELEMENTS // width)
    for i in range(0, len(rows), size):
        index.add(_read(gallery, rows[i : i + size]))
    return ApproximateIndex(index, rows)


def _read(gallery: np.ndarray, rows: np.ndarray) -> np.ndarray:
    features = gallery[rows]
    require_unit("gallery", features)
    return features


def index_file(folder: Path, name: str, rows: np.ndarray) -> Path:
    """Where the index of some rows [n] of exported features is kept, another for other features.

    Args:
      folder: where the features are.
      name: what the rows are.
      rows: their numbers.
    """
    features = (folder / "features.npy").stat()
    told = f"{features.st_size} {features.st_mtime_ns} ".encode() + rows.tobytes()
    return folder / f"{name}-{hashlib.sha256(told).hexdigest()[:16]}.faiss"


def stored_index(file: Path, gallery: np.ndarray, rows: np.ndarray) -> ApproximateIndex:
    """The index in `file`, or one that is built, and written there where that is possible.

    Args:
      file: as `index_file` names it.
      gallery: as for `build_index`.
      rows: as for `build_index`.

    Raises:
      InputError: FAISS is not installed.
      ValueError: a feature is not of unit length.
    """
    index = _read_index(file)
    if index is not None and (index.ntotal, index.d) == (len(rows), gallery.shape[1]):
        return ApproximateIndex(index, rows)
    built = build_index(gallery, rows)
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    # The folder may be read-only, or full: the next search builds its own.
    with contextlib.suppress(OSError):
        try:
            require_faiss().write_index(built.index, str(part))
            part.replace(file)
        except RuntimeError as error:  # FAISS's own
            raise OSError(str(error)) from error
        finally:
            part.unlink(missing_ok=True)
        for other in file.parent.glob(f"{file.name.partition('-')[0]}-*.faiss*"):
            if other != file:  # of features that were there before, or of a search that was killed
                other.unlink()
    return built


def _read_index(file: Path) -> Any:
    """The inverted file in `file`, or None where none can be read."""
    faiss = require_faiss()
    if not file.is_file():
        return None
    try:
        index = faiss.read_index(str(file))
    except (RuntimeError, MemoryError):
        return None
    return index if isinstance(index, faiss.IndexIVFScalarQuantizer) else None


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
