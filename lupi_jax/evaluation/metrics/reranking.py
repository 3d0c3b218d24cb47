"""k-reciprocal re-ranking: distances by how far two images share their neighbours."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from lupi_jax.evaluation.metrics.given import real_numbers
from lupi_jax.evaluation.metrics.retrieval import pairwise_distances

# Neighbours are searched in blocks of rows with at most this many distances, so that the copies of
# a selection take at most some tens of megabytes.
_BLOCK_ELEMENTS = 2**20


def k_reciprocal_distances(
    query_features: ArrayLike,
    gallery_features: ArrayLike,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> NDArray[np.float32]:
    """Distances re-ranked by k-reciprocal encoding, a replacement for `pairwise_distances`.

    Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
    CVPR 2017. Over all n = q + g images at once, queries and gallery alike::

      d(i, j): squared Euclidean distance divided by the largest in row i, in [0, 1] (Eq. 1 with
        M = I). For unit vectors this is the cosine distance divided by its largest, which the code
        computes.
      N(i, k): image i itself and its k nearest others (Eq. 2). Equal distances keep the order of
        the images, queries before gallery.
      R(i, k): the j in N(i, k) with i in N(j, k) (Eq. 3).
      R*(i): R(i, k1), and R(j, k1 / 2) for each j in R(i, k1) with more than two thirds of
        R(j, k1 / 2) in R(i, k1) (Eq. 4). k1 / 2 is rounded, one half to the even side.
      V(i, j): exp(-d(i, j)) for j in R*(i), else 0 (Eq. 7), divided by its sum over j.
      V(i): the mean of the V of image i and of its k2 - 1 nearest others (Eq. 11).
      d_J(i, j) = 1 - sum_m min(V(i, m), V(j, m)) / sum_m max(V(i, m), V(j, m)) (Eq. 10).
      d*(i, j) = (1 - weight) d_J(i, j) + weight d(i, j) (Eq. 12).

    If the paper and its authors' Python code differ, this function follows the code, because
    published figures were made with it. The code normalises d and V, takes neighbours from queries
    and gallery and image i itself, and asks for "more than" two thirds instead of "at least"
    (Eq. 4). So the result of a query depends on the other queries. Images that a protocol excludes
    for a query still count as neighbours. Peak memory: about 8 n^2 bytes.

    Args:
        query_features: [q, d] real, rows of unit length, q >= 1.
        gallery_features: [g, d] real, rows of unit length, g >= 1.
        k1: number of neighbours whose reciprocity counts, at least 1.
        k2: number of images that the local query expansion averages; 1 expands nothing.
        weight: weight of the original distance (the paper's lambda), in [0, 1]; 1 keeps the
            original ranking.

    Returns:
        [q, g] float32, in [0, 1] up to rounding; smaller is closer.

    Raises:
        ValueError: shapes do not fit, a side is empty, a row's length differs from 1 by more than
            0.01, or k1, k2 or weight is out of range.
    """
    whole = isinstance(k1, Integral) and isinstance(k2, Integral)
    if not whole or k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise ValueError(
            "k1 and k2 must be whole numbers of at least 1 and weight in [0, 1]: got "
            f"{k1}, {k2}, {weight}"
        )
    query, gallery = (
        np.asarray(real_numbers(name, x), np.float32)
        for name, x in (("queries", query_features), ("gallery", gallery_features))
    )
    original = _original_distances(query, gallery)
    nearest = _nearest(original, max(k1 + 1, k2))
    average = _rows(nearest[:, :k2], 1 / min(k2, len(nearest)))
    encoding = csr_array(average @ _encode(original, nearest, k1))

    q = len(query)
    distances = _jaccard_distances(encoding, q)
    distances *= 1 - weight
    distances += weight * original[:q, q:]
    return distances


def _original_distances(query: NDArray, gallery: NDArray) -> NDArray[np.float32]:
    """[n, n] distances among queries and gallery, each row divided by its largest distance."""
    between = pairwise_distances(query, gallery)
    if 0 in between.shape:
        raise ValueError(
            f"query and gallery need at least one image each: got {between.shape} distances"
        )
    among = pairwise_distances(query, query), pairwise_distances(gallery, gallery)
    distances = np.block([[among[0], between], [between.T, among[1]]])
    np.fill_diagonal(distances, 0)
    np.maximum(distances, 0, out=distances)  # rounding, and lengths a little above 1
    # If all images are alike, the largest distance is 0.
    distances /= np.maximum(distances.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return distances


def _nearest(distances: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """[n, min(count, n)] columns of each row's smallest distances, in order; itself first."""
    n = len(distances)
    count = min(count, n)
    rows = max(1, _BLOCK_ELEMENTS // n)
    columns = np.arange(n)
    nearest = np.empty((n, count), np.int64)
    for start in range(0, n, rows):
        block = distances[start : start + rows]
        # The bits of non-negative floats, read as integers, have the order of the floats. -1 comes
        # before all of them. With the column in the lower bits they make one integer, which orders
        # ties like a stable sort, in a fraction of the time.
        keys = block.view(np.int32).astype(np.int64)
        keys[np.arange(len(block)), columns[start : start + rows]] = -1
        keys = (keys << 32) | columns
        smallest = np.sort(np.partition(keys, count - 1, axis=1)[:, :count], axis=1)
        nearest[start : start + rows] = smallest & (2**32 - 1)
    return nearest


def _rows(columns: NDArray[np.int64], value: float) -> csr_array:
    """[n, n] sparse, with `value` in the given columns [n, k] of each row."""
    n, k = columns.shape
    values = np.full(n * k, value, np.float32)
    return csr_array((values, columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))


def _reciprocal(nearest: NDArray[np.int64], k: int) -> csr_array:
    """R(i, k) of every image, [n, n] sparse and symmetric, 1 for members."""
    forward = _rows(nearest[:, : k + 1], 1)
    return (forward * forward.T).tocsr()


def _encode(distances: NDArray[np.float32], nearest: NDArray[np.int64], k1: int) -> csr_array:
    """V before query expansion, [n, n] sparse; rows sum to 1."""
    reciprocal, half = _reciprocal(nearest, k1), _reciprocal(nearest, round(k1 / 2))
    accepted = ((reciprocal @ half) * reciprocal).tocsr()  # (i, j): size of R(i, k1) & R(j, k1 / 2)
    size = half.sum(axis=1)
    accepted.data = (3 * accepted.data > 2 * size[accepted.indices]).astype(np.float32)
    encoding = (reciprocal + accepted @ half).tocsr()
    row = np.repeat(np.arange(len(distances)), np.diff(encoding.indptr))
    weights = np.exp(-distances[row, encoding.indices])
    encoding.data = (weights / np.bincount(row, weights)[row]).astype(np.float32)
    return encoding


def _jaccard_distances(encoding: csr_array, q: int) -> NDArray[np.float32]:
    """d_J between the first q rows of V and the others, [q, n - q] in [0, 1]."""
    starts = np.asarray(encoding.indptr)
    distances = np.empty((q, len(starts) - 1 - q), np.float32)
    gallery = encoding[q:].tocsc()
    for i, row in enumerate(distances):
        own = slice(starts[i], starts[i + 1])
        there = gallery[:, encoding.indices[own]]
        smaller = np.minimum(there.data, np.repeat(encoding.data[own], np.diff(there.indptr)))
        shared = np.minimum(np.bincount(there.indices, smaller, minlength=len(row)), 1)
        # Rows sum to 1, so the sum of maxima is 2 minus the sum of minima.
        row[:] = 1 - shared / (2 - shared)
    return distances
