"""One training step, a pure function of one device's share of the batch, and its state."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array, lax

from lupi_jax.losses import LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import Embedding, EmbedNet
from lupi_jax.views import ViewSettings, make_views

AXIS = "batch"
"""The mapped axis: the devices that share a batch."""


class TrainState(struct.PyTreeNode):
    """Everything a checkpoint holds and a step replaces.

    Attributes:
      step: int32 scalar, steps taken; with the seed it fixes the next batch and its views.
      params: the network's parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: the optimiser's momentum.
    """

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @classmethod
    def create(cls, variables: dict[str, Any], tx: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        params = variables["params"]
        return cls(jnp.zeros((), jnp.int32), params, variables["batch_stats"], tx.init(params))

    @property
    def variables(self) -> dict[str, Any]:
        """What the network is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


Metrics = dict[str, Array]
Step = Callable[[TrainState, Mapping[str, Array], Array], tuple[TrainState, Metrics]]


def make_train_step(
    model: EmbedNet,
    tx: optax.GradientTransformation,
    *,
    modalities: tuple[Modality, ...],
    views: ViewSettings,
    loss: LossSettings,
    rate: optax.Schedule,
) -> Step:
    """Build the step to be mapped over the axis `AXIS` (see `lupi_jax.training.parallel`).

    Every device embeds its own rows; features and logits are gathered, so that hard mining sees
    the whole batch, and batch normalisation averages over the axis (`model.axis_name` = `AXIS`).
    n devices therefore compute what one device computes for the same global batch. Where
    `model.axis_name` is None each device normalises by its own rows, as PyTorch's data-parallel
    training does by default; running statistics are then the mean over devices.

    Args:
      model: the network.
      tx: the optimiser.
      modalities: those trained on.
      views: augmentation.
      loss: the objective.
      rate: schedule, for the log only.

    Returns:
      (state, batch of uint8 images and labels, this device's rows, seed) -> (state, metrics):
      scalars `loss/total`, `loss/<term>`, `accuracy` of the classifier, `gradient_norm`, `rate`.
      The seed, with `state.step` and a row's global number, fixes its views; it is an argument so
      that runs that differ in it alone share a compiled program.
    """

    def step(
        state: TrainState, batch: Mapping[str, Array], seed: Array
    ) -> tuple[TrainState, Metrics]:
        devices, rows = lax.axis_size(AXIS), len(batch["labels"])
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        images = make_views(
            key,
            batch.get(Modality.VISIBLE),
            batch.get(Modality.INFRARED),
            views,
            modalities,
            first_row=lax.axis_index(AXIS) * rows,
        )
        labels = lax.all_gather(batch["labels"], AXIS, tiled=True)

        def share_of_loss(params: Any) -> tuple[Array, tuple[Array, dict[str, Array], Array, Any]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            output = model.apply(variables, images, train=True, mutable=["batch_stats"])
            embedding, updates = cast(tuple[Embedding, dict[str, Any]], output)

            def by_modality(stacked: Array) -> dict[Modality, Array]:
                return {
                    m: lax.all_gather(stacked[i * rows : (i + 1) * rows], AXIS, tiled=True)
                    for i, m in enumerate(m for m in Modality if m in images)
                }

            logits = by_modality(embedding.logits)
            total, terms = objective(by_modality(embedding.pooled), logits, labels, loss)
            hits = jnp.stack([x.argmax(-1) == labels for x in logits.values()]).mean()
            # Every device computes the whole loss; the gradients of n shares add up to it.
            batch_stats = updates["batch_stats"]
            if model.axis_name is None:  # each device has normalised by its own rows
                batch_stats = lax.pmean(batch_stats, AXIS)
            return total / devices, (total, terms, hits, batch_stats)

        gradient, (total, terms, hits, batch_stats) = jax.grad(share_of_loss, has_aux=True)(
            state.params
        )
        if devices > 1:
            gradient = lax.psum(gradient, AXIS)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss/total": total,
            **{f"loss/{name}": value for name, value in terms.items()},
            "accuracy": hits,
            "gradient_norm": optax.tree.norm(gradient),
            "rate": jnp.asarray(rate(state.step)),
        }
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return step
