"""A dozen people's features on a plane."""

import numpy as np
from numpy.typing import NDArray

from lupi_jax.data import Index

IDENTITIES = 12
IMAGES = 15
"""At most so many of a person in a modality."""


def choose_images(
    index: Index, seed: int, identities: int = IDENTITIES, images: int = IMAGES
) -> NDArray[np.int64]:
    """Rows of a few people's images, drawn by `seed` from those seen in every modality there is.

    Returns:
      Row numbers, ascending; none where nobody is seen in every modality.
    """
    rng = np.random.default_rng([seed, 0x7A9])
    modalities = np.unique(index.modalities)
    seen = [index.identities[index.modalities == m] for m in modalities]
    everywhere = [i for i in index.classes if all(i in ids for ids in seen)]
    chosen = rng.permutation(everywhere)[:identities]
    rows = []
    for identity in chosen:
        for modality in modalities:
            own = np.flatnonzero((index.identities == identity) & (index.modalities == modality))
            rows.append(rng.permutation(own)[:images])
    return np.sort(np.concatenate(rows)).astype(np.int64) if rows else np.empty(0, np.int64)


def lay_out(features: NDArray, seed: int) -> NDArray[np.float64]:
    """t-SNE of unit-length features [n, d], n >= 3, to places [n, 2].

    Its exact form, not Barnes and Hut's, whose threads add up in an order that changes. Euclidean
    distance, on unit vectors, orders as the cosine's does.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(
        2, perplexity=perplexity, init="pca", method="exact", random_state=seed, max_iter=750
    )
    return np.asarray(tsne.fit_transform(features.astype(np.float64)), np.float64)
