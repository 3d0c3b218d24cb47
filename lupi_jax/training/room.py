"""Check by the compiled program whether a step fits into memory, before it first runs."""

from typing import Any

import jax

from lupi_jax.errors import InputError
from lupi_jax.runtime.memory import free_memory
from lupi_jax.runtime.terminal import say

LOWER = (
    "lower batch.identities, batch.images or data.image_size, or use a smaller model.backbone or "
    "more devices"
)
"""Advice for a step that is too large."""

ON_CPU = 1.5
"""Memory of a step on a CPU, relative to XLA's count. The CPU's libraries need more.

A ResNet-50's step at 288 x 144 took 17.5 GB, and XLA counts 11.7 GB.
"""


def check_room(analysis: Any) -> None:
    """Check that a step fits into memory.

    On a CPU this warns if the step needs more than the free memory. On another device it raises an
    error if the step needs more than the device has.

    Args:
      analysis: XLA's memory analysis of the compiled step on one device; None checks nothing.

    Raises:
      InputError: the step needs more than the whole memory of a device.
    """
    if analysis is None:
        return
    devices = jax.local_devices()
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        if (size := needed(analysis)) > limit:
            raise InputError(
                f"a step needs {size / 1e9:.1f} GB, but a {devices[0].device_kind} has only "
                f"{limit / 1e9:.1f} GB: {LOWER}"
            )
        return
    # The step's arguments are in memory already, and no longer count as free.
    counted = len(devices) * (needed(analysis) - analysis.argument_size_in_bytes)
    more = ON_CPU * counted
    free = free_memory() if devices[0].platform == "cpu" else None
    if free is not None and more > free:
        say(
            f"warning: a step needs about {more / 1e9:.1f} GB more memory, but only "
            f"{free / 1e9:.1f} GB are free, so the system may kill the run (status 137): {LOWER}"
        )


def needed(analysis: Any) -> int:
    """Bytes of a program's arguments, results and working memory on one device."""
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
