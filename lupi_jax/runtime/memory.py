"""Measure the free memory, and keep the process's memory between steps."""

import ctypes
import importlib.util
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import jax

# Options of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8

_UNLIMITED = 1 << 60  # cgroups of version 1 write a number above this for "unlimited"


def keep_pages() -> None:
    """Have the C library keep freed memory for the next step, if JAX computes on the CPU.

    XLA allocates a program's working memory anew at each call, gigabytes in a ResNet-50's training
    step. The C library would get it from the system and return it each time. The system clears
    every page, which takes about an eighth of that step (experiments/benchmarks/README.md). With
    this call the process's memory stays at its peak instead.

    Call this before JAX starts its threads. It does nothing if JAX may compute on another device,
    or if the C library is not glibc.
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
    when the first of them allocates. Therefore this reads the settings that JAX decides by: the
    platforms it is told to use, else the installed plug-ins for other devices.
    """
    platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not has_plugins()


def has_plugins() -> bool:
    """Whether a JAX plug-in for a device other than the CPU is installed."""
    modules = any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))
    return modules or bool(entry_points(group="jax_plugins"))


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process can still get, by the machine and its control groups.

    Args:
      root: the directory that holds Linux's `proc` and `sys`.

    Returns:
      The bytes, or None if the system does not say, as on systems other than Linux.
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
    """Folders of this process's control groups and of the groups above them.

    In a container the path that the system gives may be the host's. The container's own group is
    then the top one.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            top = root / "sys/fs/cgroup" / kinds
            own = top / path.lstrip("/")
            yield from (each for each in (own, *own.parents) if each.is_relative_to(top))


def _cached(folder: Path) -> int:
    """Bytes of cached files, which the system frees before it kills a process."""
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
