"""Compare the network, its gradients and its training with the released code's figures."""

from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from experiments.parity.cases import NetworkCase
from experiments.parity.rows import Row, relative_error
from lupi_jax.config import OptimizerConfig
from lupi_jax.losses import LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import Embedding, EmbedNet, from_torch, to_torch
from lupi_jax.training.optimizer import make_optimizer

Precision = Literal["float64", "float32", "bfloat16"]

# The project's promises. In float32: ten times the released code's own float32 error.
_TOLERANCE, _AFTER_TRAINING = 1e-6, 1e-5
_ENVELOPES, _BFLOAT16 = 10.0, 3e-2

_RELEASED = LossSettings(triplet="mean", color_free="released", color_free_weight=10.0)
_AGW = LossSettings(triplet="weighted_regularized", color_free="none")


def make_network(case: NetworkCase, precision: Precision = "float64") -> EmbedNet:
    """The network that a case describes."""
    agw = case.meta["method"] == "agw"
    return EmbedNet(
        case.meta["n_class"],
        backbone=case.meta["arch"],
        non_local=agw,
        pooling="gem" if agw else "average",
        stem_relu=case.of_agw,
        dtype=jnp.bfloat16 if precision == "bfloat16" else None,
        shared_from="layer1" if case.of_agw else "layer2",
    )


def check_network(
    case: NetworkCase, precision: Precision = "float64", steps: int | None = None
) -> list[Row]:
    """Run a case and compare: one row per quantity.

    Float64 and float32 compare every quantity of the case: features of each stem at test time,
    training features and logits, gradients and running statistics of the first step, the losses of
    all steps, and features after them. Bfloat16 compares only the training features. `steps`
    trains less than the whole case, and then the features afterwards are not compared. With 0 only
    the features at test time are.
    """
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        dtype = jnp.float64 if precision == "float64" else jnp.float32
        model = make_network(case, precision)
        weights = from_torch(case.state_dict(), model, case.modalities)
        variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), weights)
        if precision == "bfloat16":
            apply = jax.jit(lambda variables, views: _apply_in_training(model, variables, views))
            pooled = apply(variables, _views(case, 0, jnp.float32))[0].pooled
            error = relative_error(_kept(case, model, pooled), case.figures["train_feat"])
            return [Row(case.name, "train_feat", error, _BFLOAT16)]
        found: dict[str, Any] = {}
        for modality in case.modalities:
            found |= _features(f"eval_{modality}", case, model, variables, modality)
        if steps != 0:
            found |= _training(case, model, variables, steps)
    rows = []
    for quantity, value in found.items():
        if precision == "float32":
            tolerance = _ENVELOPES * case.envelope[quantity]
        else:
            late = quantity == "trajectory" or quantity.startswith("after_")
            tolerance = _AFTER_TRAINING if late else _TOLERANCE
        figures = case.figures[quantity]
        if quantity == "trajectory":
            figures = figures[:steps]
        error = relative_error(_kept(case, model, value), figures)
        rows.append(Row(case.name, quantity, error, tolerance))
    return rows


def _kept(case: NetworkCase, model: EmbedNet, value: Any) -> np.ndarray:
    """The part of `value` that a case keeps: every few columns of features, all of the rest."""
    value = np.asarray(value)
    of_features = value.ndim == 2 and value.shape[1] == model.features
    return value[:, :: case.meta.get("every", 1)] if of_features else value


def _features(
    prefix: str, case: NetworkCase, model: EmbedNet, variables: Any, modality: Modality
) -> dict[str, Array]:
    """L2-normalised features of the evaluation images: "<prefix>_pool" and "<prefix>_feat"."""
    images = jnp.asarray(case.evaluation_images(), variables["params"]["neck"]["scale"].dtype)
    output = jax.jit(model.apply, static_argnums=2)(variables, images, modality)
    embedding = cast(Embedding, output)
    named = {f"{prefix}_pool": embedding.pooled, f"{prefix}_feat": embedding.neck}
    return {n: x / jnp.linalg.norm(x, axis=1, keepdims=True) for n, x in named.items()}


def _views(case: NetworkCase, step: int, dtype: Any) -> dict[Modality, Array]:
    return {m: jnp.asarray(x, dtype) for m, x in case.training_images(step).items()}


def _apply_in_training(
    model: EmbedNet, variables: Any, views: dict[Modality, Array]
) -> tuple[Embedding, Any]:
    output = model.apply(variables, views, train=True, mutable=["batch_stats"])
    embedding, updates = cast(tuple[Embedding, dict[str, Any]], output)
    return embedding, updates["batch_stats"]


def _training(
    case: NetworkCase, model: EmbedNet, variables: Any, steps: int | None
) -> dict[str, Any]:
    meta = case.meta
    schedule = OptimizerConfig(rate=meta["lr"], warmup=0, milestones=(), factors=())
    tx = make_optimizer(schedule, steps_per_epoch=1)
    labels = jnp.repeat(jnp.arange(meta["P"]), meta["K"])

    @jax.jit
    def step(params: Any, stats: Any, opt_state: Any, views: dict[Modality, Array]) -> Any:
        def loss(params: Any) -> Any:
            embedding, new_stats = _apply_in_training(
                model, {"params": params, "batch_stats": stats}, views
            )
            pooled, logits = (
                dict(zip(case.modalities, jnp.split(x, len(case.modalities)), strict=True))
                for x in (embedding.pooled, embedding.logits)
            )
            settings = _AGW if case.of_agw else _RELEASED
            total, terms = objective(pooled, logits, labels, settings)
            losses = jnp.stack([total, *terms.values()])
            return total, (losses, embedding, new_stats)

        gradient, (losses, embedding, stats) = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, stats, opt_state, losses, embedding, gradient

    params, stats = variables["params"], variables["batch_stats"]
    dtype = params["neck"]["scale"].dtype
    opt_state = tx.init(params)
    found: dict[str, Any] = {}
    trajectory = []
    for number in range(steps or meta["steps"]):
        params, stats, opt_state, losses, embedding, gradient = step(
            params, stats, opt_state, _views(case, number, dtype)
        )
        trajectory.append(np.asarray(losses))
        if number == 0:
            found["train_feat"], found["train_logits"] = embedding.pooled, embedding.logits
            theirs = to_torch({"params": gradient, "batch_stats": stats})
            for names, norms in (("grad_names", "grad_l2"), ("bn_names", "bn_l2")):
                found[norms] = [np.linalg.norm(theirs[name]) for name in case.figures[names]]
            found["grad_classifier"] = theirs["classifier.weight"]
    found["trajectory"] = np.array(trajectory)
    if steps is None:
        trained = {"params": params, "batch_stats": stats}
        found.update(_features("after_visible", case, model, trained, Modality.VISIBLE))
    return found
