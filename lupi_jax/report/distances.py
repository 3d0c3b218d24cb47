"""Distances between images of the same and of different people, and a map of images."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lupi_jax.evaluation.metrics.retrieval import BLOCK_ELEMENTS, pairwise_distances

BINS = 100  # bins of equal width over the range of cosine distances, 0 to 2


@dataclasses.dataclass(frozen=True, eq=False)
class PairCounts:
    """Histograms of the distances between pairs of images.

    Attributes:
      edges: [BINS + 1] edges of the bins, from 0 to 2.
      same: [BINS] number of pairs of one identity in each bin.
      different: [BINS] number of pairs of two identities in each bin.
      means: mean distance of pairs of one identity, and of two; NaN without such pairs.
    """

    edges: NDArray[np.float64]
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    means: tuple[float, float]

    @property
    def overlap(self) -> float:
        """The common area of both histograms, each scaled to area 1; NaN if one is empty."""
        if not (self.same.sum() and self.different.sum()):
            return float("nan")
        shares = self.same / self.same.sum(), self.different / self.different.sum()
        return float(np.minimum(*shares).sum())


def count_pairs(
    a: NDArray, a_ids: NDArray, b: NDArray | None = None, b_ids: NDArray | None = None
) -> PairCounts:
    """Count the cosine distances between every image of `a` and every image of `b`.

    Args:
      a: [n, d] features of unit length.
      a_ids: [n] identities.
      b: [m, d] features of unit length; None counts each pair of two images of `a` once.
      b_ids: [m] identities; give them together with `b`.
    """
    within = b is None
    if b is None or b_ids is None:
        b, b_ids = a, a_ids
    edges = np.linspace(0, 2, BINS + 1)
    counts, sums = np.zeros((2, BINS), np.int64), np.zeros(2)
    size = max(1, BLOCK_ELEMENTS // 8 // max(len(b), 1))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        # By rounding, the distance of an image to its copy may be a little below 0.
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
    """Places [n, 2] of unit-length features [n, d], n >= 3, by t-SNE."""
    from sklearn.manifold import TSNE

    # The exact method, because the threads of Barnes and Hut's sum in a changing order.
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(
        2, perplexity=perplexity, init="pca", method="exact", random_state=seed, max_iter=750
    )
    return np.asarray(tsne.fit_transform(features.astype(np.float64)), np.float64)
