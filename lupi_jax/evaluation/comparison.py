"""Is one network better than another, and how sure is that?"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """A paired difference of per-query figures, such as average precision, first minus second.

    Attributes:
      difference: mean over seeds and queries.
      by_seed: [s] mean over queries of each seed's pair of networks.
      spread: standard deviation of `by_seed`; NaN of one seed.
      over_queries: bounds of the interval for other queries of the same identities.
      over_identities: bounds for other identities, of which all queries come or none: the wider
        one where an identity's queries succeed or fail together, and the one to believe for people
        not yet seen.
      queries: how many were compared.
      identities: how many those are of.
    """

    difference: float
    by_seed: NDArray[np.float64]
    spread: float
    over_queries: tuple[float, float]
    over_identities: tuple[float, float]
    queries: int
    identities: int


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
    and over identities with all their queries, of the figures' mean over seeds. They say how much
    the difference owes to the choice of queries; how much it owes to the seeds, `by_seed` shows.

    Args:
      first: [s, q] (or [q]) a figure of each seed and query; NaN where a query has no true match.
      second: as `first`, of the other method: the same seeds and queries in the same order.
      identities: [q] of each query.
      confidence: of the intervals, in (0, 1).
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      ValueError: shapes do not fit, the two miss different queries, or fewer than two queries or
        identities have a figure.
    """
    a, b = (np.atleast_2d(np.asarray(x, np.float64)) for x in (first, second))
    ids = np.asarray(identities)
    if a.shape != b.shape or a.ndim != 2 or ids.shape != a.shape[1:]:
        raise ValueError(
            f"figures must be [seeds, queries] of both and identities [queries]: got {a.shape}, "
            f"{b.shape}, {ids.shape}"
        )
    missing = np.isnan(a)
    if not (missing == np.isnan(b)).all() or (missing.any(axis=0) != missing.all(axis=0)).any():
        raise ValueError("a query must have a figure in all networks or in none")
    there = ~missing[0]
    differences, ids = (a - b)[:, there], ids[there]
    by_query = differences.mean(axis=0)
    _, number, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise ValueError(f"{len(counts)} identities with a figure: a bootstrap needs two or more")
    sums = np.bincount(number, by_query)

    def ratio(total: NDArray, count: NDArray, axis: int = -1) -> NDArray:
        return total.sum(axis=axis) / count.sum(axis=axis)

    def interval(total: NDArray, count: NDArray) -> tuple[float, float]:
        found = stats.bootstrap(
            (total, count),
            ratio,
            n_resamples=resamples,
            batch=max(1, 2**22 // len(total)),  # 32 MiB at once
            paired=True,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        return float(found.low), float(found.high)

    by_seed = differences.mean(axis=1)
    return Comparison(
        difference=float(by_query.mean()),
        by_seed=by_seed,
        spread=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else float("nan"),
        over_queries=interval(by_query, np.ones(len(by_query))),
        over_identities=interval(sums, counts.astype(np.float64)),
        queries=len(by_query),
        identities=len(counts),
    )
