"""Features and a protocol to CMC, mAP and mINP."""

from lupi_jax.evaluation.domain_shift import maximum_mean_discrepancy
from lupi_jax.evaluation.evaluator import evaluate, evaluate_features, validate
from lupi_jax.evaluation.features import (
    Features,
    embed_images,
    embed_index,
    extract_features,
    load_features,
)
from lupi_jax.evaluation.metrics import RetrievalMetrics, pairwise_distances, retrieval_metrics

__all__ = [
    "Features",
    "RetrievalMetrics",
    "embed_images",
    "embed_index",
    "evaluate",
    "evaluate_features",
    "extract_features",
    "load_features",
    "maximum_mean_discrepancy",
    "pairwise_distances",
    "retrieval_metrics",
    "validate",
]
