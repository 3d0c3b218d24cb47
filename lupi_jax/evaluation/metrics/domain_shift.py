"""How far the distributions of two sets of features are apart, such as visible and infrared."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lupi_jax.evaluation.metrics.given import real_numbers, whole_numbers


def maximum_mean_discrepancy(
    x: ArrayLike, y: ArrayLike, bandwidths: Sequence[float] | None = None
) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (MMD) with a Gaussian kernel.

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Eq. 3: with m rows x_i and n rows y_i::

        1/(m(m-1)) sum_{i != j} k(x_i, x_j) + 1/(n(n-1)) sum_{i != j} k(y_i, y_j)
        - 2/(mn) sum_{i, j} k(x_i, y_j),        k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2)).

    The estimate may be slightly negative. Compare values only at equal bandwidths. The default
    bandwidth follows the data, so the result does not depend on the features' scale.

    Args:
        x: [m, d] real, m >= 2.
        y: [n, d] real, n >= 2.
        bandwidths: positive widths in the features' unit; the kernel is the mean over them. The
            default is one bandwidth, the median Euclidean distance between two different rows of x
            and y pooled (the root mean square of the middle two if their number is even).

    Returns:
        The estimate, at most 2. Memory: about 32 (m + n)^2 bytes.

    Raises:
        ValueError: shapes do not fit, an entry is not finite, a bandwidth is not positive, or the
            median distance is zero, for instance because most rows are copies of one row.
    """
    kernel, _ = _kernel(x, y, bandwidths)
    first = np.arange(len(kernel)) < len(np.asarray(x))
    return float(_discrepancies(kernel, first[:, None].astype(np.float64))[0])


class ShiftTest(NamedTuple):
    """Result of `domain_shift_test`.

    Attributes:
      value: estimate of the squared MMD.
      by_chance: mean estimate over the random divisions; below zero if both sets contain rows of
        the same groups, because a row is never compared with itself.
      p_value: p-value of the hypothesis that both sets have the same distribution, in (0, 1].
      bandwidths: bandwidths of the kernel.
    """

    value: float
    by_chance: float
    p_value: float
    bandwidths: tuple[float, ...]


def domain_shift_test(
    x: ArrayLike,
    y: ArrayLike,
    x_groups: ArrayLike | None = None,
    y_groups: ArrayLike | None = None,
    bandwidths: Sequence[float] | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> ShiftTest:
    """`maximum_mean_discrepancy` with a permutation test.

    The test divides all rows at random into sets of the same sizes. The p-value is
    (1 + k) / (1 + permutations), and k counts the divisions whose estimate is at least as large
    (Phipson and Smyth, 2010). If rows come in groups, they are exchanged only within their group.
    Grouped by identity, the test is about the modality alone. For two views of the same images, use
    the image as the group.

    Args:
        x: [m, d] real, m >= 2.
        y: [n, d] real, n >= 2.
        x_groups: [m] group of each row of x, such as its identity; None makes all rows one group.
        y_groups: [n] group of each row of y; give both groups or neither.
        bandwidths: as in `maximum_mean_discrepancy`.
        permutations: number of random divisions, at least 1.
        seed: seed of the divisions.

    Raises:
        ValueError: `maximum_mean_discrepancy` refuses the arguments, or groups or permutations do
            not fit.
    """
    kernel, bandwidths = _kernel(x, y, bandwidths)
    m, total = len(np.asarray(x)), len(kernel)
    if not isinstance(permutations, Integral) or permutations < 1:
        raise ValueError(f"permutations must be a whole number of at least 1: got {permutations}")
    groups = np.zeros(total, int)
    if x_groups is not None or y_groups is not None:
        if x_groups is None or y_groups is None:
            raise ValueError("give groups for both x and y, or for neither")
        sides = whole_numbers("x_groups", x_groups), whole_numbers("y_groups", y_groups)
        if sides[0].dtype.kind != sides[1].dtype.kind:
            raise ValueError("groups of x and y must both be numbers, or both be names")
        if sides[0].shape != (m,) or sides[1].shape != (total - m,):
            raise ValueError(
                f"groups must have one entry per row, [{m}] for x and [{total - m}] for y: got "
                f"{sides[0].shape}, {sides[1].shape}"
            )
        groups = np.unique(np.concatenate(sides), return_inverse=True)[1]
    first = (np.arange(total) < m).astype(np.float64)[:, None]
    value = _discrepancies(kernel, first)[0]
    by_group = first[np.argsort(groups, kind="stable"), 0]
    rng = np.random.default_rng(seed)
    estimates = []
    for start in range(0, permutations, _DIVISIONS):
        division = np.empty((total, min(_DIVISIONS, permutations - start)))
        for column in division.T:
            column[np.lexsort((rng.random(total), groups))] = by_group
        estimates.append(_discrepancies(kernel, division))
    drawn = np.concatenate(estimates)
    # A division equal to the given one must not fall below it by rounding.
    larger = int((drawn >= value - 1e-12).sum())
    p_value = (1 + larger) / (1 + permutations)
    return ShiftTest(float(value), float(drawn.mean()), p_value, tuple(bandwidths))


_DIVISIONS = 250  # divisions that are measured together


def _discrepancies(
    kernel: NDArray[np.float64], division: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The unbiased estimates [p] for p divisions [n, p], which mark each row 1 or 0."""
    m = division[:, 0].sum()
    n = len(kernel) - m
    within_x = (division * (kernel @ division)).sum(axis=0)
    of_x = kernel.sum(axis=1) @ division
    within_y = kernel.sum() - 2 * of_x + within_x
    across = of_x - within_x
    return within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * across / (m * n)


def _kernel(
    x: ArrayLike, y: ArrayLike, bandwidths: Sequence[float] | None
) -> tuple[NDArray[np.float64], Sequence[float]]:
    """Kernel of the pooled rows of x and y, zero on the diagonal, and its bandwidths."""
    x, y = (np.asarray(real_numbers(name, v), np.float64) for name, v in (("x", x), ("y", y)))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must be [m, d] and [n, d], m, n >= 2: got {x.shape}, {y.shape}")
    pooled = np.concatenate([x, y])
    if not np.isfinite(pooled).all():
        raise ValueError("x and y must be finite")
    pooled -= pooled.mean(axis=0)  # a common offset would cost precision
    norms = (pooled * pooled).sum(axis=1)
    scale = norms[:, None] + norms
    squared = scale - 2 * pooled @ pooled.T
    squared = np.where(squared > 1e-14 * scale, squared, 0)  # smaller values are rounding errors
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
    np.fill_diagonal(kernel, 0)  # comparing rows with themselves would bias the means
    return kernel, bandwidths
