"""Features and a protocol to a table of figures."""

from typing import Any, Literal, cast

import numpy as np

from lupi_jax.data import Index
from lupi_jax.errors import InputError
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.metrics import RetrievalMetrics, pairwise_distances, retrieval_metrics
from lupi_jax.evaluation.protocols import DIRECTIONS, all_against_all

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


def validation_figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of both directions for the neck's feature: what the best checkpoint is chosen by."""
    neck = [row for row in rows if row["feature"] == "neck"]
    return {name: float(np.mean([row[name] for row in neck])) for name in ("mean_ap", "rank1")}


def describe(index: Index) -> str:
    """One line of counts."""
    return (
        f"{len(index.classes)} identities, {index.count(DIRECTIONS[0][1])} visible and "
        f"{index.count(DIRECTIONS[0][0])} infrared images"
    )
