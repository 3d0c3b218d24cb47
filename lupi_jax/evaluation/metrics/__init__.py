"""Pure functions that compute CMC, mAP, mINP, open-set and domain-shift figures."""

from lupi_jax.evaluation.metrics.comparison import Comparison, compare, mean_and_std
from lupi_jax.evaluation.metrics.domain_shift import domain_shift_test, maximum_mean_discrepancy
from lupi_jax.evaluation.metrics.open_set import (
    Outcomes,
    calibrate_threshold,
    open_set_rates,
    query_outcomes,
    verification_rates,
)
from lupi_jax.evaluation.metrics.protocols import all_images, llcm, sysu
from lupi_jax.evaluation.metrics.reranking import k_reciprocal_distances
from lupi_jax.evaluation.metrics.retrieval import (
    RetrievalMetrics,
    feature_metrics,
    pairwise_distances,
    retrieval_metrics,
)
from lupi_jax.evaluation.metrics.tasks import DIRECTIONS, Task, Trial

__all__ = [
    "DIRECTIONS",
    "Comparison",
    "Outcomes",
    "RetrievalMetrics",
    "Task",
    "Trial",
    "all_images",
    "calibrate_threshold",
    "compare",
    "domain_shift_test",
    "feature_metrics",
    "k_reciprocal_distances",
    "llcm",
    "maximum_mean_discrepancy",
    "mean_and_std",
    "open_set_rates",
    "pairwise_distances",
    "query_outcomes",
    "retrieval_metrics",
    "sysu",
    "verification_rates",
]
