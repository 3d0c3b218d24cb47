"""Is one network better than another, and how sure is that?"""

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
    """A paired difference of per-query figures, such as average precision, first minus second.

    Attributes:
      difference: mean over seeds and queries.
      by_seed: [s] mean over queries for each seed.
      spread: standard deviation of `by_seed`; NaN of one seed.
      over_queries: interval for other queries of the same identities.
      over_identities: interval for other identities, with all their queries: the one to believe
        for people not yet seen.
      over_both: interval for other identities and other seeds; NaN of one seed.
      queries: how many were compared.
      identities: of how many people.
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
    """Mean and standard deviation (of a sample, by n - 1) of n > 0 values; None of a single one."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def interval_of_mean(
    mean: float, variances: Sequence[tuple[float, int]], confidence: float = 0.95
) -> tuple[float, float]:
    """Student's interval of a mean whose variance is a sum of independently estimated parts.

    The degrees of freedom are Satterthwaite's (Biometrics 2, 1946).

    Args:
      variances: (variance of the mean, degrees of freedom it was estimated with) of each part.
      confidence: in (0, 1).

    Returns:
      The bounds; NaN where a part has no degree of freedom.
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

    Intervals are percentiles of a bootstrap (Efron and Tibshirani, 1993, chapter 13) over queries,
    and over identities with all their queries, of the figures' mean over seeds. `over_both` is
    Student's interval of that mean with two variances added up, over seeds and over identities (a
    two-way layout with random effects). It is rather too wide: what both share counts twice.

    Args:
      first: [s, q] (or [q]) a figure of each seed and query; NaN where a query has no true match.
      second: as `first`, of the other method: the same seeds and queries in the same order.
      identities: [q] of the queries.
      confidence: of the intervals, in (0, 1).
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      ValueError: shapes do not fit, the two miss different queries, or fewer than two queries or
        identities have a figure.
    """
    figures = (real_numbers("figures", each) for each in (first, second))
    a, b = (np.atleast_2d(np.asarray(each, np.float64)) for each in figures)
    ids = whole_numbers("identities", identities)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1: got {confidence}")
    if a.shape != b.shape or a.ndim != 2 or ids.shape != a.shape[1:]:
        raise ValueError(
            f"figures must be [seeds, queries] of both and identities [queries]: got {a.shape}, "
            f"{b.shape}, {ids.shape}"
        )
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError("figures must be finite, or NaN")
    missing = np.isnan(a)
    if not (missing == np.isnan(b)).all() or (missing.any(axis=0) != missing.all(axis=0)).any():
        raise ValueError("a query must have a figure in all networks or in none")
    there = ~missing[0]
    differences, ids = (a - b)[:, there], ids[there]
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
    # Linearised, as of any ratio of sums over identities.
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
