"""Make the data, network, optimiser and step of a run from its configuration."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax

from lupi_jax.config import Config, check_config
from lupi_jax.config.rules import require_triplets
from lupi_jax.data import (
    IdentitySampler,
    Index,
    make_sampler,
    read_training,
    require_modalities,
    source_modalities,
)
from lupi_jax.data.contents import look_at
from lupi_jax.errors import InputError
from lupi_jax.evaluation.evaluator import make_validation
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.phases import phase
from lupi_jax.training.beside import parameters_beside
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.network import (
    abstract,
    for_evaluation,
    fresh_variables,
    make_model,
)
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.own import own_loss, parts_record
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.pretrained import initial_variables
from lupi_jax.training.run import check_same_files, check_same_run, run_record
from lupi_jax.training.step import AXIS, TrainState, train_step
from lupi_jax.views import check_views

Figures = dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
    """The training images, their sampler, the held-out images (or None) and the steps per epoch."""

    train: Index
    sampler: IdentitySampler
    validation: Index | None
    steps_per_epoch: int


def prepare_data(config: Config) -> TrainingData:
    """Index, check and split the training images.

    An epoch has as many steps as in the released code, floor(max(visible, infrared) / (P K)) + 1,
    whichever modalities are trained on. Images of held-out identities do not count.

    Raises:
      InputError: the data do not suffice for this configuration.
    """
    sources = source_modalities(config.modalities)
    everything, validation = read_training(config.data, config.seed)
    index = everything[np.isin(everything.modalities, sources)]
    require_modalities(index, sources)
    if len(index.classes) == 1:
        raise InputError(
            f"{index.root}: the training images show a single identity ({index.classes[0]}): add "
            "images of others"
        )
    sampler = make_sampler(index, config)
    return TrainingData(index, sampler, validation, _steps_per_epoch(everything, sampler))


def _steps_per_epoch(index: Index, sampler: IdentitySampler) -> int:
    """floor(n / (P K)) + 1, with n images in the larger of the two modalities."""
    images = max(index.count(m) for m in (Modality.VISIBLE, Modality.INFRARED))
    return images // sampler.batch_size + 1


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """What a run is made of.

    Attributes:
      config: the run's configuration.
      data: its training images.
      steps: the number of its last step.
      model: the network, as it is trained.
      tx: the optimiser.
      parallel: the step, mapped over devices.
      validate: variables -> figures on the held-out images; None without held-out images.
      record: the `run_record` for its checkpoints.
      beside: first parameters of `TrainState.beside`.
    """

    config: Config
    data: TrainingData
    steps: int
    model: EmbedNet
    tx: optax.GradientTransformation
    parallel: ParallelStep
    validate: Callable[[Any], Figures] | None
    record: dict[str, Any]
    beside: dict[str, Any]

    @property
    def images(self) -> int:
        """Number of images that a step reads."""
        return len(source_modalities(self.config.modalities)) * self.data.sampler.batch_size


def build(config: Config, loss: Callable[..., Any] | None = None) -> Built:
    """Read the index of the training images, and make what a run needs from `config`.

    Args:
      config: the run's configuration.
      loss: a loss of the user's own, see `train`.

    Raises:
      InputError: the data do not suffice for this configuration, this machine cannot run it, or
        a part of the user's own cannot be used.
      ValueError: both `loss` and `config.loss.extra` are given.
    """
    require_triplets(check_config(config))
    check_views(config.views, config.modalities, config.data.image_size)
    extra = own_loss(config, loss)
    with phase("reading the index"):
        data = prepare_data(config)
    model = make_model(
        config, len(data.train.classes), AXIS if config.batch_norm == "global" else None
    )
    validate = None
    if data.validation is not None:
        judge = make_validation(config, data.validation)
        validate = partial(judge, for_evaluation(config, model))
    steps = config.steps or math.ceil(config.epochs * data.steps_per_epoch)
    tx = make_optimizer(config.optimizer, data.steps_per_epoch)
    rate = learning_rate(config.optimizer, data.steps_per_epoch)
    step = partial(train_step, config=config, model=model, tx=tx, rate=rate, extra=extra)
    parallel = ParallelStep(step, config.parallel, seed=config.seed)
    files = look_at(data.train) + (look_at(data.validation) if data.validation else [])
    parts = parts_record(config, loss)
    record = run_record(config, data.train, steps, data.steps_per_epoch, files, parts)
    beside = parameters_beside(config, model, extra)
    return Built(config, data, steps, model, tx, parallel, validate, record, beside)


def restore(built: Built, checkpoints: Checkpoints, workdir: Path, fetch: bool) -> TrainState:
    """Restore the newest undamaged state in `checkpoints`, else make the state before step 1.

    Args:
      built: what `build` has made.
      checkpoints: the checkpoints in `workdir`.
      workdir: the run's directory.
      fetch: whether to download pre-trained weights, see `initial_variables`.

    Returns:
      The state, placed for the step.

    Raises:
      InputError: the workdir holds another run, its images have changed, or the pre-trained
        weights cannot be used.
    """
    config, model, tx = built.config, built.model, built.tx

    def like() -> TrainState:
        return abstract(
            lambda: TrainState.create(fresh_variables(config, model), tx, built.beside),
            built.parallel.state_sharding,
        )

    def same_run(saved: dict[str, Any]) -> None:
        # A run whose record lacks an epoch's length counted only the images it trained on.
        former = _steps_per_epoch(built.data.train, built.data.sampler)
        check_same_run({"steps_per_epoch": former, **saved}, built.record, workdir)
        root, workers = built.data.train.root, config.data.workers
        check_same_files(saved, built.record, root, workers, workdir)

    with phase("looking for a checkpoint, and restoring"):
        state = checkpoints.resume(same_run, like)
    if state is None:
        with phase("initialising the network"):
            variables = initial_variables(config, model, fetch, built.record)
            state = TrainState.create(variables, tx, built.beside)
    return built.parallel.place(state)
