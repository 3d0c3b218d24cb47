"""SGD as usual in re-ID, or Adam, with two learning rates, a warm-up and stages."""

from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lupi_jax.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate of neck and classifier at a step, with a linear warm-up and then stages.

    If `config.unit` is "epochs", the rate is constant within an epoch, as in the original code.
    With a warm-up of 10 it is (epoch + 1) / 10 of `config.rate` in the first ten epochs.

    Returns:
      step -> rate.
    """
    unit = steps_per_epoch if config.unit == "epochs" else 1

    def rate(step: Any) -> Array:
        position = jnp.floor_divide(step, unit)
        warm = jnp.minimum(1.0, (position + 1) / config.warmup) if config.warmup else 1.0
        factors = jnp.array((1.0, *config.factors))
        stage = jnp.sum(position >= jnp.array(config.milestones)) if config.milestones else 0
        return config.rate * warm * factors[stage]

    return rate


def parameter_groups(params: Any) -> Any:
    """Label each of `params` "trunk" (with the stems), "frozen" (neck bias) or "head" (the rest).

    The head is the BN neck, the classifier and the parameters of a loss of a user's own.
    """

    def group(path: tuple[Any, ...], _: Any) -> str:
        names = tuple(part.key for part in path)
        if names == ("neck", "bias"):
            return "frozen"
        return "trunk" if names[0] == "trunk" or names[0].startswith("stem_") else "head"

    return jax.tree_util.tree_map_with_path(group, params)


def make_optimizer(config: OptimizerConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Make PyTorch's SGD (decay before the Nesterov momentum) or AdamW, per parameter group."""
    rate = learning_rate(config, steps_per_epoch)
    decay = optax.add_decayed_weights(config.weight_decay)
    if config.name == "sgd":
        direction = optax.chain(decay, optax.trace(config.momentum, nesterov=True))
    else:
        direction = optax.chain(optax.scale_by_adam(config.momentum), decay)

    def scaled(factor: float) -> optax.GradientTransformation:
        return optax.chain(
            direction, optax.scale_by_learning_rate(lambda step: rate(step) * factor)
        )

    groups: dict[Hashable, Any] = {
        "head": scaled(1.0),
        "trunk": scaled(config.trunk_factor),
        "frozen": optax.set_to_zero(),
    }
    by_group = optax.partition(groups, parameter_groups)
    if not config.clip:
        return by_group
    return optax.chain(optax.clip_by_global_norm(config.clip), by_group)
