"""Hooks of the training loop, which see every step and may ask the run to stop."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from lupi_jax.training.step import Metrics, TrainState


@dataclasses.dataclass
class Moment:
    """A step that the devices have been given, as the hooks see it one after the other.

    Attributes:
      step: its number, from 1.
      steps: the number of the run's last step.
      state: the state after the step. The next step reuses its memory, so copy what you keep.
      metrics: the step's metrics from `train_step`, still on the device. Fetching them here makes
        the host wait for the step.
      figures: validation figures of this state, {} without a validation.
      stop: whether to save and stop the run. A hook sets it. A run of several processes stops if
        one of them wants to, all after the same step, which may be a few steps later.
    """

    step: int
    steps: int
    state: TrainState
    metrics: Metrics
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    stop: bool = False

    def due(self, every: int) -> bool:
        """Whether an action is due that happens every `every` steps (0: never) and at the end."""
        return self.step == self.steps or (every > 0 and self.step % every == 0)


class Hook:
    """Work beside the steps of a run. This class does nothing; override the methods you need.

    The loop opens its hooks with `with` in their order, and closes them in the reverse order
    whatever happens. It calls `before` and `after` of all hooks around every step, in their order.
    In a run of several processes every process has hooks of its own, and any of them may set
    `stop`. To stop because of a row of the log, remember that in `logged`, and set `stop` in
    `after`. An error ends the run at once, without saving; other processes then end as if this one
    were lost.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def before(self, step: int, state: TrainState) -> None:
        """Called before step number `step`, which reuses the memory of `state`."""

    def after(self, now: Moment) -> None:
        """Called after the devices have been given the step that `now` describes."""

    def logged(self, row: Mapping[str, Any]) -> None:
        """Called after a row was added to `metrics.jsonl`, in the first process only.

        Args:
          row: {"step": number, "split": "train" or "validation", figure: number}. A row of the
            split "train" holds means over `log.every` steps, and comes a step later or more.
        """
