"""The process's memory: how much it can still have, and how it is kept between steps."""

import ctypes
import importlib.util
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import jax

# Options of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8

_UNLIMITED = 1 << 60  # cgroups of version 1 have no word for it, but a number above this


def keep_pages() -> None:
    """Have the C library keep freed memory for the next step, where JAX computes on the CPU.

    XLA allocates a program's working memory anew at each call, gigabytes in a ResNet-50's training
    step, and the C library would take it from the system and give it back each time. The system
    clears every page: about an eighth of that step (experiments/benchmarks/README.md). Call this
    before JAX starts its threads. The process's memory stays at its peak.

    Changes nothing where JAX may compute on another device, and nothing with a C library other
    than glibc.
    """
    if not computes_on_cpu():
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_ARENA_MAX, 1)  # only the main heap can grow to gigabytes, and threads keep theirs
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
    mallopt(_TOP_PAD, 2**30)


def computes_on_cpu() -> bool:
    """Whether JAX is sure to compute on the CPU, without starting its backend.

    Asking JAX itself (`jax.default_backend`) starts threads, and glibc fixes the number of heaps
    when the first of them allocates. So this reads what JAX decides by: the platforms it is told
    to use, else the plug-ins for other devices that are installed.
    """
    platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not has_plugins()


def has_plugins() -> bool:
    """Whether a plug-in of JAX's for another device than the CPU is installed."""
    modules = any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))
    return modules or bool(entry_points(group="jax_plugins"))


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
