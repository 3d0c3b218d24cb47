"""Retrieval metrics of person re-identification: CMC, mAP and mINP, in plain NumPy.

A metric here knows no data set. What a protocol adds (which images are the gallery, which gallery
images a query must ignore) arrives as arrays.
"""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Each block holds a handful of [queries, gallery] arrays of at most this many elements (some tens
# of megabytes), however long the list of queries is.
_BLOCK_ELEMENTS = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class RetrievalMetrics:
    """CMC, mAP and mINP of a retrieval, and the figures per query they are means of.

    The figures per query are NaN for a query that has no true match in its gallery; means run over
    the other queries only. They are what a bootstrap or a significance test resamples.

    Attributes:
        cmc: [ranks] float64; `cmc[k - 1]` is the rank-k accuracy, in [0, 1] and never decreasing.
        mean_ap: mean average precision (mAP), in (0, 1].
        mean_inp: mean inverse negative penalty (mINP), in (0, 1].
        valid_queries: number of queries with at least one true match.
        average_precision: [q] float64, in (0, 1] or NaN.
        inverse_negative_penalty: [q] float64, in (0, 1] or NaN.
        first_match_rank: [q] float64, 1-based rank of the first true match, counted in images or
            in identities as the CMC is; NaN without a match.
    """

    cmc: NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    valid_queries: int
    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    first_match_rank: NDArray[np.float64]


def pairwise_distances(query_features: ArrayLike, gallery_features: ArrayLike) -> NDArray:
    """Cosine distance, 1 - cosine similarity, between L2-normalised features.

    On unit vectors this is half the squared Euclidean distance, so both rank a gallery alike.

    Args:
        query_features: [q, d] real, rows of unit length.
        gallery_features: [g, d] real, rows of unit length.

    Returns:
        [q, g] distances in [0, 2] up to rounding, in the features' own floating-point type, or
        float32 for types narrower than that.

    Raises:
        ValueError: if the shapes do not fit, or a row's length is further than 0.01 from 1.
    """
    query, gallery = (
        x.astype(np.promote_types(x.dtype, np.float32), copy=False)
        for x in (np.asarray(query_features), np.asarray(gallery_features))
    )
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"features must be [q, d] and [g, d]: got {query.shape}, {gallery.shape}")
    for name, features in (("query", query), ("gallery", gallery)):
        lengths = np.linalg.norm(features, axis=1)
        if not np.all(np.abs(lengths - 1) <= 0.01):
            raise ValueError(f"{name} features must be L2-normalised (every row of length 1)")
    return 1 - query @ gallery.T


def retrieval_metrics(
    distances: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    excluded: ArrayLike | None = None,
    cmc: Literal["identity", "image"] = "identity",
    ranks: int = 20,
) -> RetrievalMetrics:
    """Rank the gallery of each query by distance and measure where the true matches fall.

    For a query with n true matches at ranks r_1 < ... < r_n among the images of its gallery,
    AP = (1/n) sum_i i / r_i and INP = n / r_n (mINP: Ye et al., "Deep Learning for Person
    Re-identification: A Survey and Outlook", TPAMI 2021). AP is the mean of the precision
    at each match, without interpolation, as in the evaluators of SYSU-MM01 and RegDB. A gallery
    shorter than `ranks` is allowed: its CMC is constant from its length on.

    Args:
        distances: [q, g] real; smaller is closer. Equal distances keep the gallery's order.
        query_ids: [q] identity of each query.
        gallery_ids: [g] identity of each gallery image.
        excluded: [q, g] bool; where true, the gallery image does not exist for that query
            (SYSU-MM01: a camera-3 query ignores camera 2). None excludes nothing.
        cmc: "identity" ranks the gallery's identities by their closest image, each counted once
            (SYSU-MM01, LLCM); "image" ranks images (RegDB). It concerns the CMC alone: mAP and
            mINP always count images.
        ranks: length of the CMC curve, at least 1.

    Returns:
        The metrics, averaged over the queries that have a true match left.

    Raises:
        ValueError: if shapes, types or options do not fit, a distance is NaN, or no query has a
            true match.
    """
    dist, query, gallery = (np.asarray(x) for x in (distances, query_ids, gallery_ids))
    if dist.ndim != 2 or 0 in dist.shape:
        raise ValueError(f"distances must be [q, g] with q, g >= 1: got shape {dist.shape}")
    if query.shape != dist.shape[:1] or gallery.shape != dist.shape[1:]:
        raise ValueError(
            f"distances {dist.shape} need one identity per query and per gallery image: "
            f"got query_ids {query.shape}, gallery_ids {gallery.shape}"
        )
    hidden = np.zeros((), bool) if excluded is None else np.asarray(excluded)
    if hidden.dtype != bool or (excluded is not None and hidden.shape != dist.shape):
        raise ValueError(
            f"excluded must be bool of shape {dist.shape}: got {hidden.dtype} {hidden.shape}"
        )
    if cmc not in ("identity", "image"):
        raise ValueError(f'cmc must be "identity" or "image": got {cmc!r}')
    if ranks < 1:
        raise ValueError(f"ranks must be at least 1: got {ranks}")
    if np.isnan(dist).any():
        raise ValueError("distances contain NaN")

    hidden = np.broadcast_to(hidden, dist.shape)
    rows = max(1, _BLOCK_ELEMENTS // dist.shape[1])
    blocks = [
        _per_query(dist[i : i + rows], query[i : i + rows], gallery, hidden[i : i + rows], cmc)
        for i in range(0, len(dist), rows)
    ]
    average_precision, penalty, first_rank = np.concatenate(blocks, axis=1)
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


def _per_query(
    distances: NDArray, query_ids: NDArray, gallery_ids: NDArray, hidden: NDArray, cmc: str
) -> NDArray[np.float64]:
    """AP, INP and first-match rank of a block of b queries: [3, b], NaN without a match."""
    order = np.argsort(distances, axis=1, kind="stable")
    kept = ~np.take_along_axis(hidden, order, axis=1)
    match = (gallery_ids[order] == query_ids[:, None]) & kept
    rank = kept.cumsum(axis=1)  # 1-based rank among the images that exist for the query
    found = match.cumsum(axis=1)
    total = found[:, -1]

    # Rank 0 stands only before the first image that exists, where there is no match either.
    precision = np.where(match, found / np.maximum(rank, 1), 0.0)
    last_rank = np.where(match, rank, 0).max(axis=1)
    to_first = kept & (found - match == 0)  # images up to and including the first match
    if cmc == "image":
        first_rank = to_first.sum(axis=1)
    else:
        identities, column = np.unique(gallery_ids, return_inverse=True)
        seen = np.zeros((len(order), len(identities)), bool)
        row, position = np.nonzero(to_first)
        seen[row, column[order[row, position]]] = True
        first_rank = seen.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is no match, masked on the next line
        figures = np.stack([precision.sum(axis=1) / total, total / last_rank, first_rank])
    return np.where(total > 0, figures, np.nan)
