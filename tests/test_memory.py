"""That memory is kept between the calls of a program."""

import ctypes
import subprocess
import sys

import pytest

# A product with a matrix of 64 MiB, 2^14 pages.
PROGRAM = """
import resource, sys
from lupi_jax.memory import keep_pages
if sys.argv[1] == "keep":
    keep_pages()
import jax, jax.numpy as jnp

@jax.jit
def run(x):
    square = jax.lax.optimization_barrier(x[:, None] * x)
    return (square @ square[:, :256]).sum()

x = jnp.arange(2.0**12)
for _ in range(12):
    run(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    run(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_pages_are_asked_for_once() -> None:
    kept, left = faults("keep"), faults("leave")
    assert left >= 20 * 2**14
    assert kept < left / 2  # which thread's turn it is may make the heap grow once more
