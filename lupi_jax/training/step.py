"""The training step, a pure function of the state and one device's share of the batch."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array, lax

from lupi_jax.config import Config
from lupi_jax.losses import ExtraLoss, LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import Embedding, EmbedNet
from lupi_jax.views import make_views

AXIS = "batch"
"""Name of the mapped axis of the devices that share a batch."""

EXTRA_LOSS = "extra_loss"
"""Name of the parameters of a loss of a user's own in `TrainState.beside`."""


class TrainState(struct.PyTreeNode):
    """The state that a checkpoint holds and a step replaces.

    Attributes:
      step: int32 scalar, steps taken. With the seed it fixes the next batch and its views.
      params: the network's parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: the optimiser's momentum, for `trained`.
      beside: parameters that only training needs, {} unless a loss of a user's own has some:
        {"extra_loss": its parameters}.
    """

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    beside: dict[str, Any] = struct.field(default_factory=dict)

    @classmethod
    def create(
        cls,
        variables: dict[str, Any],
        tx: optax.GradientTransformation,
        beside: dict[str, Any] | None = None,
    ) -> "TrainState":
        """Make the state before the first step."""
        params, beside = variables["params"], beside or {}
        opt_state = tx.init({**params, **beside})
        return cls(jnp.zeros((), jnp.int32), params, variables["batch_stats"], opt_state, beside)

    @property
    def trained(self) -> dict[str, Any]:
        """All parameters that the optimiser trains."""
        return {**self.params, **self.beside}

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for applying the network."""
        return {"params": self.params, "batch_stats": self.batch_stats}


Metrics = dict[str, Array]
Step = Callable[[TrainState, Mapping[str, Array], Array], tuple[TrainState, Metrics]]


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    seed: Array,
    *,
    config: Config,
    model: EmbedNet,
    tx: optax.GradientTransformation,
    rate: optax.Schedule,
    extra: ExtraLoss | None = None,
) -> tuple[TrainState, Metrics]:
    """Take one step, on one of the devices of the axis `AXIS`.

    Every device embeds its own rows. Features and logits are gathered, so that hard mining sees
    the whole batch, and batch normalisation averages over the axis (`model.axis_name` = `AXIS`).
    Therefore n devices compute the same as one device for the same global batch. If
    `model.axis_name` is None, each device normalises by its own rows, as PyTorch's data-parallel
    training does by default. Running statistics are then the mean over devices.

    Args:
      state: the state before the step.
      batch: this device's rows, uint8 images and labels.
      seed: the run's seed. With `state.step` and a row's global number it fixes the row's views.
        It is an argument, so that runs that differ only in their seed share a compiled program.
      config: only `modalities`, `views` and `loss` are used.
      model: the network.
      tx: the optimiser.
      rate: the learning-rate schedule, only for the log.
      extra: a loss of a user's own.

    Returns:
      The state after the step, and the scalars `loss/total`, `loss/<term>`, `accuracy` (the
      classifier's), `gradient_norm` and `rate`.
    """
    images = make_views(
        jax.random.fold_in(jax.random.key(seed), state.step),
        batch.get(Modality.VISIBLE),
        batch.get(Modality.INFRARED),
        config.views,
        config.modalities,
        first_row=lax.axis_index(AXIS) * len(batch["labels"]),
    )
    gradient, (metrics, batch_stats) = jax.grad(_share_of_loss, has_aux=True)(
        state.trained, state.batch_stats, images, batch["labels"], model, config.loss, extra
    )
    if lax.axis_size(AXIS) > 1:
        gradient = lax.psum(gradient, AXIS)
    updates, opt_state = tx.update(gradient, state.opt_state, state.trained)
    metrics["gradient_norm"] = optax.tree.norm(gradient)
    metrics["rate"] = jnp.asarray(rate(state.step))
    trained: Any = optax.apply_updates(state.trained, updates)
    params, beside = ({name: trained[name] for name in x} for x in (state.params, state.beside))
    return TrainState(state.step + 1, params, batch_stats, opt_state, beside), metrics


def _share_of_loss(
    params: Any,
    batch_stats: Any,
    images: Mapping[Modality, Array],
    labels: Array,
    model: EmbedNet,
    loss: LossSettings,
    extra: ExtraLoss | None,
) -> tuple[Array, tuple[Metrics, Any]]:
    """The whole batch's loss divided by the number of devices, with metrics and statistics.

    Every device computes the whole loss. The gradients of the devices' shares add up to the
    gradient of the loss.
    """
    rows, labels = len(labels), lax.all_gather(labels, AXIS, tiled=True)
    own = params.get(EXTRA_LOSS, {})
    network = {name: part for name, part in params.items() if name != EXTRA_LOSS}
    variables = {"params": network, "batch_stats": batch_stats}
    output = model.apply(variables, images, train=True, mutable=["batch_stats"])
    embedding, updates = cast(tuple[Embedding, dict[str, Any]], output)
    names = [m for m in Modality if m in images]

    def gather(stacked: Array) -> dict[Modality, Array]:
        return {
            m: lax.all_gather(stacked[i * rows : (i + 1) * rows], AXIS, tiled=True)
            for i, m in enumerate(names)
        }

    pooled, logits = gather(embedding.pooled), gather(embedding.logits)
    total, terms = objective(pooled, logits, labels, loss)
    if extra is not None:
        neck = gather(embedding.neck)
        every = {m: Embedding(pooled[m], neck[m], logits[m]) for m in names}
        added = extra(own, every, labels)
        total, terms = total + sum(added.values()), {**terms, **added}
    metrics = {f"loss/{name}": term for name, term in {"total": total, **terms}.items()}
    metrics["accuracy"] = jnp.stack([x.argmax(-1) == labels for x in logits.values()]).mean()
    batch_stats = updates["batch_stats"]
    if model.axis_name is None:  # each device has normalised by its own rows
        batch_stats = lax.pmean(batch_stats, AXIS)
    return total / lax.axis_size(AXIS), (metrics, batch_stats)
