"""How far two sets of features lie apart as distributions, e.g. visible from infrared ones."""

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

    It may be slightly negative. Compare values only at equal bandwidths: the default follows the
    data, which makes the result indifferent to the features' scale.

    Args:
        x: [m, d] real, m >= 2.
        y: [n, d] real, n >= 2.
        bandwidths: positive, in the features' unit; the kernel is the mean over them. By default
            one, the median Euclidean distance between two different rows of x and y pooled (of an
            even number, the root mean square of the middle two).

    Returns:
        The estimate, at most 2. It takes about 32 (m + n)^2 bytes of memory.

    Raises:
        ValueError: shapes do not fit, an entry is not finite, a bandwidth is not positive, or the
            median distance is zero, as when most rows are copies of one.
    """
    kernel, _ = _kernel(x, y, bandwidths)
    first = np.arange(len(kernel)) < len(np.asarray(x))
    return float(_discrepancies(kernel, first[:, None].astype(np.float64))[0])


class ShiftTest(NamedTuple):
    """What `domain_shift_test` found.

    Attributes:
      value: the estimate of the squared MMD.
      by_chance: the mean of the estimates of the random divisions; below zero where both sets hold
        rows of the same groups, since a row is never compared with itself.
      p_value: of the hypothesis that both sets are of one distribution, in (0, 1].
      bandwidths: of the kernel.
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
    """`maximum_mean_discrepancy` with a permutation test of it.

    The p-value is (1 + k) / (1 + permutations), k the random divisions of all rows into sets of
    these sizes whose estimate is at least as large (Phipson and Smyth, 2010). Where rows come in
    groups, rows are exchanged within their group only: grouped by identity, the test is of the
    modality alone; two views of the same images have the image as their group.

    Args:
        x: [m, d] real, m >= 2.
        y: [n, d] real, n >= 2.
        x_groups: [m] group of each row, such as its identity; None: all rows are one group.
        y_groups: [n] as `x_groups`; both or neither.
        bandwidths: as in `maximum_mean_discrepancy`.
        permutations: random divisions, at least 1.
        seed: of the divisions.

    Raises:
        ValueError: as `maximum_mean_discrepancy`, or groups or permutations do not fit.
    """
    kernel, bandwidths = _kernel(x, y, bandwidths)
    m, total = len(np.asarray(x)), len(kernel)
    if not isinstance(permutations, Integral) or permutations < 1:
        raise ValueError(f"permutations must be a whole number of at least 1: got {permutations}")
    groups = np.zeros(total, int)
    if x_groups is not None or y_groups is not None:
        if x_groups is None or y_groups is None:
            raise ValueError("give groups of both x and y, or of neither")
        sides = whole_numbers("x_groups", x_groups), whole_numbers("y_groups", y_groups)
        if sides[0].dtype.kind != sides[1].dtype.kind:
            raise ValueError("groups of x and y must both be numbers, or both names")
        if sides[0].shape != (m,) or sides[1].shape != (total - m,):
            raise ValueError(
                f"give groups of both x and y, one for each row, [{m}] and [{total - m}], or of "
                f"neither: got {sides[0].shape}, {sides[1].shape}"
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
    # A division that is the given one must not fall below it by rounding.
    larger = int((drawn >= value - 1e-12).sum())
    p_value = (1 + larger) / (1 + permutations)
    return ShiftTest(float(value), float(drawn.mean()), p_value, tuple(bandwidths))


_DIVISIONS = 250  # measured together


def _discrepancies(
    kernel: NDArray[np.float64], division: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The unbiased estimates [p] of p divisions [n, p] of rows into those marked 1 and 0."""
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
    """Kernel of the rows of x and y pooled, zero on its diagonal, and its bandwidths."""
    x, y = (np.asarray(real_numbers(name, v), np.float64) for name, v in (("x", x), ("y", y)))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must be [m, d] and [n, d], m, n >= 2: got {x.shape}, {y.shape}")
    pooled = np.concatenate([x, y])
    if not np.isfinite(pooled).all():
        raise ValueError("x and y must be finite")
    pooled -= pooled.mean(axis=0)  # a common offset would only cost digits
    norms = (pooled * pooled).sum(axis=1)
    scale = norms[:, None] + norms
    squared = scale - 2 * pooled @ pooled.T
    squared = np.where(squared > 1e-14 * scale, squared, 0)  # the rest is rounding
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
    np.fill_diagonal(kernel, 0)  # a row's likeness to itself is what biases the plain means
    return kernel, bandwidths
