"""From features and a protocol to CMC, mAP and mINP."""

from lupi_jax.evaluation.comparing import RunComparison, compare_runs
from lupi_jax.evaluation.embedding import embed_images, embed_index, extract_features
from lupi_jax.evaluation.evaluator import Evaluation, evaluate_network, make_validation
from lupi_jax.evaluation.exporting import export_features, export_network
from lupi_jax.evaluation.extracting import Extractor, extractor
from lupi_jax.evaluation.features import Features, load_features
from lupi_jax.evaluation.figures import average_runs, evaluate_features
from lupi_jax.evaluation.metrics import (
    Comparison,
    Outcomes,
    RetrievalMetrics,
    calibrate_threshold,
    compare,
    domain_shift_test,
    feature_metrics,
    k_reciprocal_distances,
    maximum_mean_discrepancy,
    open_set_rates,
    pairwise_distances,
    query_outcomes,
    retrieval_metrics,
    verification_rates,
)
from lupi_jax.evaluation.opening import open_run
from lupi_jax.evaluation.results import Results, evaluate, evaluate_trials
from lupi_jax.evaluation.searching import SearchResults, search
from lupi_jax.evaluation.thresholds import Threshold, make_threshold

__all__ = [
    "Comparison",
    "Evaluation",
    "Extractor",
    "Features",
    "Outcomes",
    "Results",
    "RetrievalMetrics",
    "RunComparison",
    "SearchResults",
    "Threshold",
    "average_runs",
    "calibrate_threshold",
    "compare",
    "compare_runs",
    "domain_shift_test",
    "embed_images",
    "embed_index",
    "evaluate",
    "evaluate_features",
    "evaluate_network",
    "evaluate_trials",
    "export_features",
    "export_network",
    "extract_features",
    "extractor",
    "feature_metrics",
    "k_reciprocal_distances",
    "load_features",
    "make_threshold",
    "make_validation",
    "maximum_mean_discrepancy",
    "open_run",
    "open_set_rates",
    "pairwise_distances",
    "query_outcomes",
    "retrieval_metrics",
    "search",
    "verification_rates",
]
