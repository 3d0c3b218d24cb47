"""AGW's weighted regularised triplet loss beside the method's own triplet loss.

Source: Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021.

    lupi train ... --config.loss.extra=weighted_triplet:weighted_triplet
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

import lupi_jax as lupi


def weighted_triplet(
    embeddings: Mapping[lupi.Modality, lupi.Embedding], labels: Array
) -> dict[str, Array]:
    """The loss over the rows of all modalities."""
    rows = jnp.concatenate([each.pooled for each in embeddings.values()])
    tiled = jnp.tile(labels, len(embeddings))
    return {"weighted_triplet": lupi.losses.weighted_regularized_triplet(rows, tiled)}
