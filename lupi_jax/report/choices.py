"""The choice of queries and people that a page shows."""

import numpy as np
from numpy.typing import NDArray

from lupi_jax.data import Index


def choose_queries(
    average_precision: NDArray, identities: NDArray, seed: int, count: int = 3
) -> dict[str, NDArray[np.int64]]:
    """Positions of queries in each group, {"best", "worst", "random": [n] positions}.

    The queries of a group show different people.

    Args:
      average_precision: [q]; a query with NaN has no match and is never chosen.
      identities: [q] identities of the queries.
      seed: seed of the random queries.
      count: number of queries per group; fewer if there are fewer than three times as many queries.
    """
    valid = np.flatnonzero(np.isfinite(average_precision))
    orders = {
        "best": valid[np.argsort(-average_precision[valid], kind="stable")],
        "worst": valid[np.argsort(average_precision[valid], kind="stable")],
        "random": np.random.default_rng([seed, 0x9E1]).permutation(valid),
    }
    count = min(count, max(1, len(valid) // 3))
    taken: set[int] = set()
    chosen = {}
    for group, order in orders.items():
        people: dict[int, int] = {}
        for position in order.tolist():
            if position not in taken and len(people) < count:
                people.setdefault(int(identities[position]), position)
        taken.update(people.values())
        chosen[group] = np.array(list(people.values()), np.int64)
    return chosen


def choose_images(
    index: Index, seed: int, identities: int = 12, images: int = 15
) -> NDArray[np.int64]:
    """Rows, ascending, of people with images in every modality.

    Args:
      index: the images.
      seed: seed of the choice.
      identities: largest number of people.
      images: largest number of images per person and modality.
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
