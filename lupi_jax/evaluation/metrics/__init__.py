"""Pure functions from distances and features to figures: CMC, mAP, mINP, domain shift.

They know no file, no network and no configuration.
"""

from lupi_jax.evaluation.metrics.comparison import (
    Comparison,
    compare,
    interval_of_mean,
    mean_and_std,
)
from lupi_jax.evaluation.metrics.domain_shift import (
    ShiftTest,
    domain_shift_test,
    maximum_mean_discrepancy,
)
from lupi_jax.evaluation.metrics.protocols import all_images, llcm
from lupi_jax.evaluation.metrics.reranking import k_reciprocal_distances
from lupi_jax.evaluation.metrics.retrieval import (
    RetrievalMetrics,
    feature_metrics,
    pairwise_distances,
    retrieval_metrics,
)
from lupi_jax.evaluation.metrics.sysu_mm01 import sysu
from lupi_jax.evaluation.metrics.tasks import DIRECTIONS, Task, Trial

__all__ = [
    "DIRECTIONS",
    "Comparison",
    "RetrievalMetrics",
    "ShiftTest",
    "Task",
    "Trial",
    "all_images",
    "compare",
    "domain_shift_test",
    "feature_metrics",
    "interval_of_mean",
    "k_reciprocal_distances",
    "llcm",
    "maximum_mean_discrepancy",
    "mean_and_std",
    "pairwise_distances",
    "retrieval_metrics",
    "sysu",
]
