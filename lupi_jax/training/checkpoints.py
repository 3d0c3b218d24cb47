"""Checkpoints of a run; the only module that imports Orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from lupi_jax.errors import InputError
from lupi_jax.training.state import TrainState

FORMAT = 1
BEST = "mean_ap"


class Checkpoints:
    """The checkpoints under `<workdir>/checkpoints`: state, what rebuilds it, validation figures.

    The newest `keep` stay, and the one of the best validation mAP where there are such figures.
    A checkpoint appears under its step only when it is complete.
    """

    def __init__(self, workdir: str | Path, keep: int = 2, read_only: bool = False) -> None:
        """Open the checkpoints of `workdir`; create their directory unless `read_only`.

        Raises:
          InputError: `read_only`, and there is no checkpoint.
        """
        self.directory = Path(workdir).absolute() / "checkpoints"
        if read_only and not self.directory.is_dir():
            raise InputError(
                f"no checkpoint under {workdir}: give the --workdir of a `lupi train` run"
            )
        policy = AnyPreservationPolicy(
            [
                LatestN(keep),
                BestN(
                    get_metric_fn=lambda figures: figures[BEST],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=lambda figures: figures[BEST],
            read_only=read_only,
            create=not read_only,
        )
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_names=("variables", "optimizer", "run")
        )
        if read_only and self.newest is None:
            raise InputError(f"no complete checkpoint under {workdir}: train there first")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
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
        step = {"newest": self.newest, "best": self.best}.get(str(which))
        if str(which).isdecimal() and int(which) in steps:
            step = int(which)
        if step is None:
            reason = "no step has validation figures" if which == "best" else "no such step"
            raise InputError(
                f"{self.directory}: no checkpoint {which!r} ({reason}; there are: "
                f"{', '.join(map(str, steps))})"
            )
        return step

    def figures(self, step: int) -> dict[str, float]:
        """The validation figures saved with a checkpoint, {} for none."""
        return dict(self._manager.metrics(step) or {})

    def save(self, state: TrainState, run: dict[str, Any], figures: dict[str, float]) -> None:
        """Save in the background.

        Args:
          state: what to save, under its step.
          run: plain values that say how to rebuild the run.
          figures: validation figures of this very state, {} for none.
        """
        optimizer = {"step": state.step, "opt_state": state.opt_state}
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(state.variables),
                optimizer=ocp.args.StandardSave(optimizer),
                run=ocp.args.JsonSave({"format": FORMAT, **run}),
            ),
            metrics=figures or None,
        )

    def wait(self) -> None:
        """Wait until what is being saved is on disk."""
        self._manager.wait_until_finished()

    def run(self, step: int) -> dict[str, Any]:
        """What `save` was given as `run`.

        Raises:
          InputError: the checkpoint was made by a newer version of this package.
        """
        saved = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))
        run = dict(saved["run"])
        if run.pop("format") > FORMAT:
            raise InputError(f"{self.directory / str(step)} was made by a newer lupi_jax: upgrade")
        return run

    def variables(self, step: int, like: Any) -> Any:
        """The network's variables alone, shaped and placed as `like`."""
        args = ocp.args.Composite(variables=ocp.args.StandardRestore(like))
        return self._manager.restore(step, args=args)["variables"]

    def state(self, step: int, like: TrainState) -> TrainState:
        """The whole state, shaped and placed as `like`."""
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(
            variables=ocp.args.StandardRestore(like.variables),
            optimizer=ocp.args.StandardRestore({"step": like.step, "opt_state": like.opt_state}),
        )
        saved = self._manager.restore(step, args=args)
        return TrainState(**saved["variables"], **saved["optimizer"])
