"""The process's memory where JAX computes on the CPU."""

import ctypes
import importlib.util
from importlib.metadata import entry_points

import jax

# Options of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


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
