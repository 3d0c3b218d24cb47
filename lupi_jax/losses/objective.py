"""The training objective: which losses, on which modalities, with which weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import jax.numpy as jnp
from jax import Array

from lupi_jax.losses.color_free import color_free, color_free_mse
from lupi_jax.losses.identity import identity_cross_entropy
from lupi_jax.losses.triplet import (
    bimodal_triplet,
    dual_triplet,
    unimodal_triplet,
    weighted_regularized_triplet,
)

TripletForm = Literal["sum", "mean", "weighted_regularized", "none"]
ColorFreeForm = Literal["paper", "released", "none"]
ColorFreeNorm = Literal["l2", "l1_mean"]

_MODALITIES = ("visible", "infrared", "intermediate")
_Name = TypeVar("_Name", bound=str)


@dataclass(frozen=True)
class LossSettings:
    """What the total loss is made of. Defaults: the paper's.

    Attributes:
        margin: margin of the triplet losses, 0 or more.
        triplet: how the three roles of Eq. 5 are combined: "sum" (paper) or "mean" (released);
            with two modalities or one these are the same. "weighted_regularized" is AGW's loss
            over the rows of all modalities instead, "none" leaves the triplet loss out.
        color_free: "paper" (Eq. 6), "released" (mean squared error) or "none".
        color_free_weight: lambda of Eq. 7, 0 or more.
        color_free_threshold: distance above which Eq. 6 minimises the distance itself.
        color_free_alpha: weight of the divergence in Eq. 6.
        color_free_norm: norm of Eq. 6, "l2" or "l1_mean".

    Raises:
        ValueError: if a field has none of its values; names the field.
    """

    margin: float = 0.3
    triplet: TripletForm = "sum"
    color_free: ColorFreeForm = "paper"
    color_free_weight: float = 10.0
    color_free_threshold: float = 0.5
    color_free_alpha: float = 0.5
    color_free_norm: ColorFreeNorm = "l2"

    def __post_init__(self) -> None:
        for field, values in (
            ("triplet", get_args(TripletForm)),
            ("color_free", get_args(ColorFreeForm)),
            ("color_free_norm", get_args(ColorFreeNorm)),
        ):
            if getattr(self, field) not in values:
                raise ValueError(f"{field}: want one of {values}, got {getattr(self, field)!r}")
        for field in ("margin", "color_free_weight", "color_free_threshold", "color_free_alpha"):
            if not 0 <= getattr(self, field) < float("inf"):
                raise ValueError(f"{field}: want a number >= 0, got {getattr(self, field)!r}")


def objective(
    pooled: Mapping[_Name, Array],
    logits: Mapping[_Name, Array],
    labels: Array,
    settings: LossSettings,
) -> tuple[Array, dict[str, Array]]:
    """Total loss (Eq. 7 and 8) of a batch in one, two or three modalities.

    Three modalities take the ring of Eq. 5, two the triplet between them, one the triplet inside
    it. The colour-free term needs the visible and the intermediate modality.

    Args:
        pooled: embeddings before the neck, not normalised, [n, d] for each modality by its name:
            "visible", "infrared", "intermediate". Row i is of one identity in all of them, and
            row i of visible and intermediate is of one image.
        logits: [n, c] classifier outputs, by the same names.
        labels: [n] identities as class numbers, 0 to c - 1.
        settings: which terms, and their weights.

    Returns:
        The total, a scalar, and its terms as weighted: "identity" always, "triplet" and
        "color_free" where they apply. The total is their sum.

    Raises:
        ValueError: if the names are unknown, missing or not the same in both mappings, or shapes
            do not agree.
    """
    names = [name for name in _MODALITIES if name in pooled]
    if not names or len(names) != len(pooled) or set(pooled) != set(logits):
        raise ValueError(
            f"objective: want pooled and logits of the same modalities among {_MODALITIES}, "
            f"got {sorted(pooled)} and {sorted(logits)}"
        )
    features: dict[str, Array] = {str(name): array for name, array in pooled.items()}
    scores: dict[str, Array] = {str(name): array for name, array in logits.items()}
    labels = jnp.asarray(labels)

    rows = jnp.concatenate([scores[name] for name in names])
    terms = {"identity": identity_cross_entropy(rows, jnp.tile(labels, len(names)))}
    inputs = [features[name] for name in names]
    if settings.triplet == "weighted_regularized":
        terms["triplet"] = weighted_regularized_triplet(
            jnp.concatenate(inputs), jnp.tile(labels, len(names))
        )
    elif settings.triplet != "none":
        match inputs:
            case [one]:
                terms["triplet"] = unimodal_triplet(one, labels, settings.margin)
            case [one, other]:
                terms["triplet"] = bimodal_triplet(one, other, labels, settings.margin)
            case [v, t, z]:
                terms["triplet"] = dual_triplet(
                    v, t, z, labels, settings.margin, reduction=settings.triplet
                )
    if settings.color_free != "none" and {"visible", "intermediate"} <= features.keys():
        v, z = features["visible"], features["intermediate"]
        if settings.color_free == "released":
            distance = color_free_mse(v, z)
        else:
            distance = color_free(
                v,
                z,
                scores["visible"],
                scores["intermediate"],
                threshold=settings.color_free_threshold,
                alpha=settings.color_free_alpha,
                norm=settings.color_free_norm,
            )
        terms["color_free"] = settings.color_free_weight * distance
    return jnp.asarray(sum(terms.values())), terms
