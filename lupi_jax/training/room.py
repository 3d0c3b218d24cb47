"""Whether a step fits into memory, judged by its compiled program before it first runs."""

from typing import Any

import jax

from lupi_jax.errors import InputError
from lupi_jax.runtime.memory import free_memory
from lupi_jax.runtime.terminal import say

LOWER = (
    "lower batch.identities, batch.images or data.image_size, take a smaller model.backbone, or "
    "more devices"
)
"""What makes a step smaller."""

ON_CPU = 1.5
"""How many times what XLA counts a step takes on a CPU, whose libraries need room of their own.

A ResNet-50's step at 288 x 144 took 17.5 GB where XLA counts 11.7.
"""


def check_room(analysis: Any) -> None:
    """Warn where a step takes more memory than a CPU has free; refuse it where a device has less.

    Args:
      analysis: XLA's memory analysis of the compiled step, of one device; None where it has none.

    Raises:
      InputError: the step takes more than the whole memory of a device.
    """
    if analysis is None:
        return
    devices = jax.local_devices()
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        if (size := needed(analysis)) > limit:
            raise InputError(
                f"a step takes {size / 1e9:.1f} GB, and a {devices[0].device_kind} has "
                f"{limit / 1e9:.1f} GB to give: {LOWER}"
            )
        return
    # What the step is given is in memory already, and no longer counts as free.
    counted = len(devices) * (needed(analysis) - analysis.argument_size_in_bytes)
    more = ON_CPU * counted
    free = free_memory() if devices[0].platform == "cpu" else None
    if free is not None and more > free:
        say(
            f"warning: a step takes about {more / 1e9:.1f} GB more memory, and {free / 1e9:.1f} GB "
            f"are free: the system may kill the run without a word (status 137); {LOWER}"
        )


def needed(analysis: Any) -> int:
    """The bytes on one device of a program's arguments, results and working memory."""
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
