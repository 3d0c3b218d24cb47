"""The training loop: batches in order, one step each; figures, checkpoints, nothing else."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import (
    HostRows,
    Index,
    hold_out,
    make_feed,
    read_index,
    require_modalities,
    source_modalities,
)
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, from_torch, read_state_dict
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import RunLog
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.run import check_same_run, fresh_variables, make_model, run_record
from lupi_jax.training.state import TrainState
from lupi_jax.training.step import AXIS, make_train_step

# (config, model, variables, held-out images) -> figures, "mean_ap" among them.
Validate = Callable[[Config, EmbedNet, Any, Index], dict[str, float]]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
    """Images to train on, images held out of them for validation (or None), steps an epoch."""

    train: Index
    validation: Index | None
    steps_per_epoch: int


def prepare_data(config: Config) -> TrainingData:
    """Index, check and split the training images.

    Raises:
      InputError: the data cannot serve this configuration.
    """
    index = read_index(config.data, "train")
    sources = source_modalities(config.modalities)
    index = index[np.isin(index.modalities, sources)]
    require_modalities(index, sources)
    validation = None
    if config.data.validation_identities:
        index, validation = hold_out(index, config.data.validation_identities, config.seed)
    largest = max(index.count(m) for m in sources)
    per_epoch = largest // (config.batch.identities * config.batch.images) + 1
    return TrainingData(index, validation, per_epoch)


def initial_state(config: Config, model: EmbedNet, tx: Any) -> TrainState:
    """The state before the first step: fresh, or with pre-trained weights."""
    variables = fresh_variables(config, model)
    if config.pretrained:
        modalities = tuple(Modality(m) for m in config.modalities)
        tensors = read_state_dict(config.pretrained)
        variables = from_torch(tensors, model, modalities, initial=variables)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    return TrainState.create(variables, tx)


def _due(step: int, steps: int, every: int) -> bool:
    return step == steps or (every > 0 and step % every == 0)


def _announce(
    config: Config, data: TrainingData, state: TrainState, start: int, steps: int
) -> None:
    """Say on stderr what is about to be trained on what."""
    count = sum(x.size for x in jax.tree.leaves(state.params))
    held = f" ({len(data.validation.classes)} more held out)" if data.validation else ""
    device = jax.devices()[0]
    print(
        f"{config.data.name} {config.data.root}: {len(data.train.classes)} identities{held}, "
        f"{data.train.count(Modality.VISIBLE)} visible and "
        f"{data.train.count(Modality.INFRARED)} infrared images; "
        f"{config.model.backbone}, {count:,} parameters, recipe {config.recipe}; "
        f"{'finished at' if start >= steps else 'going on from' if start else 'from'} step {start} "
        f"of {steps} ({data.steps_per_epoch} an epoch) "
        f"on {jax.device_count()} x {device.device_kind}",
        file=sys.stderr,
    )


def train(config: Config, workdir: str | Path, validate: Validate | None = None) -> TrainState:
    """Train, or go on training: the whole of a run.

    On a workdir that already holds checkpoints of the same configuration this resumes from the
    newest, and ends with what an uninterrupted run ends with, bit for bit.

    Args:
      config: of the run.
      workdir: gets `checkpoints/`, `metrics.jsonl`, `tensorboard/`, and the memory-mapped feed's
        `cache/`.
      validate: how held-out images are judged; needed where the configuration holds some out.

    Returns:
      The last state.

    Raises:
      InputError: the data, the configuration or the workdir cannot be used.
      DivergedError: a figure is not finite.
    """
    workdir = Path(workdir)
    data = prepare_data(config)
    if data.validation is not None and validate is None:
        raise ValueError("this configuration holds identities out: give train() a `validate`")
    steps = config.steps or round(config.epochs * data.steps_per_epoch)
    num_classes = len(data.train.classes)
    model = make_model(config, num_classes, axis_name=AXIS)
    tx = make_optimizer(config.optimizer, data.steps_per_epoch)
    step_function = make_train_step(
        model,
        tx,
        seed=config.seed,
        modalities=tuple(Modality(m) for m in config.modalities),
        views=config.views,
        loss=config.loss,
        rate=learning_rate(config.optimizer, data.steps_per_epoch),
    )
    parallel = ParallelStep(step_function, config.parallel)
    host = HostRows(jax.process_index(), jax.process_count())
    feed = make_feed(data.train, config, workdir / "cache", host)
    record = run_record(config, num_classes)

    with Checkpoints(workdir, config.log.keep) as checkpoints:
        state = initial_state(config, model, tx)
        start = checkpoints.newest or 0
        if start:
            check_same_run(checkpoints.run(start), config, num_classes, workdir)
            state = checkpoints.state(start, state)
        state = parallel.place(state)
        _announce(config, data, state, start, steps)
        batch_size = (
            config.batch.identities
            * config.batch.images
            * len(source_modalities(config.modalities))
        )
        with RunLog(workdir, start, steps, config.log.every, batch_size) as log:
            for step, batch in enumerate(feed(start, steps), start + 1):
                state, metrics = parallel(state, batch)
                log.record(step, metrics)
                judged = data.validation is not None and _due(
                    step, steps, config.log.validate_every
                )
                if not judged and not _due(step, steps, config.log.checkpoint_every):
                    continue
                log.flush()  # before saving: a state that diverged is never saved
                figures = {}
                if judged and validate is not None and data.validation is not None:
                    figures = validate(config, model, state.variables, data.validation)
                    log.validation(step, figures)
                checkpoints.save(state, record, figures)
        checkpoints.wait()
    return state
