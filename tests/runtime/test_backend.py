"""How JAX's backend starts, and what is said where it cannot."""

import os
import subprocess
import sys
from collections.abc import Callable
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
    assert line.startswith("lupi: JAX_PLATFORMS=cuda: JAX finds no cuda device")
    assert "run pip install -U 'jax[cuda13]', or unset JAX_PLATFORMS" in line


@pytest.mark.parametrize(
    ("platform", "remedy"),
    [
        ("gpu", "pip install -U 'jax[cuda13]'"),
        ("tpu", "pip install -U 'jax[tpu]'"),
        ("banana", "banana is unknown; give cpu, cuda, rocm or tpu"),
    ],
)
def test_each_missing_backend_has_its_remedy(platform: str, remedy: str) -> None:
    said = backend.explain_start(RuntimeError("not found"), platform)
    assert said.startswith(f"JAX_PLATFORMS={platform}: ")
    assert remedy in said


def test_of_several_platforms_the_missing_one_is_named() -> None:
    error = RuntimeError("Unable to initialize backend 'tpu': no libtpu.so")
    said = backend.explain_start(error, "cpu,tpu")
    assert said.startswith("JAX_PLATFORMS=cpu,tpu: JAX finds no tpu device or backend here")
    assert "jax[tpu]" in said


def test_commands_without_a_device_start_no_backend(people: Path) -> None:
    command = [*LUPI, "check-data", "--data", "folder", "--root", str(people)]
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    few = "batch.identities = 16 is more than the 8 training identities: lower it"
    said = f"note: in configs/folder.py {few}\n{people}: nothing wrong\n"
    assert (ended.returncode, ended.stderr) == (0, said)


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


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """Starts the backend as if for the first time: (platforms asked for, is there a card)."""
    updates: list[str] = []

    def start(asked: str, card: bool) -> list[str]:
        (tmp_path / ("nvidia0" if card else "nvidiactl")).touch()
        config = SimpleNamespace(
            jax_platforms=asked, update=lambda name, value: updates.append(value)
        )
        monkeypatch.setattr(backend, "DEVICES", tmp_path)
        monkeypatch.setattr(backend, "_started", False)
        monkeypatch.setattr(backend, "keep_pages", lambda: None)
        default = "gpu" if asked.startswith("cuda") else "cpu"
        monkeypatch.setattr(
            backend, "jax", SimpleNamespace(config=config, default_backend=lambda: default)
        )
        backend.start_backend()
        backend.start_backend()  # says nothing more
        return updates

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return start


@pytest.mark.parametrize(
    ("asked", "card", "visible", "warned"),
    [
        ("", True, None, True),
        ("", False, None, False),
        ("", True, "", False),
        ("", True, "-1", False),
        ("", True, "0", True),
        ("cpu", True, None, False),
    ],
)
def test_a_gpu_that_jax_does_not_use_is_a_warning(
    asked: str,
    card: bool,
    visible: str | None,
    warned: bool,
    start: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    start(asked, card)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == warned
    assert all("has an NVIDIA GPU" in line and "jax[cuda13]" in line for line in lines)


def test_a_plug_in_that_does_not_start_is_no_missing_one(
    start: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(backend, "has_plugins", lambda: True)
    start("", card=True)
    said = capsys.readouterr().err
    assert "nvidia-smi" in said
    assert "pip install" not in said


@pytest.mark.parametrize(
    ("asked", "updates"), [("cuda", ["cuda,cpu"]), ("cpu", []), ("cpu,cuda", []), ("", [])]
)
def test_the_cpu_draws_the_weights_on_every_platform(
    asked: str, updates: list[str], start: Callable[..., list[str]]
) -> None:
    assert start(asked, card=False) == updates
