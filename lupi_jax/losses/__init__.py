"""Losses, as pure functions of embeddings. They compute in float32, or in float64 if given it.

Paper: Alehdaghi, Josi, Cruz, Granger, "Visible-Infrared Person Re-Identification Using Privileged
Intermediate Information", ECCV Workshops 2022. "The released code" is the authors' PyTorch code.
"""

from lupi_jax.losses.color_free import color_free, color_free_mse
from lupi_jax.losses.distances import euclidean
from lupi_jax.losses.extra import ExtraLoss
from lupi_jax.losses.identity import identity_cross_entropy
from lupi_jax.losses.objective import objective
from lupi_jax.losses.triplet import (
    bimodal_triplet,
    cross_triplet,
    dual_triplet,
    unimodal_triplet,
    weighted_regularized_triplet,
)
from lupi_jax.settings import LossSettings

__all__ = [
    "ExtraLoss",
    "LossSettings",
    "bimodal_triplet",
    "color_free",
    "color_free_mse",
    "cross_triplet",
    "dual_triplet",
    "euclidean",
    "identity_cross_entropy",
    "objective",
    "unimodal_triplet",
    "weighted_regularized_triplet",
]
