"""Which queries and which people a page shows."""

import numpy as np
from numpy.typing import NDArray

from lupi_jax.data import Index

GROUPS = ("best", "worst", "random")

IDENTITIES = 12
IMAGES = 15
"""At most so many of a person in a modality."""


def choose_queries(
    average_precision: NDArray, identities: NDArray, seed: int, count: int = 3
) -> dict[str, NDArray[np.int64]]:
    """The best, the worst and some other queries, in every group of as many people.

    Args:
      average_precision: [q], NaN for a query without a match, which is never chosen.
      identities: [q].
      seed: of the other queries.
      count: of each group; fewer where there are not three times as many queries.

    Returns:
      {"best", "worst", "random": positions}, no position twice. Of equals the first come first.
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
    for group in GROUPS:
        people: dict[int, int] = {}
        for position in orders[group].tolist():
            if position not in taken and len(people) < count:
                people.setdefault(int(identities[position]), position)
        taken.update(people.values())
        chosen[group] = np.array(list(people.values()), np.int64)
    return chosen


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
