"""Whether one method is better than another, with confidence intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lupi_jax.errors import plural
from lupi_jax.evaluation.metrics.given import real_numbers, whole_numbers


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Paired differences of per-query figures, such as average precision, first minus second.

    Attributes:
      difference: mean over seeds and queries.
      by_seed: [s] mean over queries for each seed.
      spread: standard deviation of `by_seed`; NaN with one seed.
      over_queries: interval for other queries of the same identities.
      over_identities: interval for other identities with all their queries. Use it for people not
        yet seen.
      over_both: interval for other identities and other seeds; NaN with one seed.
      queries: number of compared queries.
      identities: number of people in those queries.
    """

    difference: float
    by_seed: NDArray[np.float64]
    spread: float
    over_queries: tuple[float, float]
    over_identities: tuple[float, float]
    over_both: tuple[float, float]
    queries: int
    identities: int


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (by n - 1) of n > 0 values; the latter None if n is 1."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def interval_of_mean(
    mean: float, variances: Sequence[tuple[float, int]], confidence: float = 0.95
) -> tuple[float, float]:
    """Student's interval of a mean whose variance is a sum of independently estimated parts.

    The degrees of freedom are Satterthwaite's (Biometrics 2, 1946).

    Args:
      mean: the mean.
      variances: (variance of the mean, degrees of freedom of its estimate) for each part.
      confidence: confidence level, in (0, 1).

    Returns:
      The bounds; NaN if a part has less than one degree of freedom.
    """
    if any(freedom < 1 for _, freedom in variances):
        return float("nan"), float("nan")
    total = sum(variance for variance, _ in variances)
    if total == 0:
        return mean, mean
    freedom = total**2 / sum(variance**2 / freedom for variance, freedom in variances)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(total)
    return mean - half, mean + half


def compare(
    first: ArrayLike,
    second: ArrayLike,
    identities: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Comparison:
    """Compare two methods on the same queries, paired by seed and by query.

    Figures are first averaged over seeds. `over_queries` and `over_identities` are percentiles of a
    bootstrap of that mean (Efron and Tibshirani, 1993, chapter 13), over queries and over
    identities with all their queries. `over_both` is Student's interval of the mean, with the
    variance over seeds added to the variance over identities (a two-way layout with random
    effects). This interval is somewhat too wide, because variance that both share counts twice.

    Args:
      first: [s, q] or [q], a figure for each seed and query; NaN for a query without a true match.
      second: the other method's figures, for the same seeds and queries in the same order.
      identities: [q] identities of the queries.
      confidence: confidence level of the intervals, in (0, 1).
      resamples: number of resamples of the bootstrap.
      seed: seed of the bootstrap.

    Raises:
      ValueError: shapes do not fit, figures are missing for different queries, or fewer than two
        queries or identities have figures.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1: got {confidence}")
    differences, ids = _paired(first, second, whole_numbers("identities", identities))
    by_query = differences.mean(axis=0)
    _, number, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        people = plural(len(counts), "identity")
        raise ValueError(f"{people} with a figure: a bootstrap needs two or more")
    sums = np.bincount(number, by_query)

    def interval(total: NDArray, count: NDArray) -> tuple[float, float]:
        found = stats.bootstrap(
            (total, count),
            lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
            n_resamples=resamples,
            batch=max(1, 2**22 // len(total)),  # 32 MiB at once
            paired=True,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return float(found.low), float(found.high)

    by_seed = differences.mean(axis=1)
    seeds, people, mean = len(by_seed), len(counts), float(by_query.mean())
    spread = float(by_seed.std(ddof=1)) if seeds > 1 else float("nan")
    # The variance of a ratio of sums over identities, linearised.
    residuals = (sums - mean * counts) / counts.mean()
    variances = [
        (spread**2 / seeds, seeds - 1),
        (float(residuals.var(ddof=1)) / people, people - 1),
    ]
    return Comparison(
        difference=mean,
        by_seed=by_seed,
        spread=spread,
        over_queries=interval(by_query, np.ones(len(by_query))),
        over_identities=interval(sums, counts.astype(np.float64)),
        over_both=interval_of_mean(mean, variances, confidence),
        queries=len(by_query),
        identities=people,
    )


def _paired(
    first: ArrayLike, second: ArrayLike, ids: NDArray
) -> tuple[NDArray[np.float64], NDArray]:
    """First minus second [s, n] for the n queries with figures, and their identities [n]."""
    figures = (real_numbers("figures", each) for each in (first, second))
    a, b = (np.atleast_2d(np.asarray(each, np.float64)) for each in figures)
    if a.shape != b.shape or a.ndim != 2 or ids.shape != a.shape[1:]:
        raise ValueError(
            f"both figures must be [seeds, queries] and identities [queries]: got {a.shape}, "
            f"{b.shape}, {ids.shape}"
        )
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError("figures must be finite, or NaN")
    missing = np.isnan(a)
    if not (missing == np.isnan(b)).all() or (missing.any(axis=0) != missing.all(axis=0)).any():
        raise ValueError("each query must have a figure in all networks, or NaN in all networks")
    return (a - b)[:, ~missing[0]], ids[~missing[0]]
