"""That memory is kept between the calls of a program."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lupi_jax import cli
from lupi_jax.runtime import hosts, memory

# A product with a matrix of 64 MiB, 2^14 pages.
PROGRAM = """
import resource, sys
from lupi_jax.runtime.memory import keep_pages
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


# Threads that hold memory at the same time, each from a heap of its own where it may have one.
HEAPS = """
import ctypes, re, tempfile, threading
from lupi_jax.runtime.memory import keep_pages
keep_pages()

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
done = threading.Barrier(33)

def hold():
    libc.malloc(100_000)
    done.wait()

for _ in range(32):
    threading.Thread(target=hold, daemon=True).start()
done.wait()
with tempfile.NamedTemporaryFile("r") as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(len(re.findall("<heap nr", file.read())))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library")
@pytest.mark.parametrize(("platform", "several"), [("cuda", True), ("cpu", False)])
def test_off_the_cpu_threads_keep_their_heaps(platform: str, several: bool) -> None:
    # No such device is needed: the decision comes before JAX starts.
    process = subprocess.run(
        [sys.executable, "-c", HEAPS],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": platform},
    )
    heaps = int(process.stdout)
    assert heaps >= 8 if several else heaps == 1


def test_a_plug_in_for_another_device_leaves_the_heap_alone(tmp_path: Path) -> None:
    (tmp_path / "jax_plugins" / "xla_cuda13").mkdir(parents=True)
    code = "from lupi_jax.runtime.memory import computes_on_cpu; print(computes_on_cpu())"
    for extra, expected in (("", "True"), (str(tmp_path), "False")):
        env = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
        env["PYTHONPATH"] = os.pathsep.join(x for x in (extra, env.get("PYTHONPATH", "")) if x)
        found = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env
        )
        assert found.stdout.strip() == expected


def test_commands_set_the_heap_before_they_start_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(memory, "keep_pages", lambda: order.append("heap"))
    monkeypatch.setattr(hosts, "join", lambda *_, **__: order.append("join"))
    assert cli.main(["evaluate", "--workdir", "nowhere"]) == 2
    assert order == ["heap", "join"]
