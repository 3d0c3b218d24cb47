"""Features and a protocol to a table of figures."""

from typing import Any, Literal, cast

import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import Index, read_index
from lupi_jax.errors import InputError
from lupi_jax.evaluation.features import Features, embed_index
from lupi_jax.evaluation.metrics import RetrievalMetrics, pairwise_distances, retrieval_metrics
from lupi_jax.evaluation.protocols import DIRECTIONS, all_against_all
from lupi_jax.models import EmbedNet

RANKS = (1, 5, 10, 20)
FEATURES = ("neck", "pooled")


def summarize(metrics: RetrievalMetrics) -> dict[str, float]:
    """{"rank1", "rank5", "rank10", "rank20", "mean_ap", "mean_inp"}, each in [0, 1]."""
    ranks = {f"rank{k}": float(metrics.cmc[k - 1]) for k in RANKS}
    return {**ranks, "mean_ap": metrics.mean_ap, "mean_inp": metrics.mean_inp}


def evaluate_features(features: Features) -> list[dict[str, Any]]:
    """Both directions, both features: one row each.

    Returns:
      Rows with "query", "gallery" (modalities), "feature", "queries", "valid_queries",
      "gallery_images" and the figures of `summarize`.

    Raises:
      InputError: a modality is missing, or no query has a match.
    """
    rows = []
    index = features.index
    for query, gallery in DIRECTIONS:
        trial = all_against_all(index.modalities, query, gallery)
        query_ids, gallery_ids = index.identities[trial.query], index.identities[trial.gallery]
        if not np.isin(query_ids, gallery_ids).any():
            raise InputError(f"{index.root}: no {query} identity appears in the {gallery} gallery")
        for name in FEATURES:
            values = getattr(features, name)
            distances = pairwise_distances(values[trial.query], values[trial.gallery])
            cmc = cast(Literal["identity", "image"], trial.cmc)
            metrics = retrieval_metrics(distances, query_ids, gallery_ids, cmc=cmc)
            rows.append(
                {
                    "query": str(query),
                    "gallery": str(gallery),
                    "feature": name,
                    "queries": len(trial.query),
                    "valid_queries": metrics.valid_queries,
                    "gallery_images": len(trial.gallery),
                    **summarize(metrics),
                }
            )
    return rows


def evaluate(
    config: Config, model: EmbedNet, variables: Any, split: str = "test"
) -> tuple[Features, list[dict[str, Any]]]:
    """Embed a split of the run's data and measure it.

    Args:
      config: of the run; its `data` says where the images are.
      model: the network.
      variables: its parameters and running statistics.
      split: "test" or "train".

    Returns:
      The features, and the rows of `evaluate_features`.

    Raises:
      InputError: the data cannot be read or evaluated.
    """
    data = config.data
    index = read_index(data, split)
    features = embed_index(model, variables, index, data.image_size, data.workers)
    return features, evaluate_features(features)


def validate(config: Config, model: EmbedNet, variables: Any, index: Index) -> dict[str, float]:
    """Figures on held-out images, as the training loop asks for them.

    Returns:
      Mean of both directions, for the neck's feature: "mean_ap" and "rank1".

    Raises:
      InputError: an image cannot be read, or a modality is missing.
    """
    features = embed_index(model, variables, index, config.data.image_size, config.data.workers)
    neck = [row for row in evaluate_features(features) if row["feature"] == "neck"]
    return {name: float(np.mean([row[name] for row in neck])) for name in ("mean_ap", "rank1")}
