"""The hetero-centre loss, which pulls together the centres of an identity in the modalities.

Source: Zhu et al., "Hetero-Center Loss for Cross-Modality Person Re-Identification",
Neurocomputing 2020, Eq. 3 (two modalities; here every pair of modalities).

    lupi train ... --config.loss.extra=hetero_center:hetero_center
"""

from collections.abc import Mapping
from itertools import combinations

from jax import Array

import lupi_jax as lupi


def hetero_center(
    embeddings: Mapping[lupi.Modality, lupi.Embedding], labels: Array, weight: float = 0.5
) -> dict[str, Array]:
    """The squared distances between centres, summed over identities and pairs of modalities."""
    same = labels[:, None] == labels[None, :]
    rows = same.sum(1, keepdims=True)
    centres = [(same / rows) @ each.pooled for each in embeddings.values()]
    distances = sum(((a - b) ** 2).sum(1) for a, b in combinations(centres, 2))
    return {"hetero_center": weight * (distances / rows[:, 0]).sum()}
