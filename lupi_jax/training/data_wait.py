"""How long the devices of a run wait for its data."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Self

import jax

from lupi_jax.data import Batch
from lupi_jax.training.hooks import Hook, Moment
from lupi_jax.training.logging import RunLog
from lupi_jax.training.step import Metrics


class DataWait(Hook):
    """Measures the seconds in which a step was over and the next one's batch was not there.

    The host runs ahead of its devices: no time is lost while it waits for a batch and they still
    compute. So a thread notes when each step ends. What was lost is said at the end of an epoch.
    """

    def __init__(
        self, log: RunLog, start: int, steps_per_epoch: int, every: int, advice: str
    ) -> None:
        """Say to `log` what is lost from step `start` on, at least `every` steps apart."""
        self._log, self._said, self._advice = log, start, advice
        self._per_epoch, self._every = steps_per_epoch, every
        self._steps: SimpleQueue[tuple[Metrics, Future[float]] | None] = SimpleQueue()
        self._last: Future[float] | None = None
        # When a batch was asked for, when it came, and the end of the step before it.
        self._batches: list[tuple[float, float, Future[float]]] = []

    def __enter__(self) -> Self:
        # A daemon: where a step never ends the process has to end all the same.
        threading.Thread(target=self._note, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.put(None)

    def _note(self) -> None:
        while (step := self._steps.get()) is not None:
            metrics, ended = step
            try:
                ended.set_result(_ended(metrics))
            except Exception as error:  # raised where it is asked for
                ended.set_exception(error)

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; notes how long each took."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            there = time.perf_counter()
            if self._last is not None:
                self._batches.append((asked, there, self._last))
            yield batch

    def after(self, now: Moment) -> None:
        """Have the end of this step noted; where an epoch or the run is over, say what was lost."""
        self._last = Future()
        self._steps.put((now.metrics, self._last))
        over = now.step % self._per_epoch == 0 and now.step - self._said >= self._every
        if over or now.step == now.steps:
            self._log.waited(now.step, now.step / self._per_epoch, self.take(), self._advice)
            self._said = now.step

    def take(self) -> float:
        """Seconds lost since this was last asked for; waits for all steps but the newest.

        The first batch of a run has no step before it and does not count.
        """
        taken, self._batches = self._batches, []
        return sum(
            max(0.0, there - max(asked, step_before.result()))
            for asked, there, step_before in taken
        )


def _ended(metrics: Metrics) -> float:
    jax.block_until_ready(metrics)
    return time.perf_counter()
