"""The training objective, a weighted sum of losses."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from lupi_jax.losses.color_free import color_free, color_free_mse
from lupi_jax.losses.distances import checked_labels
from lupi_jax.losses.identity import identity_cross_entropy
from lupi_jax.losses.triplet import (
    bimodal_triplet,
    dual_triplet,
    unimodal_triplet,
    weighted_regularized_triplet,
)
from lupi_jax.modality import has_twins
from lupi_jax.settings import LossSettings

_MODALITIES = ("visible", "infrared", "intermediate")


def objective(
    pooled: Mapping[Any, Array],
    logits: Mapping[Any, Array],
    labels: Array,
    settings: LossSettings,
) -> tuple[Array, dict[str, Array]]:
    """Total loss (Eq. 7 and 8) of a batch in one, two or three modalities.

    The triplet loss depends on the number of modalities. Three use the ring of Eq. 5, two use the
    triplet between them, and one uses the triplet inside it. `settings.direct_weight` adds the
    triplet between visible and infrared to it. The colour-free term needs the visible and the
    intermediate modality.

    Args:
        pooled: {modality: [n, d] embeddings before the neck, not normalised}, with the names
            "visible", "infrared", "intermediate". Row i has the same identity in all modalities,
            and row i of visible and of intermediate come from the same image.
        logits: {modality: [n, c] classifier outputs}, with the same names.
        labels: [n] identities as class numbers, 0 to c - 1.
        settings: the kinds of losses and their weights.

    Returns:
        The total, a scalar, and {term: weighted scalar}, which add up to the total. The terms are
        "identity" always, and "triplet", "direct" and "color_free" if they apply.

    Raises:
        ValueError: if names are missing, unknown or different in the two mappings, or shapes or
            types do not agree.
    """
    names = [name for name in _MODALITIES if name in pooled]
    if not names or len(names) != len(pooled) or set(pooled) != set(logits):
        raise ValueError(
            f"objective: expected pooled and logits of the same modalities among {_MODALITIES}, "
            f"got {sorted(pooled)} and {sorted(logits)}"
        )
    for name in names:
        labels = checked_labels(f"objective, labels of {name}", logits[name], labels)
        checked_labels(f"objective, labels of {name}", pooled[name], labels)
    rows = jnp.concatenate([logits[name] for name in names])
    terms = {"identity": identity_cross_entropy(rows, jnp.tile(labels, len(names)))}
    features, margin = [pooled[name] for name in names], settings.margin
    match settings.triplet, features:
        case "none", _:
            pass
        case "weighted_regularized", _:
            rows, tiled = jnp.concatenate(features), jnp.tile(labels, len(names))
            terms["triplet"] = weighted_regularized_triplet(rows, tiled)
        case _, [one]:
            terms["triplet"] = unimodal_triplet(one, labels, margin)
        case _, [one, other]:
            terms["triplet"] = bimodal_triplet(one, other, labels, margin)
        case reduction, [v, t, z]:
            terms["triplet"] = dual_triplet(v, t, z, labels, margin, reduction)
    if settings.direct_weight and {"visible", "infrared"} <= {*names}:
        direct = bimodal_triplet(pooled["visible"], pooled["infrared"], labels, margin)
        terms["direct"] = settings.direct_weight * direct
    if settings.color_free != "none" and has_twins(names):
        terms["color_free"] = settings.color_free_weight * _color_free(pooled, logits, settings)
    return jnp.asarray(sum(terms.values())), terms


def _color_free(
    pooled: Mapping[Any, Array], logits: Mapping[Any, Array], settings: LossSettings
) -> Array:
    def side(values: Mapping[Any, Array], name: str) -> Array:
        return lax.stop_gradient(values[name]) if settings.color_free_stop == name else values[name]

    pair = side(pooled, "visible"), side(pooled, "intermediate")
    if settings.color_free == "released":
        return color_free_mse(*pair)
    return color_free(
        *pair,
        side(logits, "visible"),
        side(logits, "intermediate"),
        threshold=settings.color_free_threshold,
        alpha=settings.color_free_alpha,
        norm=settings.color_free_norm,
    )
