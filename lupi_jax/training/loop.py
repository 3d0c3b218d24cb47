"""The training loop: batches in order, one step each; figures, checkpoints, nothing else."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from lupi_jax.config import Config
from lupi_jax.data import (
    Batch,
    HostRows,
    IdentitySampler,
    Index,
    make_feed,
    make_sampler,
    read_all,
    read_training,
    require_modalities,
    source_modalities,
)
from lupi_jax.errors import StoppedError
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.hosts import StopRequest, Watchdog, is_first
from lupi_jax.runtime.phases import phase, record_phase
from lupi_jax.runtime.progress import Show
from lupi_jax.runtime.terminal import showing
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import RunLog
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep, local_copy
from lupi_jax.training.profiling import Profile
from lupi_jax.training.run import (
    abstract,
    check_same_run,
    for_evaluation,
    fresh_variables,
    initial_variables,
    make_model,
    run_record,
)
from lupi_jax.training.state import TrainState
from lupi_jax.training.step import AXIS, make_train_step
from lupi_jax.training.waiting import DataWait

# (config, held-out images) -> (model, variables) -> figures, "mean_ap" among them.
MakeValidation = Callable[[Config, Index], Callable[[EmbedNet, Any], dict[str, float]]]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
    """Images to train on and their sampler, images held out (or None), steps an epoch."""

    train: Index
    sampler: IdentitySampler
    validation: Index | None
    steps_per_epoch: int


def prepare_data(config: Config) -> TrainingData:
    """Index, check and split the training images.

    An epoch is as long as in the released code, floor(max(visible, infrared) / (P K)) + 1 steps,
    whichever modalities are trained on. Images of held-out identities do not count.

    Raises:
      InputError: the data cannot serve this configuration.
    """
    sources = source_modalities(config.modalities)
    index, validation = read_training(config.data, config.seed)
    most = max(index.count(m) for m in (Modality.VISIBLE, Modality.INFRARED))
    index = index[np.isin(index.modalities, sources)]
    require_modalities(index, sources)
    sampler = make_sampler(index, config)
    per_epoch = most // sampler.batch_size + 1
    return TrainingData(index, sampler, validation, per_epoch)


def _former_epoch(data: TrainingData) -> int:
    """Steps of an epoch in a run whose record does not say so.

    Such a run counted the images of the modalities trained on alone.
    """
    most = max(data.train.count(m) for m in (Modality.VISIBLE, Modality.INFRARED))
    return most // data.sampler.batch_size + 1


def _due(step: int, steps: int, every: int) -> bool:
    return step == steps or (every > 0 and step % every == 0)


def make_parallel_step(
    config: Config, model: EmbedNet, tx: optax.GradientTransformation, steps_per_epoch: int
) -> ParallelStep:
    """The step that `config` describes, mapped over all devices."""
    step = make_train_step(
        model,
        tx,
        modalities=tuple(Modality(m) for m in config.modalities),
        views=config.views,
        loss=config.loss,
        rate=learning_rate(config.optimizer, steps_per_epoch),
    )
    return ParallelStep(step, config.parallel, seed=config.seed)


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


def _start_feed(
    config: Config,
    data: TrainingData,
    parallel: ParallelStep,
    workdir: Path,
    start: int,
    steps: int,
    show: Show,
) -> Iterator[Batch]:
    """This process's rows of the batches from step `start` on.

    Where `data.feed` asks for it, the devices get to hold all images first.
    """
    host = HostRows(jax.process_index(), jax.process_count())
    feed = make_feed(data.train, data.sampler, config, workdir / "cache", host, show)
    if config.data.feed == "device" and start < steps:
        parallel.require_room(len(data.train) * math.prod(config.data.image_size) * 3)
        parallel.hold(read_all(data.train, config.data, show))
    return feed(start, steps)


def _advice(config: Config) -> str:
    """What to do about a feed that is waited for."""
    decodes = config.data.feed in ("auto", "tfdata") and not config.data.prepared
    return "more data.workers, or `lupi prepare`, would help" if decodes else ""


def train(
    config: Config,
    workdir: str | Path,
    make_validation: MakeValidation | None = None,
    fetch: bool = False,
    profile: int = 0,
) -> TrainState:
    """Train, or go on training: the whole of a run.

    On a workdir that already holds checkpoints of the same configuration this resumes from the
    newest, and ends with what an uninterrupted run ends with, bit for bit.

    In a run of several processes (`lupi_jax.runtime.hosts.join`) all call this with the same
    arguments, and share the workdir.

    Args:
      config: of the run.
      workdir: gets `checkpoints/`, `metrics.jsonl`, `tensorboard/`, and the memory-mapped feed's
        `cache/`.
      make_validation: how held-out images are judged, `lupi_jax.evaluation.make_validation`;
        needed where the configuration holds some out.
      fetch: whether `pretrained` weights may come over the network.
      profile: steps, from the third on, traced into `profile/` of the workdir.

    Returns:
      The last state.

    Raises:
      InputError: the data, the configuration or the workdir cannot be used.
      DivergedError: a figure is not finite.
      StoppedError: SIGTERM or Ctrl-C asked for it; what was trained is saved, and the same call
        goes on.
    """
    workdir = Path(workdir)
    with phase("reading the index"):
        data = prepare_data(config)
    validate = None
    if data.validation is not None:
        if make_validation is None:
            raise ValueError("this configuration holds identities out: give make_validation")
        validate = make_validation(config, data.validation)
    images = len(source_modalities(config.modalities)) * data.sampler.batch_size
    steps = config.steps or math.ceil(config.epochs * data.steps_per_epoch)
    axis_name = AXIS if config.batch_norm == "global" else None
    model = make_model(config, len(data.train.classes), axis_name)
    tx = make_optimizer(config.optimizer, data.steps_per_epoch)
    parallel = make_parallel_step(config, model, tx, data.steps_per_epoch)
    record = run_record(config, data.train, steps, data.steps_per_epoch)

    def like() -> TrainState:
        fresh = partial(fresh_variables, config, model)
        return abstract(lambda: TrainState.create(fresh(), tx), parallel.state_sharding)

    def same_run(saved: dict[str, Any]) -> None:
        check_same_run({"steps_per_epoch": _former_epoch(data), **saved}, record, workdir)

    with (
        Watchdog(config.step_timeout) as watchdog,
        Checkpoints(workdir, config.log.keep) as checkpoints,
        StopRequest() as stop,
    ):
        with phase("looking for a checkpoint, and restoring"):
            state = checkpoints.resume(same_run, like)
        if state is None:
            with phase("initialising the network"):
                state = TrainState.create(initial_variables(config, model, fetch), tx)
        start = int(state.step)
        state = parallel.place(state)
        with showing() as show, phase("starting the feed"):
            batches = _start_feed(config, data, parallel, workdir, start, steps, show)
        if is_first():
            _announce(config, data, state, start, steps)
        if config.data.feed == "device":
            watchdog.beat("the images were read")
        said, clock = start, time.perf_counter()
        with (
            RunLog(workdir, start, steps, config.log.every, images, is_first()) as log,
            DataWait() as wait,
            Profile(workdir / "profile", start, profile, images) as trace,
        ):
            for step, batch in enumerate(wait.watch(batches), start + 1):
                if step == start + 1:
                    record_phase("waiting for the first batch", time.perf_counter() - clock)
                    clock = time.perf_counter()
                    parallel.compile(state, batch, stop.during)
                    log.compiled(time.perf_counter() - clock)
                trace.before(step, state)
                state, metrics = parallel(state, batch)
                wait.started(metrics)
                seen = trace.after(step, metrics, parallel.cost)
                if seen and is_first():
                    print(seen, file=sys.stderr)
                log.record(step, metrics)
                watchdog.beat(f"step {step} of {steps}")
                over = step % data.steps_per_epoch == 0 and step - said >= config.log.every
                if over or step == steps:
                    log.waited(step, step / data.steps_per_epoch, wait.take(), _advice(config))
                    said = step
                stopping = stop.after(step) and step < steps
                judged = validate is not None and _due(step, steps, config.log.validate_every)
                if not (judged or stopping or _due(step, steps, config.log.checkpoint_every)):
                    continue
                log.flush()  # no state is saved before its step's figures are known to be finite
                figures = {}
                if judged and validate is not None:
                    with log.paused():
                        variables = local_copy(state.variables)
                        figures = validate(for_evaluation(config, model), variables)
                    log.validation(step, figures)
                with phase("copying a checkpoint"):
                    checkpoints.save(state, record, figures)
                if stopping:
                    checkpoints.wait()
                    raise StoppedError(f"stopped after step {step} of {steps}, which is saved")
        with phase("writing the last checkpoint"):
            checkpoints.wait()
    return state
