"""Checkpoints of a run. Only this module imports Orbax."""

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
from absl import logging as absl_logging
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
from lupi_jax.training.step import BESIDE, TrainState

BEST = "mean_ap"
"""The validation figure that chooses the best checkpoint."""

_ITEMS = ("variables", "optimizer", *BESIDE, "run")

T = TypeVar("T")


class Checkpoints:
    """The checkpoints under `<workdir>/checkpoints`.

    A checkpoint holds the state, the record that rebuilds the run, and validation figures. The
    newest `keep` checkpoints stay, and the one with the best validation mAP if any was validated.
    A checkpoint appears under its step only when it is complete. It holds a hash of all its
    contents, so that a damaged one is never used. All processes of a run share the directory, and
    take part in saving and restoring.
    """

    def __init__(self, workdir: str | Path, keep: int = 2, read_only: bool = False) -> None:
        """Open the checkpoints of `workdir`; create their directory unless `read_only`.

        Raises:
          InputError: `read_only` is set and the checkpoints are missing; or the directory cannot
            be made, or Orbax would change its name.
        """
        workdir = expand(workdir)
        check_name(workdir)
        self.directory = workdir.absolute() / "checkpoints"
        if read_only and not self.directory.is_dir():
            raise InputError(
                f"no checkpoint under {workdir}: give the --workdir of a `lupi train` run"
            )
        self._figures: dict[int, dict[str, float]] = {}
        # Checkpoints that cannot be read stay, because one may hold the best figures.
        self._unread: set[int] = set()
        policy = AnyPreservationPolicy([LatestN(keep), _Keep(lambda: {self.best, *self._unread})])
        with self._writing("open the checkpoints"), _unremarked():
            if not read_only:
                self.directory.mkdir(parents=True, exist_ok=True)  # Orbax takes a file for it
            options = ocp.CheckpointManagerOptions(
                preservation_policy=policy, read_only=read_only, create=False
            )
            self._manager = ocp.CheckpointManager(
                self.directory, options=options, item_names=_ITEMS
            )
        # Read now, because later reading would wait for a save and raise the save's errors.
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
        """Step of the newest checkpoint, or None without checkpoints."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the best validation mAP, or None without validation."""
        figures = {step: self.figures(step).get(BEST) for step in self._manager.all_steps()}
        validated = {step: value for step, value in figures.items() if value is not None}
        return max(validated, key=lambda step: validated[step], default=None)

    def find(self, which: str | int) -> int:
        """Find the step of a checkpoint named "newest", "best" or by its step.

        Raises:
          InputError: the checkpoint does not exist. The message lists the existing ones.
        """
        steps = self._manager.all_steps()
        named = {"newest": self.newest, "best": self.best, **{str(step): step for step in steps}}
        step = named.get(str(which))
        if step is None:
            reason = "no step has validation figures" if which == "best" else "no such step"
            raise InputError(
                f"{self.directory}: no checkpoint {which!r} ({reason}): give one of "
                f"{', '.join(map(str, steps))}"
            )
        return step

    def figures(self, step: int) -> dict[str, float]:
        """The validation figures of a checkpoint, {} if it is damaged or was not validated."""
        return self._figures.get(step, {})

    def save(self, state: TrainState, run: dict[str, Any], figures: dict[str, float]) -> None:
        """Save in the background.

        The caller waits until the save before has ended and the arrays are copied to the host's
        memory. Other threads hash and write them. The next step may then reuse the memory of
        `state`.

        Args:
          state: the state to save, under its step.
          run: plain values that rebuild the run.
          figures: validation figures of this state, {} without a validation.

        Raises:
          InputError: this checkpoint, or the one before it, cannot be written.
        """
        arrays = _items(state)
        # One process writes the record, and hashes the arrays after the next step replaced them.
        # On a CPU they are views of the device's memory, and JAX then does not reuse that memory.
        kept = jax.device_get(arrays) if hosts.is_first() else {}

        self._figures[int(state.step)] = figures
        with self._writing(f"save step {int(state.step)}"):
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
                    run=_RecordSave(lambda: seal.make_record(run, figures, kept)),
                ),
            )

    def wait(self) -> None:
        """Wait until the last save is on disk.

        Raises:
          InputError: the checkpoint cannot be written.
        """
        with self._writing("save"):
            self._manager.wait_until_finished()

    def run(self, step: int) -> dict[str, Any]:
        """The `run` that `save` was given.

        Raises:
          InputError: a newer or much older version of this package made the checkpoint, or the
            checkpoint is damaged.
        """
        with self._reading(step):
            return seal.run_of(self._record(step))

    def variables(self, step: int, like: Any) -> Any:
        """Restore only the network's variables, with the shapes and placement of `like`.

        Raises:
          InputError: the checkpoint is damaged.
        """
        return self._restore(step, variables=like)["variables"]

    def state(self, step: int, like: TrainState) -> TrainState:
        """Restore the whole state, with the shapes and placement of `like`.

        Raises:
          InputError: the checkpoint is damaged.
        """
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        saved = self._restore(step, **_items(like))
        beside = {name: saved[name] for name in like.beside}
        return TrainState(**saved["variables"], **saved["optimizer"], beside=beside)

    def beside(self, step: int, name: str, like: Any) -> Any:
        """Restore parameters that only training needs, with the shapes and placement of `like`.

        Args:
          step: the checkpoint's step.
          name: one of `step.BESIDE`.
          like: shapes, dtypes and placement.

        Raises:
          InputError: the checkpoint is damaged.
        """
        return self._restore(step, **{name: like})[name]

    def _restore(self, step: int, **like: Any) -> dict[str, Any]:
        """Restore {name: arrays} of parts of a checkpoint, and check them against their hashes."""
        args = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        with self._reading(step):
            saved = self._manager.restore(step, args=ocp.args.Composite(**args))
            arrays = {name: saved[name] for name in like}
            seal.check_arrays(self._record(step), arrays)
        return arrays

    def resume(
        self, same_run: Callable[[dict[str, Any]], None], like: Callable[[], TrainState]
    ) -> TrainState | None:
        """Restore the newest undamaged state. Damaged checkpoints are named and moved aside.

        Args:
          same_run: checks a checkpoint's `run`, and raises an error if it belongs to another run.
          like: returns shapes and placement for the state.

        Returns:
          The state, or None without a checkpoint.

        Raises:
          InputError: `same_run` raised it.
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
        """Return the result of `read`. If any process finds damage, set the checkpoint aside.

        If `read` raises any other error in one process, all processes raise an error.

        Returns:
          The result, or None for a damaged checkpoint.
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
            raise refusal or InputError(f"another process cannot read {place}: read its message")
        self._set_aside(step, fault)
        return None

    def _set_aside(self, step: int, fault: str) -> None:
        kept = self.directory.with_name("damaged")
        if hosts.is_first():
            kept.mkdir(exist_ok=True)
            number = sum(1 for _ in kept.glob(f"{step}-*"))
            place = kept / f"{step}-{number}"
            os.replace(self.directory / str(step), place)
            say(f"{fault}: moved it to {place}, and going on without it")
        hosts.wait_for_all(f"checkpoint {step} set aside")
        self._figures.pop(step, None)
        self._manager.reload()

    def _record(self, step: int) -> dict[str, Any]:
        saved = self._manager.restore(step, args=ocp.args.Composite(run=_RecordRestore()))
        record = dict(saved["run"])
        seal.check_record(record, self.directory / str(step))
        return record

    def _reading(self, step: int) -> AbstractContextManager[None]:
        """Report errors in this block as damage, if the checkpoint's files can be read."""
        place = self.directory / str(step)

        def fault(why: str) -> InputError:
            unread = unreadable(place)
            if unread is None:
                return DamagedError(f"checkpoint {place} is damaged ({why})")
            return InputError(
                f"cannot read {unread.filename} ({unread.strerror}): check its permissions and the "
                "disk; the checkpoint stays where it is"
            )

        # Orbax and TensorStore have a dozen types of errors for damage.
        return _raising(fault, (Exception,), _says_nothing_of_files)

    def _writing(self, what: str) -> AbstractContextManager[None]:
        """Report errors in this block as a disk that cannot be written."""
        advice = (
            "check its permissions and the free space; the same command goes on from the last "
            "complete checkpoint"
        )
        return _raising(
            lambda why: InputError(f"cannot {what} under {self.directory} ({why}): {advice}"),
            (OSError, ValueError, RuntimeError),
        )


def _items(state: TrainState) -> dict[str, Any]:
    """The arrays of a state, by the item of a checkpoint that holds them."""
    return {
        "variables": state.variables,
        "optimizer": {"step": state.step, "opt_state": state.opt_state},
        **state.beside,
    }


@contextlib.contextmanager
def _unremarked() -> Iterator[None]:
    """Silence Orbax's warning about a directory that is only read."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(min(before, absl_logging.ERROR))
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)


@contextlib.contextmanager
def _raising(
    make: Callable[[str], InputError],
    kinds: tuple[type[Exception], ...],
    stays: Callable[[Exception], bool] = hosts.is_lost,
) -> Iterator[None]:
    """Raise `make(cause)` in place of an error of `kinds`, unless `stays` keeps that error."""
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        if stays(error):
            raise
        raise make(shorten(error)) from error


def _says_nothing_of_files(error: Exception) -> bool:
    """Whether the error means that another process is lost, or that memory is exhausted."""
    return hosts.is_lost(error) or isinstance(error, MemoryError) or is_out_of_memory(error)


class DamagedError(InputError):
    """A checkpoint differs from what was saved. `fault` names it and the difference."""

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"{fault}: give another --checkpoint, or resume training, which sets it aside and uses "
            "an older one"
        )
        self.fault = fault


class _RecordHandler(ocp.JsonCheckpointHandler):
    """Writes a record as JSON, which is made while the arrays beside it are written."""

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
    """Keeps the checkpoints of the steps that `steps` returns."""

    steps: Callable[[], set[int | None]]

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        steps = self.steps()
        return [info.step in steps for info in checkpoints]
