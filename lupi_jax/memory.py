"""The process's memory where JAX computes on the CPU."""

import ctypes
import os

import jax

# Options of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_pages() -> None:
    """Have the C library keep freed memory for the next step, where JAX computes on the CPU.

    XLA allocates a program's working memory anew at each call, gigabytes in a ResNet-50's training
    step, and the C library would take it from the system and give it back each time. The system
    clears every page: about an eighth of that step (experiments/benchmarks/README.md). To be
    called before JAX has started its threads. The process's memory stays at its peak. Does nothing
    with a C library other than glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_ARENA_MAX, 1)  # only the main heap can grow to gigabytes, and threads keep theirs
    if jax.default_backend() != "cpu":
        mallopt(_ARENA_MAX, 8 * (os.cpu_count() or 1))  # glibc's own
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
    mallopt(_TOP_PAD, 2**30)
