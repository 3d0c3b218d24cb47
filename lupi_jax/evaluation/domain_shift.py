"""How far two sets of features lie apart as distributions, e.g. visible from infrared ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def maximum_mean_discrepancy(
    x: ArrayLike, y: ArrayLike, bandwidths: Sequence[float] | None = None
) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (MMD) with a Gaussian kernel.

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Eq. 3: with m rows x_i and n rows y_i::

        1/(m(m-1)) sum_{i != j} k(x_i, x_j) + 1/(n(n-1)) sum_{i != j} k(y_i, y_j)
        - 2/(mn) sum_{i, j} k(x_i, y_j),        k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2)).

    Its expectation is zero for equal distributions, so a single estimate may be slightly negative.
    Compare values only at equal bandwidths: the default follows the data, which makes the result
    indifferent to the features' scale.

    Args:
        x: [m, d] real, m >= 2.
        y: [n, d] real, n >= 2.
        bandwidths: positive, in the features' unit; the kernel is the mean over them. By default
            a single one, the median heuristic: the median Euclidean distance between two different
            rows of x and y pooled (of an even number, the root mean square of the middle two).

    Returns:
        The estimate of the squared MMD, at most 2. Memory is about 32 (m + n)^2 bytes.

    Raises:
        ValueError: if shapes do not fit, an entry is not finite, a bandwidth is not positive, or
            the median distance is zero, as when most rows are copies of one.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must be [m, d] and [n, d], m, n >= 2: got {x.shape}, {y.shape}")
    pooled = np.concatenate([x, y])
    if not np.isfinite(pooled).all():
        raise ValueError("x and y must be finite")
    squared = _squared_distances(pooled)
    if bandwidths is None:
        median = np.median(squared[~np.eye(len(pooled), dtype=bool)], overwrite_input=True)
        if not median > 0:
            raise ValueError("the median distance is zero: give bandwidths")
        bandwidths = [float(np.sqrt(median))]
    if not (len(bandwidths) and all(0 < b < np.inf for b in bandwidths)):
        raise ValueError(f"bandwidths must be positive, at least one: got {bandwidths}")

    kernel = np.zeros_like(squared)
    for bandwidth in bandwidths:
        kernel += np.exp(squared / (-2 * bandwidth**2)) / len(bandwidths)
    m, n = len(x), len(y)
    np.fill_diagonal(kernel, 0)  # a row's likeness to itself is what biases the plain means
    within_x = kernel[:m, :m].sum() / (m * (m - 1))
    within_y = kernel[m:, m:].sum() / (n * (n - 1))
    return float(within_x + within_y - 2 * kernel[:m, m:].mean())


def _squared_distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Euclidean distances [n, n]; those lost in rounding are exactly zero."""
    rows = rows - rows.mean(axis=0)  # a common offset would only cost digits
    norms = (rows * rows).sum(axis=1)
    scale = norms[:, None] + norms
    squared = scale - 2 * rows @ rows.T
    return np.where(squared > 1e-14 * scale, squared, 0)
