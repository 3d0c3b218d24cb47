"""The training loop, which takes one step per batch and calls the hooks."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import jax

from lupi_jax.config import Config
from lupi_jax.data import Batch, HostRows, make_feed, read_all
from lupi_jax.data.contents import File, digesting, parse_files, with_digests
from lupi_jax.data.feeds.plan import UnfitError
from lupi_jax.data.feeds.prepared import prepared_files
from lupi_jax.errors import StoppedError
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.hosts import is_first
from lupi_jax.runtime.phases import phase, record_phase
from lupi_jax.runtime.stopping import StopRequest, Watchdog
from lupi_jax.runtime.terminal import say, showing
from lupi_jax.training.build import Built, Figures, build, restore
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.data_wait import DataWait
from lupi_jax.training.hooks import Hook, Moment
from lupi_jax.training.logging import RunLog
from lupi_jax.training.own import own_hooks
from lupi_jax.training.parallel import ParallelStep, local_copy, require_room
from lupi_jax.training.profiling import Profile
from lupi_jax.training.room import check_room
from lupi_jax.training.step import TrainState
from lupi_jax.training.workdir import held


def train(
    config: Config,
    workdir: str | Path,
    *,
    fetch: bool = False,
    profile: int = 0,
    loss: Callable[..., Any] | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Train, or resume training, until the last step of a run.

    If the workdir already holds checkpoints of the same configuration, training resumes from the
    newest. The result is bit for bit the result of an uninterrupted run.

    In a run of several processes (`lupi_jax.runtime.hosts.join`) all processes call this with the
    same arguments, and share the workdir.

    Args:
      config: the run's configuration, usually made by `lupi_jax.load_config`.
      workdir: directory that gets `checkpoints/`, `metrics.jsonl`, `tensorboard/`, `lock`, and the
        `cache/` of the memory-mapped feed.
      fetch: whether `pretrained` weights may be downloaded.
      profile: number of steps, from the third on, to trace into `profile/` of the workdir.
      loss: a loss of your own, instead of the name `config.loss.extra`. See `losses.ExtraLoss` for
        its form. `config.loss.extra_settings` and `config.loss.extra_weight` apply to it.
      hooks: hooks of your own, beside those that `config.log.hooks` names. They see each step after
        the validation and before the checkpoint is saved.

    Returns:
      The last state.

    Raises:
      InputError: the data, the configuration or the workdir cannot be used, or another run trains
        in that workdir. Empty directories that were made for the run are removed.
      ValueError: both `loss` and `config.loss.extra` are given.
      DivergedError: a figure is not finite.
      StoppedError: SIGTERM, Ctrl-C or a hook stopped the run. All finished steps are saved, and
        the same call resumes it.
    """
    workdir = expand(workdir)
    with held(workdir):
        if wrong := [hook for hook in hooks if not isinstance(hook, Hook)]:
            raise TypeError(f"hooks must be objects of lupi_jax.Hook, not {wrong[0]!r}")
        built = build(config, loss)
        own = [*hooks, *own_hooks(config, workdir)]
        return _train(built, workdir, fetch, profile, own)


def _train(
    built: Built, workdir: Path, fetch: bool, profile: int, own: Sequence[Hook]
) -> TrainState:
    """`train`, after the run is built and the workdir is locked."""
    config = built.config
    with (
        Watchdog(config.step_timeout) as watchdog,
        Checkpoints(workdir, config.log.keep) as checkpoints,
        StopRequest() as stop,
    ):
        state = restore(built, checkpoints, workdir, fetch)
        start, steps = int(state.step), built.steps
        batches = _start_feed(built, workdir, start)
        _announce(built, state, start)
        if config.data.feed == "device":
            watchdog.beat("the images were read")
        every, per_epoch = config.log.every, built.data.steps_per_epoch
        log = RunLog(workdir, start, steps, every, built.images, is_first(), own)
        wait = DataWait(log, start, per_epoch, every, _advice(config))
        record = _Record(built.record, built.data.train.root, _files(built, checkpoints))
        hooks = [
            Profile(workdir / "profile", start, profile, built.images, built.parallel.cost),
            log,
            _Alive(watchdog),
            wait,
            record,
            _Validate(built.validate, log, config.log.validate_every),
            *own,
            _Stop(stop),
            _Save(checkpoints, record, log, config.log.checkpoint_every),
        ]
        batches = _compile(built.parallel, state, batches, log, stop)
        with contextlib.ExitStack() as opened:
            for hook in hooks:
                opened.enter_context(hook)
            for step, batch in enumerate(wait.watch(batches), start + 1):
                for hook in hooks:
                    hook.before(step, state)
                state, metrics = built.parallel(state, batch)
                now = Moment(step, steps, state, metrics)
                for hook in hooks:
                    hook.after(now)
                if now.stop and step < steps:
                    checkpoints.wait()
                    raise StoppedError(f"stopped after step {step} of {steps}, which is saved")
        with phase("writing the last checkpoint"):
            checkpoints.wait()
    return state


@dataclasses.dataclass
class _Alive(Hook):
    """Tells the watchdog of every step."""

    watchdog: Watchdog

    def after(self, now: Moment) -> None:
        self.watchdog.beat(f"step {now.step} of {now.steps}")


@dataclasses.dataclass
class _Stop(Hook):
    """Stops the run if a signal or another hook asked for it, in all processes at once."""

    request: StopRequest

    def after(self, now: Moment) -> None:
        now.stop = self.request.after(now.step, now.stop)  # in every process, at every step


@dataclasses.dataclass
class _Validate(Hook):
    """Validates on the held-out images every `every` steps and after the last step."""

    validate: Callable[[Any], Figures] | None
    log: RunLog
    every: int

    def after(self, now: Moment) -> None:
        if self.validate is None or not now.due(self.every):
            return
        self.log.flush()
        with self.log.paused():
            now.figures = self.validate(local_copy(now.state.variables))
        self.log.validation(now.step, now.figures)


@dataclasses.dataclass
class _Save(Hook):
    """Saves the state every `every` steps, after a validation, and when the run stops or ends."""

    checkpoints: Checkpoints
    record: Callable[[bool], dict[str, Any]]
    log: RunLog
    every: int

    def after(self, now: Moment) -> None:
        if now.figures or now.stop or now.due(self.every):
            self.log.flush()  # raises an error before saving a state with figures not finite
            with phase("copying a checkpoint"):
                # Only the last record waits for all checksums.
                record = self.record(now.step == now.steps)
                self.checkpoints.save(now.state, record, now.figures)


@dataclasses.dataclass
class _Record(Hook):
    """Makes the run's record for checkpoints, with the checksums of its images known so far.

    A thread reads the images for the checksums while the run trains. Calling the object with True
    waits for all of them.
    """

    plain: dict[str, Any]
    root: Path
    files: list[File]
    opened: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        self.read = self.opened.enter_context(digesting(self.root, self.files))
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def __call__(self, whole: bool) -> dict[str, Any]:
        return {**self.plain, "files": [list(file) for file in self.read(whole)]}


def _files(built: Built, checkpoints: Checkpoints) -> list[File]:
    """List the images of the run, with checksums from a checkpoint or a prepared data set.

    Only the process that writes checkpoints needs the list; others get [].
    """
    newest = checkpoints.newest
    saved = {} if newest is None else checkpoints.run(newest)  # all processes read it together
    if not is_first():
        return []
    files, known = parse_files(built.record["files"]), parse_files(saved.get("files", []))
    if built.config.data.prepared:
        with contextlib.suppress(UnfitError):  # a finished run no longer needs it
            known += prepared_files(built.config.data.prepared)
    return with_digests(files, known)


def _start_feed(built: Built, workdir: Path, start: int) -> Iterator[Batch]:
    """Start this process's rows of the batches from step `start` on.

    With `data.feed` = "device" all images are first copied to the devices.
    """
    config, data = built.config, built.data
    host = HostRows(jax.process_index(), jax.process_count())
    with showing() as show, phase("starting the feed"):
        feed = make_feed(data.train, data.sampler, config, workdir / "cache", host, show)
        if config.data.feed == "device" and start < built.steps:
            require_room(len(data.train) * math.prod(config.data.image_size) * 3)
            built.parallel.hold(read_all(data.train, config.data, show))
        return feed(start, built.steps)


def _announce(built: Built, state: TrainState, start: int) -> None:
    """Print the data, the network, the steps and the devices of the run."""
    config, data, steps = built.config, built.data, built.steps
    count = sum(x.size for x in jax.tree.leaves(state.params))
    held = f" ({len(data.validation.classes)} more held out)" if data.validation else ""
    say(
        f"{config.data.name} {config.data.root}: {len(data.train.classes)} identities{held}, "
        f"{data.train.count(Modality.VISIBLE)} visible and "
        f"{data.train.count(Modality.INFRARED)} infrared images; "
        f"{config.model.backbone}, {count:,} parameters, recipe {config.recipe}; "
        f"{'finished at' if start >= steps else 'going on from' if start else 'from'} step {start} "
        f"of {steps} ({data.steps_per_epoch} per epoch) "
        f"on {jax.device_count()} x {jax.devices()[0].device_kind}"
    )


def _compile(
    parallel: ParallelStep,
    state: TrainState,
    batches: Iterator[Batch],
    log: RunLog,
    stop: StopRequest,
) -> Iterator[Batch]:
    """Compile the step for the first of `batches`, and return all of them."""
    start = time.perf_counter()
    first = next(batches, None)
    if first is None:
        return batches
    now = time.perf_counter()
    record_phase("waiting for the first batch", now - start)
    parallel.compile(state, first, stop.during)
    log.compiled(time.perf_counter() - now)
    check_room(parallel.memory())
    return itertools.chain([first], batches)


def _advice(config: Config) -> str:
    """What to do about a slow feed; may be empty."""
    decodes = config.data.feed in ("auto", "tfdata") and not config.data.prepared
    return "set more data.workers, or use `lupi prepare`" if decodes else ""
