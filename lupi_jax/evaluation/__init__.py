"""Features and a protocol to CMC, mAP and mINP."""

from lupi_jax.evaluation.evaluator import (
    Evaluation,
    average_runs,
    evaluate,
    evaluate_features,
    make_validation,
)
from lupi_jax.evaluation.features import (
    Features,
    embed_images,
    embed_index,
    extract_features,
    load_features,
)
from lupi_jax.evaluation.metrics.comparison import Comparison, compare
from lupi_jax.evaluation.metrics.domain_shift import domain_shift_test, maximum_mean_discrepancy
from lupi_jax.evaluation.metrics.reranking import k_reciprocal_distances
from lupi_jax.evaluation.metrics.retrieval import (
    RetrievalMetrics,
    feature_metrics,
    pairwise_distances,
    retrieval_metrics,
)

__all__ = [
    "Comparison",
    "Evaluation",
    "Features",
    "RetrievalMetrics",
    "average_runs",
    "compare",
    "domain_shift_test",
    "embed_images",
    "embed_index",
    "evaluate",
    "evaluate_features",
    "extract_features",
    "feature_metrics",
    "k_reciprocal_distances",
    "load_features",
    "make_validation",
    "maximum_mean_discrepancy",
    "pairwise_distances",
    "retrieval_metrics",
]
