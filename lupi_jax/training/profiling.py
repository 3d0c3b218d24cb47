"""Trace some steps, and report how much the device does in them."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from lupi_jax.runtime.terminal import say
from lupi_jax.training.hooks import Hook, Moment
from lupi_jax.training.step import TrainState

FIRST = 3
"""The first step to trace. The two steps before it compile and fill the feed."""


class Profile(Hook):
    """Traces some steps of a run for TensorBoard's profile page, and says how fast they were."""

    def __init__(
        self,
        folder: Path,
        start: int,
        count: int,
        images: int,
        cost: Callable[[], Mapping[str, float]],
    ) -> None:
        """Trace `count` steps (0 for none) from the third after `start`.

        Args:
          folder: directory for the trace. With several processes, each has its own subdirectory.
          start: steps already taken.
          count: number of steps to trace.
          images: number of images that one step reads.
          cost: function that returns XLA's cost analysis of the step on one device.
        """
        self._folder, self._images, self._count, self._cost = folder, images, count, cost
        self._first, self._last = start + FIRST, start + FIRST + count - 1
        self._clock: float | None = None

    def __exit__(self, *_: object) -> None:
        if self._clock is not None:
            jax.profiler.stop_trace()

    def before(self, step: int, state: TrainState) -> None:
        """Begin the trace before its first step."""
        if self._count and step == self._first:
            jax.block_until_ready(state)
            several = jax.process_count() > 1
            own = self._folder / f"process-{jax.process_index()}" if several else self._folder
            jax.profiler.start_trace(own)
            self._clock = time.perf_counter()

    def after(self, now: Moment) -> None:
        """End the trace after its last step, and print the measured speed."""
        if self._clock is None or now.step != self._last:
            return
        jax.block_until_ready(now.metrics)
        seconds = (time.perf_counter() - self._clock) / self._count
        jax.profiler.stop_trace()
        self._clock = None
        cost = self._cost()
        operations, bytes_ = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
        say(
            f"steps {self._first} to {self._last}: {seconds:.4f} s each, "
            f"{self._images / seconds:.1f} images/s; by XLA's count a "
            f"{jax.devices()[0].device_kind} does {operations / seconds / 1e12:.2f} TFLOP/s, "
            f"{bytes_ / seconds / 1e9:.2f} GB/s; to see the trace: tensorboard --logdir "
            f"{self._folder}"
        )
