"""How JAX's backend starts, and what is said where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lupi_jax import backend

LUPI = [sys.executable, "-c", "import sys; from lupi_jax.cli import main; sys.exit(main())"]


@pytest.mark.skipif(backend.jax.default_backend() != "cpu", reason="this machine has one")
def test_a_missing_backend_is_one_line(people: Path) -> None:
    command = [*LUPI, "train", "--config", "configs/folder.py", "--workdir", "run",
               f"--config.data.root={people}"]  # fmt: skip
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("lupi: JAX_PLATFORMS=cuda: JAX finds no cuda device")
    assert "run pip install -U 'jax[cuda13]', or unset JAX_PLATFORMS" in line


@pytest.mark.parametrize(
    ("platform", "remedy"),
    [
        ("gpu", "pip install -U 'jax[cuda13]'"),
        ("tpu", "pip install -U 'jax[tpu]'"),
        ("banana", "the names are cpu, cuda, rocm and tpu"),
    ],
)
def test_each_missing_backend_has_its_remedy(
    platform: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_platforms", lambda: platform)
    said = backend.explain_start(RuntimeError("Unable to initialize backend 'x': not found"))
    assert said.startswith(f"JAX_PLATFORMS={platform}: ")
    assert remedy in said


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
    said = backend.explain_start(error)
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in said
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in said


def test_other_faults_are_not_out_of_memory() -> None:
    assert not backend.is_out_of_memory(RuntimeError("INVALID_ARGUMENT: shapes do not match"))


@pytest.mark.parametrize(
    ("card", "environment", "warned"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"CUDA_VISIBLE_DEVICES": ""}, False),
        (True, {"CUDA_VISIBLE_DEVICES": "-1"}, False),
        (True, {"CUDA_VISIBLE_DEVICES": "0"}, True),
    ],
)
def test_a_gpu_that_jax_does_not_use_is_a_warning(
    card: bool,
    environment: dict[str, str],
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ("nvidia0" if card else "nvidiactl")).touch()
    monkeypatch.setattr(backend, "DEVICES", tmp_path)
    monkeypatch.setattr(backend, "keep_pages", lambda: None)
    monkeypatch.setattr(backend.jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(backend, "_platforms", lambda: "")
    backend.start_backend()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == warned
    assert all("has an NVIDIA GPU" in line and "jax[cuda13]" in line for line in lines)


def test_who_asks_for_the_cpu_is_not_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(backend, "DEVICES", tmp_path)
    monkeypatch.setattr(backend, "keep_pages", lambda: None)
    monkeypatch.setattr(backend, "_platforms", lambda: "cpu")
    backend.start_backend()
    assert capsys.readouterr().err == ""
