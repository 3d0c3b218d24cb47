"""Whether a step fits into memory, judged by its compiled program before it first runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from lupi_jax.errors import InputError
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

_UNLIMITED = 1 << 60  # cgroups of version 1 have no word for it, but a number above this


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


def free_memory(root: Path = Path("/")) -> int | None:
    """The bytes that this process can still have, by the machine and by its control groups.

    Args:
      root: where Linux's `proc` and `sys` are.

    Returns:
      None where the system does not say, as on another one than Linux.
    """
    found = []
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    for folder in _groups(root):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None and most < _UNLIMITED:
                found.append(max(0, most - now + _cached(folder)))
    return min(found, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups and of those above them.

    In a container the path that the system gives may be the host's; its own group is the top one.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            top = root / "sys/fs/cgroup" / kinds
            own = top / path.lstrip("/")
            yield from (each for each in (own, *own.parents) if each.is_relative_to(top))


def _cached(folder: Path) -> int:
    """The bytes of files that the system gives back before it kills."""
    lines = (line.split() for line in _lines(folder / "memory.stat"))
    stats = {words[0]: int(words[1]) for words in lines if len(words) == 2}
    return stats.get("total_inactive_file", stats.get("inactive_file", 0))


def _number(file: Path) -> int | None:
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
