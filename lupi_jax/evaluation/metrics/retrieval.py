"""Retrieval metrics of person re-identification: CMC, mAP and mINP, in NumPy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lupi_jax.evaluation.metrics.given import (
    Counted,
    check_options,
    comparable,
    floating,
    is_there,
    real_numbers,
)
from lupi_jax.evaluation.metrics.match_counts import Tile, match_figures

BLOCK_ELEMENTS = 2**26
"""Number of distances, or of feature entries, in memory at once if a gallery may have any size.
That is 256 MiB in float32, and about five times as much with intermediate results."""

# Memory per true match while its figures are computed, in distances: 57 bytes.
_MATCH_ELEMENTS = 14


@dataclasses.dataclass(frozen=True, eq=False)
class RetrievalMetrics:
    """CMC, mAP and mINP of a retrieval, with the per-query figures that they are means of.

    A query without a true match in its gallery has NaN, and means leave it out.

    Attributes:
        cmc: [ranks] float64; `cmc[k - 1]` is the rank-k accuracy, in [0, 1].
        mean_ap: mean average precision (mAP), in (0, 1].
        mean_inp: mean inverse negative penalty (mINP), in (0, 1].
        valid_queries: number of queries with a true match.
        average_precision: [q] float64, in (0, 1] or NaN.
        inverse_negative_penalty: [q] float64, in (0, 1] or NaN.
        first_match_rank: [q] float64, 1-based rank of the first true match, or NaN; it counts
            images or identities, like the CMC.
    """

    cmc: NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    valid_queries: int
    average_precision: NDArray[np.float64] = dataclasses.field(repr=False)
    inverse_negative_penalty: NDArray[np.float64] = dataclasses.field(repr=False)
    first_match_rank: NDArray[np.float64] = dataclasses.field(repr=False)


def pairwise_distances(query_features: ArrayLike, gallery_features: ArrayLike) -> NDArray:
    """Cosine distance, 1 - cosine similarity, between L2-normalised features.

    If there is an accelerator, it computes float32 products, at full float32 precision.

    Args:
        query_features: [q, d] real, rows of unit length.
        gallery_features: [g, d] real, rows of unit length.

    Returns:
        [q, g] in [0, 2] up to rounding, in the features' floating-point type, at least float32.

    Raises:
        ValueError: shapes do not fit, or a row's length differs from 1 by more than 0.01.
    """
    query = floating("query features", query_features)
    gallery = floating("gallery features", gallery_features)
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"features must be [q, d] and [g, d]: got {query.shape}, {gallery.shape}")
    for name, features in (("query", query), ("gallery", gallery)):
        if not np.all(np.abs(np.linalg.norm(features, axis=1) - 1) <= 0.01):
            raise ValueError(f"{name} features must be L2-normalised (every row of length 1)")
    if jax.default_backend() == "cpu" or query.dtype != np.float32 or gallery.dtype != np.float32:
        return 1 - query @ gallery.T
    return 1 - np.asarray(jnp.matmul(query, gallery.T, precision="highest"))


def retrieval_metrics(
    distances: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    excluded: ArrayLike | None = None,
    cmc: Counted | None = None,
    ranks: int = 20,
) -> RetrievalMetrics:
    """Rank the gallery of each query by distance and measure where the true matches fall.

    For a query with n true matches at ranks r_1 < ... < r_n among the images of its gallery,
    AP = (1/n) sum_i i / r_i and INP = n / r_n (mINP: Ye et al., "Deep Learning for Person
    Re-identification: A Survey and Outlook", TPAMI 2021). AP is the mean of the precision
    at each match, without interpolation, as in the evaluators of SYSU-MM01 and RegDB.

    Identity -1 is junk, as on Market-1501: a junk gallery image exists for no query, and a junk
    query has no true match. Identity 0 is treated like any other: distractors are images that no
    query asks for.

    Args:
        distances: [q, g] real; smaller is closer. Equal distances keep the gallery's order.
        query_ids: [q] identities, whole numbers or names.
        gallery_ids: [g] identities, of the same kind.
        excluded: [q, g] bool; True if the gallery image does not exist for that query (SYSU-MM01: a
            camera-3 query ignores camera 2). None excludes nothing.
        cmc: what the CMC curve counts. Always give it: the figures beyond rank 1 depend on it.
            "image" ranks images, as `lupi evaluate` does for folders and RegDB. "identity" ranks
            the gallery's identities by their closest image, each counted once, as `lupi evaluate`
            does for SYSU-MM01 and LLCM. None counts identities and warns. mAP and mINP always count
            images.
        ranks: length of the CMC curve, at least 1; it is constant beyond the gallery's length.

    Warns:
        FutureWarning: `cmc` was left out.

    Raises:
        ValueError: shapes, types or options do not fit, a distance is NaN, or no query has a true
            match.
    """
    dist = real_numbers("distances", distances)
    query, gallery = comparable("identities", query_ids, gallery_ids)
    if dist.ndim != 2 or 0 in dist.shape:
        raise ValueError(f"distances must be [q, g] with q, g >= 1: got shape {dist.shape}")
    if query.shape != dist.shape[:1] or gallery.shape != dist.shape[1:]:
        raise ValueError(
            f"distances {dist.shape} need one identity per query and per gallery image: "
            f"got query_ids {query.shape}, gallery_ids {gallery.shape}"
        )
    hidden = None if excluded is None else np.asarray(excluded)
    if hidden is not None and (hidden.dtype != bool or hidden.shape != dist.shape):
        raise ValueError(
            f"excluded must be bool of shape {dist.shape}: got {hidden.dtype} {hidden.shape}"
        )
    counted = check_options(cmc, ranks)
    there = is_there(gallery)
    if not there.all():
        dist, gallery = dist[:, there], gallery[there]
        hidden = None if hidden is None else hidden[:, there]
    if dist.dtype.kind != "f" or dist.itemsize > 8:
        dist = dist.astype(np.float64)
    tile = np.arange(len(gallery)), dist
    rule = None if hidden is None else lambda rows, _: hidden[rows]
    return _summarize(match_figures(query, gallery, [tile], rule, counted), ranks)


def feature_metrics(
    query_features: ArrayLike,
    gallery_features: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_groups: ArrayLike | None = None,
    gallery_groups: ArrayLike | None = None,
    cmc: Counted | None = None,
    ranks: int = 20,
    gallery_rows: ArrayLike | None = None,
) -> RetrievalMetrics:
    """`retrieval_metrics` of `pairwise_distances`, for galleries of any size.

    Junk is treated as there. Each distance is computed and counted once, in tiles. `BLOCK_ELEMENTS`
    bounds the memory beside the arguments and a few numbers per gallery image, unless one query's
    true matches exceed it. The gallery is read once per block of queries (`query_blocks`). A block
    has at most sqrt(BLOCK_ELEMENTS) queries; fewer if they have many true matches, or if CMC counts
    identities and the gallery has many of them (268 queries for a million identities).

    Distances equal `pairwise_distances` up to the last bit, which in a matrix product depends on
    the shape. So gallery images with the same features may change places.

    Args:
        query_features: [q, d] real, rows of unit length, q >= 1.
        gallery_features: [g, d] real, rows of unit length, g >= 1; may be memory-mapped. With
            `gallery_rows` it is [n, d].
        query_ids: [q] identities.
        gallery_ids: [g] identities.
        query_groups: [q] groups; a gallery image of the query's own group does not exist for that
            query. None excludes nothing.
        gallery_groups: [g] groups; give them together with `query_groups`.
        cmc: as in `retrieval_metrics`.
        ranks: as in `retrieval_metrics`.
        gallery_rows: [g] row numbers, from 0, of the rows of `gallery_features` that make up the
            gallery, in its order; None takes all.

    Raises:
        ValueError: shapes or options do not fit, a row number of `gallery_rows` is out of range, a
            feature does not have unit length, or no query has a true match.
    """
    query, gallery = (np.asanyarray(x) for x in (query_features, gallery_features))
    ids = comparable("identities", query_ids, gallery_ids)
    groups = None
    if query_groups is not None or gallery_groups is not None:
        groups = comparable("groups", query_groups, gallery_groups)
    fits = query.ndim == gallery.ndim == 2 and query.shape[1] == gallery.shape[1]
    shown = np.arange(len(gallery)) if gallery_rows is None else np.asarray(gallery_rows)
    if not (fits and len(query) and len(shown)):
        raise ValueError(
            f"features must be [q, d] and [g, d], q, g >= 1: got {query.shape}, {gallery.shape}"
        )
    whole = shown.ndim == 1 and shown.dtype.kind in "iu"
    if not (whole and shown.min() >= 0 and shown.max() < len(gallery)):
        raise ValueError(
            f"gallery_rows must be whole numbers from 0 to {len(gallery) - 1}, the rows of "
            "gallery_features"
        )
    for name, sides in (("identity", ids), ("group", groups)):
        lengths = query.shape[:1], shown.shape
        if sides is not None and (sides[0].shape, sides[1].shape) != lengths:
            raise ValueError(
                f"{len(query)} queries and {len(shown)} gallery images need one {name} each: "
                f"got {sides[0].shape}, {sides[1].shape}"
            )
    counted = check_options(cmc, ranks)
    there = is_there(ids[1])
    if not there.all():
        shown, ids = shown[there], (ids[0], ids[1][there])
        groups = None if groups is None else (groups[0], groups[1][there])
    figures = np.empty((3, len(query)))
    for rows in query_blocks(*ids, counted):
        mine = query[rows]

        def hidden(chunk: slice, columns: NDArray, rows: NDArray = rows) -> NDArray[np.bool_]:
            assert groups is not None
            return groups[0][rows[chunk], None] == groups[1][columns]

        tiles = _tiles(mine, gallery, shown, np.isin(ids[1], ids[0][rows]))
        rule = None if groups is None else hidden
        figures[:, rows] = match_figures(ids[0][rows], ids[1], tiles, rule, counted)
    return _summarize(figures, ranks)


def query_blocks(
    query_ids: NDArray, gallery_ids: NDArray, cmc: Counted = "identity"
) -> Iterator[NDArray[np.int64]]:
    """Blocks of row numbers of queries to measure together; each query is in one block.

    Queries of one identity come together. So the true matches of a block fit into `BLOCK_ELEMENTS`,
    unless the matches of one query alone exceed it.
    """
    order = np.argsort(query_ids, kind="stable")
    identities, number = np.unique(query_ids[order], return_inverse=True)
    found, counts = np.unique(gallery_ids, return_counts=True)
    place = np.minimum(np.searchsorted(found, identities), len(found) - 1)
    matches = np.where(found[place] == identities, counts[place], 0)
    until = matches.cumsum()[number]  # matches of the identities up to each query's, in order
    own = matches[number]
    most = math.isqrt(BLOCK_ELEMENTS)
    if cmc == "identity":  # a mark per query and identity takes one byte, a distance four
        most = max(1, min(most, 4 * BLOCK_ELEMENTS // len(found)))
    start = 0
    while start < len(order):
        rows = slice(start, start + most)
        held = until[rows] - until[start] + own[start]
        # Every query takes as much memory as the query with the most matches.
        held += _MATCH_ELEMENTS * np.maximum.accumulate(own[rows])
        fits = np.arange(1, len(held) + 1) * held <= BLOCK_ELEMENTS
        stop = start + max(1, int(fits.sum()))
        yield order[start:stop]
        start = stop


def _tiles(
    query: NDArray, gallery: NDArray, shown: NDArray[np.int64], matches: NDArray[np.bool_]
) -> Iterator[Tile]:
    """Tiles of distances to the rows `shown` [g], the rows that `matches` [g] marks first."""
    size = max(1, BLOCK_ELEMENTS // max(query.shape))

    def parts(columns: NDArray[np.int64]) -> Iterator[Tile]:
        for i in range(0, len(columns), size):
            part = columns[i : i + size]
            yield part, pairwise_distances(query, gallery[shown[part]])

    columns = np.flatnonzero(matches)
    if len(columns):
        first = np.concatenate([tile for _, tile in parts(columns)], axis=1)
        yield columns, first
        del first
    yield from parts(np.flatnonzero(~matches))


def _summarize(figures: NDArray[np.float64], ranks: int) -> RetrievalMetrics:
    """Means of `match_figures` [3, q] over the queries with a match."""
    average_precision, penalty, first_rank = figures
    valid = int(np.isfinite(average_precision).sum())
    if not valid:
        raise ValueError("no query has a true match in its gallery")
    return RetrievalMetrics(
        cmc=(first_rank[:, None] <= np.arange(1, ranks + 1)).sum(axis=0) / valid,
        mean_ap=float(np.nanmean(average_precision)),
        mean_inp=float(np.nanmean(penalty)),
        valid_queries=valid,
        average_precision=average_precision,
        inverse_negative_penalty=penalty,
        first_match_rank=first_rank,
    )
