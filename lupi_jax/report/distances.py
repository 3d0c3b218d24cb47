"""How far apart images are: distances of the same and of different people, and a map."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lupi_jax.evaluation.metrics.retrieval import BLOCK_ELEMENTS, pairwise_distances

BINS = 100  # of equal width over all that a cosine distance can be, 0 to 2


@dataclasses.dataclass(frozen=True, eq=False)
class PairCounts:
    """How far apart pairs of images are.

    Attributes:
      edges: [BINS + 1] from 0 to 2.
      same: [BINS], pairs of one identity in each bin.
      different: [BINS], pairs of two identities.
      means: mean distance of both kinds; NaN without a pair.
    """

    edges: NDArray[np.float64]
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    means: tuple[float, float]

    @property
    def overlap(self) -> float:
        """The area under both histograms, each of area 1; NaN where one is empty."""
        if not (self.same.sum() and self.different.sum()):
            return float("nan")
        shares = self.same / self.same.sum(), self.different / self.different.sum()
        return float(np.minimum(*shares).sum())


def count_pairs(
    a: NDArray, a_ids: NDArray, b: NDArray | None = None, b_ids: NDArray | None = None
) -> PairCounts:
    """Count the cosine distances of every pair of an image of `a` and one of `b`.

    Args:
      a: [n, d] features of unit length.
      a_ids: [n] identities.
      b: [m, d] likewise; None for `a` itself, of which each pair of two images counts once.
      b_ids: [m] identities.
    """
    within = b is None
    if b is None or b_ids is None:
        b, b_ids = a, a_ids
    edges = np.linspace(0, 2, BINS + 1)
    counts, sums = np.zeros((2, BINS), np.int64), np.zeros(2)
    size = max(1, BLOCK_ELEMENTS // 8 // max(len(b), 1))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        # Rounding puts the distance of an image to its own copy a little below 0.
        distances = np.clip(pairwise_distances(a[rows], b), 0, 2)
        same = a_ids[rows, None] == b_ids
        counted = np.ones_like(same)
        if within:
            counted = np.arange(len(b)) > np.arange(len(a))[rows, None]
        for kind, chosen in enumerate((same & counted, ~same & counted)):
            values = distances[chosen]
            counts[kind] += np.histogram(values, edges)[0]
            sums[kind] += values.sum(dtype=np.float64)
    totals = counts.sum(1)
    means = [float(s / n) if n else float("nan") for s, n in zip(sums, totals, strict=True)]
    return PairCounts(edges, counts[0], counts[1], (means[0], means[1]))


def lay_out(features: NDArray, seed: int) -> NDArray[np.float64]:
    """t-SNE of unit-length features [n, d], n >= 3, to places [n, 2]."""
    from sklearn.manifold import TSNE

    # The exact form: the threads of Barnes and Hut's add up in an order that changes.
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(
        2, perplexity=perplexity, init="pca", method="exact", random_state=seed, max_iter=750
    )
    return np.asarray(tsne.fit_transform(features.astype(np.float64)), np.float64)
