"""A trace of some steps, and how much of the device they use."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from lupi_jax.training.step import Metrics

FIRST = 3
"""The first step that is traced: those before it compile, and fill the feed."""

PEAKS = {
    "V100": (125e12, 0.9e12),
    "A100": (312e12, 2.04e12),
    "H100": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
    "TPU v4": (275e12, 1.2e12),
    "TPU v5 lite": (197e12, 0.82e12),
    "TPU v5": (459e12, 2.77e12),
    "TPU v6 lite": (918e12, 1.64e12),
}
"""{what a device's name holds: (bfloat16 or float16 operations, bytes of its memory) a second}.

By their makers' data sheets, of the largest form of each. Longer names come before what they hold.
"""


def peaks_of(kind: str) -> tuple[float, float] | None:
    """The entry of `PEAKS` for a device's kind, None for an unknown one."""
    return next((peak for name, peak in PEAKS.items() if name in kind), None)


class Profile:
    """Traces `count` steps of a run into `folder`, for TensorBoard's profile page.

    Of several processes each traces itself, into a folder in there.
    """

    def __init__(self, folder: Path, start: int, count: int, images: int) -> None:
        """Trace from the third step after `start`; `images` are read by one. 0 steps trace none."""
        self._folder, self._images, self._count = folder, images, count
        self._first, self._last = start + FIRST, start + FIRST + count - 1
        self._clock: float | None = None

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._clock is not None:
            jax.profiler.stop_trace()

    def before(self, step: int, state: Any) -> None:
        """Step `step` is about to be taken, of `state`."""
        if self._count and step == self._first:
            jax.block_until_ready(state)
            several = jax.process_count() > 1
            own = self._folder / f"process-{jax.process_index()}" if several else self._folder
            jax.profiler.start_trace(own)
            self._clock = time.perf_counter()

    def after(
        self, step: int, metrics: Metrics, cost: Callable[[], Mapping[str, float]]
    ) -> str | None:
        """Step `step` has been started; says what was seen once it is the last to be traced.

        Args:
          step: its number.
          metrics: of it.
          cost: gives XLA's cost analysis of the step, of one device.
        """
        if self._clock is None or step != self._last:
            return None
        jax.block_until_ready(metrics)
        seconds = (time.perf_counter() - self._clock) / self._count
        jax.profiler.stop_trace()
        self._clock = None
        found = cost()
        kind = jax.devices()[0].device_kind
        peaks = peaks_of(kind) or (None, None)
        rates = (
            (found.get("flops", 0.0) / seconds, 1e12, "TFLOP/s"),
            (found.get("bytes accessed", 0.0) / seconds, 1e9, "GB/s"),
        )
        used = ", ".join(
            f"{rate / scale:.2f} {unit}" + (f" ({rate / peak:.0%} of its peak)" if peak else "")
            for (rate, scale, unit), peak in zip(rates, peaks, strict=True)
        )
        return (
            f"steps {self._first} to {self._last}: {seconds:.4f} s each, "
            f"{self._images / seconds:.1f} images/s; by XLA's count a {kind} does {used}; "
            f"see: tensorboard --logdir {self._folder}"
        )
