"""The nearest images of a gallery, and the rows of pictures that show them."""

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

_LINE = 14  # characters that fit on a line under an image


@dataclasses.dataclass(frozen=True, eq=False)
class RankingRow:
    """One query and the first images of its ranking list.

    Attributes:
        query: [h, w, 3] uint8.
        query_title: text under the query, "ID 4 · cam 2" or the file's name. A picture starts a new
            line at " · " and at a line break. About 14 characters fit on a line.
        gallery: images [h, w, 3] uint8, closest first.
        titles: text under each gallery image.
        correct: whether each gallery image has the query's identity; None if that is unknown.
        matched: whether each gallery image is within the threshold; None without a threshold.
    """

    query: NDArray[np.uint8]
    query_title: str
    gallery: Sequence[NDArray[np.uint8]]
    titles: Sequence[str]
    correct: Sequence[bool | None]
    matched: Sequence[bool] | None = None


def nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    top: int,
    excluded: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` nearest gallery rows of each query by cosine distance.

    The gallery is read in tiles, once per sqrt(`BLOCK_ELEMENTS`) queries.

    Args:
      query: [q, d], L2-normalised.
      gallery: [g, d], L2-normalised; may be memory-mapped.
      top: number of gallery rows per query, at least 1.
      excluded: [q, g] bool, gallery rows that do not exist for a query; they come last, at an
        infinite distance.

    Returns:
      Row numbers of the gallery [q, k] and their distances [q, k], nearest first, with
      k = min(top, g). Rows at equal distances keep the gallery's order. Copies of an image in
      different tiles may have distances that differ in the last bit.

    Raises:
      ValueError: types or shapes do not fit, or a feature does not have length 1.
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
    """`nearest` for a block of queries; each tile of the gallery is merged with the best so far."""
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
    """Each row's `count` smallest distances in order, and their columns; equals stay in order."""
    if count < distances.shape[1]:
        bound = np.partition(distances, count - 1, axis=1)[:, count - 1 : count]
        kept = distances <= bound
        if kept.sum() > count * len(kept):  # too many equal the bound: keep the first
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
    """Queries of a trial, each with its `top` nearest images by the feature after the neck.

    Args:
      features: features of all images of the trial.
      trial: the queries and the gallery.
      size: (height, width) in pixels at which images are shown.
      queries: number of queries, spread evenly; or their positions in `trial.query`.
      top: number of gallery images per query.

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
    """One query, `row` of `query`, with its ranked images, `rows` of `gallery`.

    An identity below 0 is unknown.

    Raises:
      InputError: an image cannot be read.
    """
    identity = int(query.index.identities[row])
    found = gallery.index[rows]
    known = identity >= 0

    def title(number: int, camera: int, path: str) -> str:
        return f"ID {number} · cam {camera}" if number >= 0 else _name(path)

    images = zip(found.identities, found.cameras, found.paths, strict=True)
    return RankingRow(
        query=read_image(query.index.root / query.index.paths[row], size),
        query_title=title(identity, query.index.cameras[row], query.index.paths[row]),
        gallery=[read_image(found.root / path, size) for path in found.paths],
        titles=[title(*image) for image in images],
        correct=[bool(i == identity) if known and i >= 0 else None for i in found.identities],
    )


def _name(path: str) -> str:
    """A file's name below its directory's name, which often names the person.

    A long name takes two lines and loses its middle.
    """
    lines = []
    for part in shown(path.rpartition(".")[0]).split("/")[-2:]:
        if len(part) > 2 * _LINE:
            part = f"{part[: _LINE - 1]}…{part[-_LINE:]}"
        lines += [part[:_LINE], part[_LINE:]]
    return "\n".join(filter(None, lines))
