"""The network, losses and optimiser against the released PyTorch code, in float64."""

from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lupi_jax.config import OptimizerConfig
from lupi_jax.losses import LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, from_torch, to_torch
from lupi_jax.training.optimizer import make_optimizer

TERMS = ("identity", "triplet", "color_free")  # the columns of the trajectory after the total


def relative_error(actual: Any, expected: np.ndarray) -> float:
    return float(np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max())


def unit(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def released() -> Any:
    figures, meta = golden.load()
    model = EmbedNet(meta["n_class"], backbone="resnet18", non_local=False, pooling="average")
    weights = golden.state_dict(meta)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), from_torch(weights, model))
    return figures, meta, model, weights, variables


def test_features_of_each_stem_are_the_released_ones(released: Any) -> None:
    figures, meta, model, _, variables = released
    with jax.enable_x64(True):
        x = jnp.asarray(golden.images(meta["seed"] + 1, 2, meta), jnp.float64)
        for modality in Modality:
            embedding = jax.jit(model.apply, static_argnums=2)(variables, x, modality)
            pooled, neck = (figures[f"eval_{modality}_{name}"] for name in ("pool", "feat"))
            assert relative_error(unit(embedding.pooled), pooled) < 1e-12
            assert relative_error(unit(embedding.neck), neck) < 1e-12


def test_training_follows_the_released_trajectory(released: Any) -> None:
    figures, meta, model, _, variables = released
    settings = LossSettings(triplet="mean", color_free="released", color_free_weight=10.0)
    with jax.enable_x64(True):
        tx = make_optimizer(
            OptimizerConfig(rate=meta["lr"], warmup=0, milestones=(), factors=()), 1
        )
        labels = jnp.repeat(jnp.arange(meta["P"]), meta["K"])

        @jax.jit
        def step(params: Any, stats: Any, opt_state: Any, views: Any) -> Any:
            def loss(params: Any) -> Any:
                embedding, updates = model.apply(
                    {"params": params, "batch_stats": stats}, views, train=True,
                    mutable=["batch_stats"],
                )  # fmt: skip
                parts = [dict(zip(Modality, jnp.split(x, 3), strict=True))
                         for x in (embedding.pooled, embedding.logits)]  # fmt: skip
                total, terms = objective(*parts, labels, settings)
                return total, (total, terms, embedding, updates["batch_stats"])

            gradient, (total, terms, embedding, stats_) = jax.grad(loss, has_aux=True)(params)
            updates, opt_state_ = tx.update(gradient, opt_state, params)
            row = jnp.stack([total, *(terms[name] for name in TERMS)])
            return (
                optax.apply_updates(params, updates),
                stats_,
                opt_state_,
                row,
                embedding,
                gradient,
            )

        params, stats = variables["params"], variables["batch_stats"]
        opt_state, trajectory = tx.init(params), []
        for i in range(meta["steps"]):
            views = dict(zip(Modality, golden.training_images(meta, i), strict=True))
            views = {m: jnp.asarray(x, jnp.float64) for m, x in views.items()}
            params, stats, opt_state, row, embedding, gradient = step(
                params, stats, opt_state, views
            )
            trajectory.append(np.asarray(row))
            if i == 0:
                assert relative_error(embedding.pooled, figures["train_feat"]) < 1e-10
                assert relative_error(embedding.logits, figures["train_logits"]) < 1e-10
                theirs = to_torch({"params": gradient, "batch_stats": stats})
                classifier = theirs["classifier.weight"]
                assert relative_error(classifier, figures["grad_classifier"]) < 1e-8
                for names, norms in (("grad_names", "grad_l2"), ("bn_names", "bn_l2")):
                    mine = np.array([np.linalg.norm(theirs[n]) for n in figures[names]])
                    assert relative_error(mine, figures[norms]) < 1e-8
        assert relative_error(np.array(trajectory), figures["trajectory"]) < 1e-5
        x = jnp.asarray(golden.images(meta["seed"] + 1, 2, meta), jnp.float64)
        after = jax.jit(model.apply, static_argnums=2)(
            {"params": params, "batch_stats": stats}, x, Modality.VISIBLE
        )
        assert relative_error(unit(after.pooled), figures["after_visible_pool"]) < 1e-5
        assert relative_error(unit(after.neck), figures["after_visible_feat"]) < 1e-5


def test_weights_go_to_torch_and_back_unchanged(released: Any) -> None:
    _, _, model, weights, _ = released
    back = to_torch(from_torch(weights, model))
    assert back.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)
