"""Visible-infrared person re-identification with privileged intermediate information, in JAX.

    import lupi_jax as lupi

    extract = lupi.extractor("runs/demo")
    features = extract(["night/1.jpg", "night/2.jpg"], lupi.Modality.INFRARED)

Importing this package does not import JAX, TensorFlow or Orbax. Each name is imported from its
module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lupi_jax import config, data, evaluation, losses, models, report, training  # noqa: F401
    from lupi_jax.config import Config, SourceConfig, load_config, parse_config
    from lupi_jax.data import check_data, make_table, prepare_data
    from lupi_jax.errors import DivergedError, InputError
    from lupi_jax.evaluation import (
        Extractor,
        Results,
        RetrievalMetrics,
        RunComparison,
        SearchResults,
        compare_runs,
        evaluate,
        evaluate_trials,
        export_features,
        export_network,
        extract_features,
        extractor,
        maximum_mean_discrepancy,
        retrieval_metrics,
        search,
    )
    from lupi_jax.modality import Modality
    from lupi_jax.models import Embedding, EmbedNet
    from lupi_jax.report import ReportPage, make_report
    from lupi_jax.synthetic import make_synthetic
    from lupi_jax.training import (
        Hook,
        Moment,
        load,
        load_run,
        load_untrained,
        load_weights,
        train,
        train_trials,
    )
    from lupi_jax.views import ViewSettings, make_views, normalise, random_channel

__all__ = [
    "Config",
    "DivergedError",
    "EmbedNet",
    "Embedding",
    "Extractor",
    "Hook",
    "InputError",
    "Modality",
    "Moment",
    "ReportPage",
    "Results",
    "RetrievalMetrics",
    "RunComparison",
    "SearchResults",
    "SourceConfig",
    "ViewSettings",
    "check_data",
    "compare_runs",
    "evaluate",
    "evaluate_trials",
    "export_features",
    "export_network",
    "extract_features",
    "extractor",
    "load",
    "load_config",
    "load_run",
    "load_untrained",
    "load_weights",
    "losses",
    "make_report",
    "make_synthetic",
    "make_table",
    "make_views",
    "maximum_mean_discrepancy",
    "models",
    "normalise",
    "parse_config",
    "prepare_data",
    "random_channel",
    "retrieval_metrics",
    "search",
    "train",
    "train_trials",
]

_MODULES = {
    "config": ("Config", "SourceConfig", "load_config", "parse_config"),
    "data": ("check_data", "make_table", "prepare_data"),
    "errors": ("DivergedError", "InputError"),
    "evaluation": (
        "Extractor",
        "Results",
        "RetrievalMetrics",
        "RunComparison",
        "SearchResults",
        "compare_runs",
        "evaluate",
        "evaluate_trials",
        "export_features",
        "export_network",
        "extract_features",
        "extractor",
        "maximum_mean_discrepancy",
        "retrieval_metrics",
        "search",
    ),
    "losses": (),
    "modality": ("Modality",),
    "models": ("EmbedNet", "Embedding"),
    "report": ("ReportPage", "make_report"),
    "synthetic": ("make_synthetic",),
    "training": (
        "Hook",
        "Moment",
        "load",
        "load_run",
        "load_untrained",
        "load_weights",
        "train",
        "train_trials",
    ),
    "views": ("ViewSettings", "make_views", "normalise", "random_channel"),
}
"""The modules that `lupi_jax.MODULE` imports, and the names that `lupi_jax` takes from each."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *__all__})
