"""What a hook of the training loop is: it sees every step, and may ask the run to stop."""

import dataclasses
from typing import Self

from lupi_jax.training.step import Metrics, TrainState


@dataclasses.dataclass
class Moment:
    """A step that the devices have been given, as one hook after the other sees it.

    Attributes:
      step: its number, from 1.
      steps: the number of the run's last step.
      state: what the step leaves. The next step reuses its memory, so copy what you keep.
      metrics: what `train_step` says of the step, still on the device. To fetch them here
        makes the host wait for the step.
      figures: of a validation of this very state, {} without one.
      stop: whether the run is to be saved and stopped here; a hook sets it.
    """

    step: int
    steps: int
    state: TrainState
    metrics: Metrics
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    stop: bool = False

    def due(self, every: int) -> bool:
        """Whether to do now what is done every `every` steps (never for 0) and after the last."""
        return self.step == self.steps or (every > 0 and self.step % every == 0)


class Hook:
    """What is done beside the steps of a run. This one does nothing: override what you need.

    The loop opens its hooks with `with` in their order, closes them in the reverse order whatever
    happens, and calls `before` and `after` of each around every step, in their order. A hook that
    sets `stop` therefore stands before the one that saves.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def before(self, step: int, state: TrainState) -> None:
        """Step number `step` is about to use up `state`."""

    def after(self, now: Moment) -> None:
        """The devices have been given the step that `now` describes."""
