"""Measure how long the devices of a run wait for data."""

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
    """Measures the seconds between the end of a step and the arrival of the next batch.

    The host runs ahead of its devices, so no time is lost if it waits for a batch while they still
    compute. Therefore a thread notes when each step ends. The lost time is reported at the end of
    an epoch.
    """

    def __init__(
        self, log: RunLog, start: int, steps_per_epoch: int, every: int, advice: str
    ) -> None:
        """Report lost time to `log` from step `start` on, at least `every` steps apart.

        Args:
          log: the run's log.
          start: steps already taken.
          steps_per_epoch: steps after which a report is due.
          every: least number of steps between reports.
          advice: what to do if much time is lost; may be empty.
        """
        self._log, self._said, self._advice = log, start, advice
        self._per_epoch, self._every = steps_per_epoch, every
        self._steps: SimpleQueue[tuple[Metrics, Future[float]] | None] = SimpleQueue()
        self._last: Future[float] | None = None
        # Per batch: the time of the request, of its arrival, and of the end of the step before.
        self._batches: list[tuple[float, float, Future[float]]] = []

    def __enter__(self) -> Self:
        # A daemon, so that the process can end even if a step never does.
        threading.Thread(target=self._note, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.put(None)

    def _note(self) -> None:
        while (step := self._steps.get()) is not None:
            metrics, ended = step
            try:
                ended.set_result(_ended(metrics))
            except Exception as error:  # `result()` raises it again
                ended.set_exception(error)

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass on the batches, and note how long each took."""
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
        """Have the end of this step noted. At the end of an epoch or the run, report lost time."""
        self._last = Future()
        self._steps.put((now.metrics, self._last))
        over = now.step % self._per_epoch == 0 and now.step - self._said >= self._every
        if over or now.step == now.steps:
            self._log.waited(now.step, now.step / self._per_epoch, self.take(), self._advice)
            self._said = now.step

    def take(self) -> float:
        """Seconds lost since the last call. Waits for all steps except the newest.

        The first batch of a run does not count, because no step precedes it.
        """
        taken, self._batches = self._batches, []
        return sum(
            max(0.0, there - max(asked, step_before.result()))
            for asked, there, step_before in taken
        )


def _ended(metrics: Metrics) -> float:
    jax.block_until_ready(metrics)
    return time.perf_counter()
