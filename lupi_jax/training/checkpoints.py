"""Checkpoints of a run; the only module that imports Orbax."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    LatestN,
    PreservationContext,
    PreservationPolicy,
)
from orbax.checkpoint.future import CommitFutureAwaitingContractedSignals, Future

from lupi_jax.errors import InputError, shorten
from lupi_jax.runtime import hosts
from lupi_jax.runtime.backend import is_out_of_memory
from lupi_jax.runtime.files import check_name, expand, unreadable
from lupi_jax.runtime.records import LARGE, read_json
from lupi_jax.runtime.terminal import say
from lupi_jax.training import seal
from lupi_jax.training.step import TrainState

BEST = "mean_ap"
"""The figure of a validation that the best checkpoint is chosen by."""

T = TypeVar("T")


class Checkpoints:
    """The checkpoints under `<workdir>/checkpoints`: state, what rebuilds it, validation figures.

    The newest `keep` stay, and the one of the best validation mAP where there are such figures.
    A checkpoint appears under its step only when it is complete, and says what all that it holds
    hashes to: one that has been damaged since is never used. Every process of a run takes part in
    saving and restoring; the directory is one that all of them share.
    """

    def __init__(self, workdir: str | Path, keep: int = 2, read_only: bool = False) -> None:
        """Open the checkpoints of `workdir`; create their directory unless `read_only`.

        Raises:
          InputError: `read_only`, and there is no checkpoint; or the directory cannot be made, or
            has a name that Orbax would change.
        """
        workdir = expand(workdir)
        check_name(workdir)
        self.directory = workdir.absolute() / "checkpoints"
        if read_only and not self.directory.is_dir():
            raise InputError(
                f"no checkpoint under {workdir}: give the --workdir of a `lupi train` run"
            )
        self._figures: dict[int, dict[str, float]] = {}
        # What cannot be read may hold the best figures, so that it stays.
        self._unread: set[int] = set()
        policy = AnyPreservationPolicy([LatestN(keep), _Keep(lambda: {self.best, *self._unread})])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy, read_only=read_only, create=False
        )
        with self._writing("open the checkpoints"):
            if not read_only:
                self.directory.mkdir(parents=True, exist_ok=True)  # Orbax takes a file for it
            self._manager = ocp.CheckpointManager(
                self.directory, options=options, item_names=("variables", "optimizer", "run")
            )
        # Now: reading waits for a save, and takes over what goes wrong with it.
        for step in self._manager.all_steps():
            try:
                with self._reading(step):
                    self._figures[step] = self._record(step)["figures"]
            except DamagedError:
                continue
            except InputError:
                self._unread.add(step)
        if read_only and self.newest is None:
            raise InputError(f"no complete checkpoint under {workdir}: train there first")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with self._writing("finish saving"):
            self._manager.close()

    @property
    def newest(self) -> int | None:
        """Step of the newest checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the best validation mAP, None where none was validated."""
        figures = {step: self.figures(step).get(BEST) for step in self._manager.all_steps()}
        validated = {step: value for step, value in figures.items() if value is not None}
        return max(validated, key=lambda step: validated[step], default=None)

    def find(self, which: str | int) -> int:
        """The step of the checkpoint asked for: "newest", "best" or a step.

        Raises:
          InputError: there is none; names those there are.
        """
        steps = self._manager.all_steps()
        named = {"newest": self.newest, "best": self.best, **{str(step): step for step in steps}}
        step = named.get(str(which))
        if step is None:
            reason = "no step has validation figures" if which == "best" else "no such step"
            raise InputError(
                f"{self.directory}: no checkpoint {which!r} ({reason}; there are: "
                f"{', '.join(map(str, steps))})"
            )
        return step

    def figures(self, step: int) -> dict[str, float]:
        """The validation figures saved with a checkpoint, {} for none, or where it is damaged."""
        return self._figures.get(step, {})

    def save(self, state: TrainState, run: dict[str, Any], figures: dict[str, float]) -> None:
        """Save in the background.

        The caller waits for a save that is still going on, and while the arrays are copied to the
        host's memory. Hashing and writing them happen on other threads, and `state` may be used
        up meanwhile.

        Args:
          state: what to save, under its step.
          run: plain values that say how to rebuild the run.
          figures: validation figures of this very state, {} for none.

        Raises:
          InputError: it, or the checkpoint before it, cannot be written.
        """
        optimizer = {"step": state.step, "opt_state": state.opt_state}
        arrays = {"variables": state.variables, "optimizer": optimizer}
        # One process writes the record, and needs the arrays after the next step has replaced them.
        # On a CPU these are views of the device's memory, which JAX then does not reuse.
        kept = jax.device_get(arrays) if hosts.is_first() else {}

        self._figures[int(state.step)] = figures
        with self._writing(f"save step {int(state.step)}"):
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    variables=ocp.args.StandardSave(state.variables),
                    optimizer=ocp.args.StandardSave(optimizer),
                    run=_RecordSave(lambda: seal.make_record(run, figures, kept)),
                ),
            )

    def wait(self) -> None:
        """Wait until what is being saved is on disk.

        Raises:
          InputError: it cannot be written.
        """
        with self._writing("save"):
            self._manager.wait_until_finished()

    def run(self, step: int) -> dict[str, Any]:
        """What `save` was given as `run`.

        Raises:
          InputError: the checkpoint was made by a newer or much older version of this package, or
            it is damaged.
        """
        with self._reading(step):
            return seal.run_of(self._record(step))

    def variables(self, step: int, like: Any) -> Any:
        """The network's variables alone, shaped and placed as `like`.

        Raises:
          InputError: the checkpoint is damaged.
        """
        return self._restore(step, variables=like)["variables"]

    def state(self, step: int, like: TrainState) -> TrainState:
        """The whole state, shaped and placed as `like`.

        Raises:
          InputError: the checkpoint is damaged.
        """
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        optimizer = {"step": like.step, "opt_state": like.opt_state}
        saved = self._restore(step, variables=like.variables, optimizer=optimizer)
        return TrainState(**saved["variables"], **saved["optimizer"])

    def _restore(self, step: int, **like: Any) -> dict[str, Any]:
        """{name: arrays} of parts of a checkpoint, found to be what was saved."""
        args = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        with self._reading(step):
            saved = self._manager.restore(step, args=ocp.args.Composite(**args))
            arrays = {name: saved[name] for name in like}
            seal.check_arrays(self._record(step), arrays)
        return arrays

    def resume(
        self, same_run: Callable[[dict[str, Any]], None], like: Callable[[], TrainState]
    ) -> TrainState | None:
        """The newest state that is whole; what is damaged is named, and moved aside.

        Args:
          same_run: given a checkpoint's `run`; raises where it is of another one.
          like: makes what to shape and place the state as.

        Returns:
          None where there is no checkpoint.

        Raises:
          InputError: what `same_run` raises.
        """
        while (step := self.newest) is not None:
            run = self._whole(step, lambda step=step: self.run(step))
            if run is None:
                continue
            same_run(run)
            state = self._whole(step, lambda step=step: self.state(step, like()))
            if state is not None:
                return state
        return None

    def _whole(self, step: int, read: Callable[[], T]) -> T | None:
        """What `read` gives; None where it is damaged in any process, and is then set aside.

        Where `read` raises anything else in one process, all of them raise.
        """
        found, refusal, fault = None, None, "damaged elsewhere"
        try:
            found = read()
        except DamagedError as error:
            fault = error.fault
        except Exception as error:
            if hosts.is_lost(error):
                raise
            refusal = error
        if hosts.all_agree(found is not None):
            return found
        if not hosts.all_agree(refusal is None):
            place = self.directory / str(step)
            raise refusal or InputError(f"another process cannot read {place}: see its message")
        self._set_aside(step, fault)
        return None

    def _set_aside(self, step: int, fault: str) -> None:
        kept = self.directory.with_name("damaged")
        if hosts.is_first():
            kept.mkdir(exist_ok=True)
            number = sum(1 for _ in kept.glob(f"{step}-*"))
            place = kept / f"{step}-{number}"
            os.replace(self.directory / str(step), place)
            say(f"{fault}; moved to {place}, going on without it")
        hosts.wait_for_all(f"checkpoint {step} set aside")
        self._figures.pop(step, None)
        self._manager.reload()

    def _record(self, step: int) -> dict[str, Any]:
        saved = self._manager.restore(step, args=ocp.args.Composite(run=_RecordRestore()))
        record = dict(saved["run"])
        seal.check_record(record, self.directory / str(step))
        return record

    def _reading(self, step: int) -> AbstractContextManager[None]:
        """What goes wrong in here says that a checkpoint is damaged, where it can be read."""
        place = self.directory / str(step)

        def fault(why: str) -> InputError:
            unread = unreadable(place)
            if unread is None:
                return DamagedError(f"checkpoint {place} is damaged ({why})")
            return InputError(
                f"cannot read {unread.filename} ({unread.strerror}): check its permissions and the "
                "disk; the checkpoint stays where it is"
            )

        # Orbax and TensorStore have a dozen types for it.
        return _raising(fault, (Exception,), _says_nothing_of_files)

    def _writing(self, what: str) -> AbstractContextManager[None]:
        """What goes wrong in here says that the disk cannot be written."""
        advice = (
            "check its permissions and the free space; the same command goes on from the last "
            "complete checkpoint"
        )
        return _raising(
            lambda why: InputError(f"cannot {what} under {self.directory} ({why}): {advice}"),
            (OSError, ValueError, RuntimeError),
        )


@contextlib.contextmanager
def _raising(
    make: Callable[[str], InputError],
    kinds: tuple[type[Exception], ...],
    stays: Callable[[Exception], bool] = hosts.is_lost,
) -> Iterator[None]:
    """Raise what `make` makes of the cause of an error of `kinds`, unless it `stays` as it is."""
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        if stays(error):
            raise
        raise make(shorten(error)) from error


def _says_nothing_of_files(error: Exception) -> bool:
    """Whether another process is lost, or this one has no memory left to read to."""
    return hosts.is_lost(error) or isinstance(error, MemoryError) or is_out_of_memory(error)


class DamagedError(InputError):
    """A checkpoint is not what was saved: `fault` says which, and how that shows."""

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"{fault}: give another --checkpoint, or train on, which sets it aside and goes on "
            "from an older one"
        )
        self.fault = fault


class _RecordHandler(ocp.JsonCheckpointHandler):
    """A record as JSON that is made while the arrays beside it are written."""

    async def async_save(
        self, directory: Any, item: Any = None, args: Any = None
    ) -> list[Future] | None:
        async def write() -> None:
            if hosts.is_first():
                (directory / "metadata").write_text(json.dumps(args.make()))

        return [CommitFutureAwaitingContractedSignals(write(), name="record")]

    def restore(self, directory: Any, item: Any = None, args: Any = None) -> Any:
        return read_json(Path(directory) / "metadata", LARGE)


@ocp.args.register_with_handler(_RecordHandler, for_save=True)
@dataclasses.dataclass
class _RecordSave(ocp.args.CheckpointArgs):
    make: Callable[[], dict[str, Any]]


@ocp.args.register_with_handler(_RecordHandler, for_restore=True)
@dataclasses.dataclass
class _RecordRestore(ocp.args.CheckpointArgs):
    pass


@dataclasses.dataclass
class _Keep(PreservationPolicy):
    """Keeps the checkpoints of the steps that `steps` gives."""

    steps: Callable[[], set[int | None]]

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        steps = self.steps()
        return [info.step in steps for info in checkpoints]
