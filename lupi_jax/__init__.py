"""Visible-infrared person re-identification with privileged intermediate information, in JAX.

    import lupi_jax as lupi

    model, variables = lupi.load("runs/demo")
    features = lupi.extract_features(model, variables, images, lupi.Modality.INFRARED)

Importing this package imports neither TensorFlow nor Orbax.
"""

from typing import TYPE_CHECKING, Any

from lupi_jax import losses, models
from lupi_jax.config import Config, parse_config
from lupi_jax.errors import DivergedError, InputError
from lupi_jax.evaluation import (
    RetrievalMetrics,
    extract_features,
    maximum_mean_discrepancy,
    retrieval_metrics,
)
from lupi_jax.modality import Modality
from lupi_jax.models import Embedding, EmbedNet
from lupi_jax.views import ViewSettings, make_views, normalise, random_channel

if TYPE_CHECKING:
    from lupi_jax.training import load, train

__all__ = [
    "Config",
    "DivergedError",
    "EmbedNet",
    "Embedding",
    "InputError",
    "Modality",
    "RetrievalMetrics",
    "ViewSettings",
    "extract_features",
    "load",
    "losses",
    "make_views",
    "maximum_mean_discrepancy",
    "models",
    "normalise",
    "parse_config",
    "random_channel",
    "retrieval_metrics",
    "train",
]


def __getattr__(name: str) -> Any:
    # Both need Orbax, which takes as long to import as everything else together.
    if name in ("load", "train"):
        from lupi_jax import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
