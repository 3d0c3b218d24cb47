"""How JAX's backend starts, and what is said where it cannot."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lupi_jax.runtime import backend

LUPI = [sys.executable, "-c", "import sys; from lupi_jax.cli import main; sys.exit(main())"]


@pytest.mark.skipif(backend.jax.default_backend() != "cpu", reason="this machine has one")
def test_a_missing_backend_is_one_line(people: Path) -> None:
    command = [*LUPI, "train", "--config", "configs/folder.py", "--workdir", "run",
               f"--config.data.root={people}"]  # fmt: skip
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("lupi: JAX_PLATFORMS=cuda: JAX finds no such device or backend here (")
    assert "run pip install -U 'jax[cuda13]' or 'jax[tpu]', or unset JAX_PLATFORMS" in line


def test_a_missing_backend_is_named_with_its_remedy() -> None:
    error = RuntimeError("Unable to initialize backend 'tpu': no libtpu.so")
    assert backend.explain_start(error, "cpu,tpu") == (
        "JAX_PLATFORMS=cpu,tpu: JAX finds no such device or backend here (Unable to initialize "
        "backend 'tpu': no libtpu.so); run pip install -U 'jax[cuda13]' or 'jax[tpu]', or unset "
        "JAX_PLATFORMS"
    )
    assert backend.explain_start(AssertionError(), "") == (
        "JAX cannot start (AssertionError): check its installation"
    )


def test_commands_without_a_device_start_no_backend(people: Path) -> None:
    command = [*LUPI, "check-data", "--data", "folder", "--root", str(people)]
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (ended.returncode, ended.stderr) == (0, f"{people}: nothing wrong\n")


@pytest.mark.parametrize(
    "text",
    [
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4294967296 bytes.",
        "INTERNAL: failed call to cuInit: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above.",
    ],
)
def test_a_gpu_that_another_process_holds_is_named(text: str) -> None:
    error = RuntimeError(f"Unable to initialize backend 'cuda': {text}")
    assert backend.is_out_of_memory(error)
    said = backend.explain_start(error, "cuda")
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in said
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in said


def test_other_faults_are_not_out_of_memory() -> None:
    assert not backend.is_out_of_memory(RuntimeError("INVALID_ARGUMENT: shapes do not match"))


@pytest.mark.parametrize(
    ("asked", "updates"), [("cuda", ["cuda,cpu"]), ("cpu", []), ("cpu,cuda", []), ("", [])]
)
def test_the_cpu_draws_the_weights_on_every_platform(
    asked: str, updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    config = SimpleNamespace(jax_platforms=asked, update=lambda name, value: given.append(value))
    default = "gpu" if asked.startswith("cuda") else "cpu"
    monkeypatch.setattr(backend, "_started", False)
    monkeypatch.setattr(backend, "keep_pages", lambda: None)
    monkeypatch.setattr(
        backend, "jax", SimpleNamespace(config=config, default_backend=lambda: default)
    )
    backend.start_backend()
    backend.start_backend()  # does nothing more
    assert given == updates
