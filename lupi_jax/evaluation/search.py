"""Nearest images of a gallery, and the pictures that show them."""

import dataclasses
import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from lupi_jax.data import read_image
from lupi_jax.errors import shown
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.metrics.retrieval import BLOCK_ELEMENTS, pairwise_distances
from lupi_jax.evaluation.metrics.tasks import Trial

_NAME = 14  # characters of a file's name that fit over its picture


@dataclasses.dataclass(frozen=True, eq=False)
class RankingRow:
    """One query and the first images of its ranking list.

    Attributes:
        query: [h, w, 3] uint8.
        query_title: text above the query; about 14 characters fit on a line.
        gallery: images [h, w, 3] uint8, closest first.
        titles: text above each gallery image.
        correct: whether each gallery image has the query's identity; None if that is unknown.
    """

    query: NDArray[np.uint8]
    query_title: str
    gallery: Sequence[NDArray[np.uint8]]
    titles: Sequence[str]
    correct: Sequence[bool | None]


def nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    top: int,
    excluded: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` nearest gallery rows of each query by cosine distance.

    The gallery is read a tile at a time, once for every sqrt(`BLOCK_ELEMENTS`) queries.

    Args:
      query: [q, d], L2-normalised.
      gallery: [g, d], L2-normalised; may be memory-mapped.
      top: how many, at least 1; fewer come back from a smaller gallery.
      excluded: [q, g] bool, gallery rows that are not there for a query: last, infinitely far.

    Returns:
      Rows of the gallery [q, k] and their distances [q, k], nearest first, k = min(top, g). Equal
      distances keep the gallery's order; those of copies in different tiles may differ by a bit.

    Raises:
      ValueError: types or shapes do not fit, or a feature is not of unit length.
    """
    if not isinstance(top, Integral) or top < 1:
        raise ValueError(f"top must be a whole number of at least 1: got {top}")
    whole = len(query), len(gallery)
    if excluded is not None and (excluded.dtype != bool or excluded.shape != whole):
        raise ValueError(
            f"excluded must be bool of shape {whole}: got {excluded.dtype} {excluded.shape}"
        )
    most = math.isqrt(BLOCK_ELEMENTS)
    blocks = [slice(i, i + most) for i in range(0, max(1, len(query)), most)]
    found = [
        _nearest(query[b], gallery, top, None if excluded is None else excluded[b]) for b in blocks
    ]
    rows, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    return rows, distances


def _nearest(
    query: np.ndarray, gallery: np.ndarray, top: int, excluded: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` for a block of queries: the best so far against a tile of the gallery at a time."""
    size = max(1, BLOCK_ELEMENTS // max(*query.shape, 1))
    rows = np.empty((len(query), 0), np.int64)
    distances = np.empty((len(query), 0), np.float32)
    for start in range(0, max(1, len(gallery)), size):
        tile = pairwise_distances(query, gallery[start : start + size])
        if excluded is not None:
            tile = np.where(excluded[:, start : start + size], np.inf, tile)
        columns = np.broadcast_to(np.arange(start, start + tile.shape[1]), tile.shape)
        if start:
            tile = np.concatenate([distances, tile], axis=1)
            columns = np.concatenate([rows, columns], axis=1)
        distances, rows = _smallest(tile, columns, top)
    return rows, distances


def _smallest(
    distances: np.ndarray, columns: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each row's `count` smallest distances in order, the first of equals first, and columns."""
    if count < distances.shape[1]:
        bound = np.partition(distances, count - 1, axis=1)[:, count - 1 : count]
        kept = distances <= bound
        if kept.sum() > count * len(kept):  # of those equal to the bound only the first have room
            equal = distances == bound
            room = count - (kept & ~equal).sum(axis=1, keepdims=True)
            kept &= ~equal | (equal.cumsum(axis=1) <= room)
        distances, columns = (x[kept].reshape(-1, count) for x in (distances, columns))
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(columns, order, axis=1)


def ranking_rows(
    features: Features,
    trial: Trial,
    size: tuple[int, int],
    queries: int | np.ndarray = 6,
    top: int = 10,
) -> list[RankingRow]:
    """Queries of a trial, each with its `top` nearest by the neck's feature.

    Args:
      features: of all images of the trial.
      size: (height, width) the images are shown at.
      queries: how many, spread evenly, or their positions in `trial.query`.

    Raises:
      InputError: an image cannot be read.
    """
    if isinstance(queries, int):
        spread = np.linspace(0, len(trial.query) - 1, min(queries, len(trial.query)))
        queries = spread.round().astype(int)
    shown = trial.query[queries]
    excluded = dataclasses.replace(trial, query=shown).excluded
    rows, distances = nearest(features.neck[shown], features.neck[trial.gallery], top, excluded)
    return [
        ranking_row(features, q, features, trial.gallery[r[np.isfinite(d)]], size)
        for q, r, d in zip(shown, rows, distances, strict=True)
    ]


def ranking_row(
    query: Features, row: int, gallery: Features, rows: np.ndarray, size: tuple[int, int]
) -> RankingRow:
    """Row `row` of `query` and its ranked images, `rows` of `gallery`; identities < 0 are unknown.

    Raises:
      InputError: an image cannot be read.
    """
    identity = int(query.index.identities[row])
    found = gallery.index[rows]
    known = identity >= 0

    def title(number: int, camera: int, path: str) -> str:
        if number >= 0:
            return f"{number} · cam {camera}"
        name = shown(path.rpartition(".")[0])
        return name if len(name) <= _NAME else "…" + name[1 - _NAME :]

    images = zip(found.identities, found.cameras, found.paths, strict=True)
    return RankingRow(
        query=read_image(query.index.root / query.index.paths[row], size),
        query_title=title(identity, query.index.cameras[row], query.index.paths[row]),
        gallery=[read_image(found.root / path, size) for path in found.paths],
        titles=[title(*image) for image in images],
        correct=[bool(i == identity) if known and i >= 0 else None for i in found.identities],
    )
