"""Compare losses and retrieval metrics with the released code's figures."""

from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.cases import FIGURES, LOSSES, METRICS, load_numbered
from experiments.parity.rows import Row, relative_error
from lupi_jax.evaluation.metrics.retrieval import retrieval_metrics
from lupi_jax.losses import (
    bimodal_triplet,
    color_free_mse,
    dual_triplet,
    weighted_regularized_triplet,
)

_LOSS_TOLERANCE = 1e-6
# The golden figure is float32. An anchor's distance to itself is rounding noise, but has a weight
# in it. Exact arithmetic is 1.6e-6 away.
_WEIGHTED_TOLERANCE = 5e-6
_METRIC_TOLERANCE = 1e-12
_PROTOCOLS: tuple[tuple[str, bool, Literal["identity", "image"]], ...] = (
    ("sysu_released", False, "identity"),
    ("sysu_cam3_excludes_cam2", True, "identity"),
    ("regdb", False, "image"),
)


def check_losses(folder: Path = FIGURES) -> list[Row]:
    """Compare the losses and their gradients in float32: one row per quantity and case."""
    rows = []
    for number, case in load_numbered(LOSSES, folder).items():
        v, t, z = (jnp.asarray(case[n]) for n in ("visible", "infrared", "intermediate"))
        labels = jnp.asarray(case["labels"])
        triplet, triplet_gradient = jax.jit(jax.value_and_grad(dual_triplet, (0, 1, 2)))(
            v, t, z, labels
        )
        color_free, color_free_gradient = jax.jit(
            jax.value_and_grad(lambda v, z: 10 * color_free_mse(v, z), (0, 1))
        )(v, z)
        both = jnp.concatenate([v, t]), jnp.tile(labels, 2)
        found = {
            "triplet": triplet,
            "triplet_grad": jnp.stack(triplet_gradient),
            "colorfree10": color_free,
            "colorfree10_grad": jnp.stack(color_free_gradient),
            "bimodal_triplet": jax.jit(bimodal_triplet)(v, t, labels),
            "weighted_regularized_triplet": jax.jit(weighted_regularized_triplet)(*both),
        }
        for quantity, value in found.items():
            weighted = quantity == "weighted_regularized_triplet"
            tolerance = _WEIGHTED_TOLERANCE if weighted else _LOSS_TOLERANCE
            error = relative_error(value, case[quantity])
            rows.append(Row(f"{LOSSES} {number}", quantity, error, tolerance))
    return rows


def check_metrics(folder: Path = FIGURES) -> list[Row]:
    """Compare mAP, mINP and CMC (in float32) with the released evaluators': one row each."""
    rows = []
    for number, case in load_numbered(METRICS, folder).items():
        for name, camera_rule, cmc in _PROTOCOLS:
            excluded = None
            if camera_rule:
                excluded = (case["query_cams"] == 3)[:, None] & (case["gallery_cams"] == 2)
            metrics = retrieval_metrics(
                case["dist"], case["query_ids"], case["gallery_ids"], excluded, cmc
            )
            found = {
                "cmc": metrics.cmc.astype(np.float32),
                "mAP": metrics.mean_ap,
                "mINP": metrics.mean_inp,
            }
            for quantity, value in found.items():
                error = relative_error(value, case[f"{name}_{quantity}"])
                rows.append(
                    Row(f"{METRICS} {number}", f"{name} {quantity}", error, _METRIC_TOLERANCE)
                )
    return rows
