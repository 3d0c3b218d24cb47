"""`python -m experiments.gpu`: parts that go wrong, what it writes, and the whole, tiny."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.gpu.__main__ import Run
from experiments.gpu.figures import Figure, Record, attempt
from experiments.gpu.page import page
from experiments.gpu.plan import PARTS
from experiments.gpu.running import reason, run_part
from experiments.gpu.setup import Setup
from experiments.gpu.trace import Kernel, by_kind

ROOT = Path(__file__).parents[2]

FAKE_PARTS = """
import os, subprocess, sys, time
from pathlib import Path
from experiments.gpu.figures import Figure, NotPossibleError, attempt, say

def good(setup):
    print("a library's chatter")
    os.system("echo a child\\'s chatter")
    say(Figure("speed", 5.0, "m/s", at_least=4))

def crashes(setup):
    say(Figure("speed", 1.0))
    raise RuntimeError("broken")

def aborts(setup):
    os.abort()

def hangs(setup):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(setup.scratch, "child").write_text(str(child.pid))
    say(Figure("speed", 1.0))
    time.sleep(60)

def impossible(setup):
    raise NotPossibleError("no such thing here")

def half(setup):
    attempt("first", lambda: 1 / 0)
    say(Figure("second", 2.0))
"""


@pytest.fixture
def fake_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    (tmp_path / "fake_parts.py").write_text(FAKE_PARTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(name: str, seconds: float = 60) -> tuple[str, str, list[Any]]:
        heard: list[Any] = []
        setup = Setup(str(tmp_path), str(tmp_path / "gpu.json"), True, seconds)
        status, why = run_part(f"fake_parts.{name}", setup, tmp_path / "log", heard.append)
        return status, why, [(m["name"], m["value"]) for m in heard]

    return run


def test_a_part_costs_itself_alone(fake_parts: Any) -> None:
    assert fake_parts("good") == ("done", "", [("speed", 5.0)])  # chatter does not count
    crashed = ("failed", "ended with status 1: RuntimeError: broken", [("speed", 1.0)])
    assert fake_parts("crashes") == crashed
    status, why, _ = fake_parts("aborts")
    assert status == "failed"
    assert why.startswith("ended with SIGABRT")
    assert fake_parts("impossible") == ("not possible", "no such thing here", [])
    assert fake_parts("half") == ("done", "", [("first", None), ("second", 2.0)])


def test_a_part_that_hangs_ends_with_all_that_it_started(fake_parts: Any, tmp_path: Path) -> None:
    assert fake_parts("hangs", 8) == ("out of time", "its 8 s were over", [("speed", 1.0)])
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    gone = time.monotonic() + 10  # whoever inherits it has to notice
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < gone
        time.sleep(0.05)


def test_the_reason_stands_above_the_stack_trace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "W0000 00:00 a warning\nF1128 12:00:00.1 stream.cc:7] Check failed: out of memory\n"
        "*** Check failure stack trace: ***\n    @ 0x7f abort\nExtension modules: numpy\n"
    )
    assert reason(log) == "F1128 12:00:00.1 stream.cc:7] Check failed: out of memory"
    log.write_text("a warning\nTraceback\nRuntimeError: broken\n\n")
    assert reason(log) == "RuntimeError: broken"
    assert reason(tmp_path / "none") == "the log is empty"


def test_a_target_is_met_at_its_edge_and_missed_without_a_figure() -> None:
    assert Figure("rate", 5600.0, at_least=5600).met is True
    assert Figure("rate", 5599.9, at_least=5600).met is False
    assert Figure("start", 60.0, at_most=60).met is True
    assert Figure("start", 60.1, at_most=60).met is False
    assert Figure("start", None, at_most=60).met is False
    assert Figure("start", 60.0).met is None


def test_kernels_by_kind() -> None:
    kernels = [
        Kernel("sm90_xmma_dgrad_implicit_gemm_bf16", 6e6),
        Kernel("gemm_fusion_dot_3", 2e6),
        Kernel("input_convert_reduce_fusion_7", 3e6),
        Kernel("loop_convert_fusion", 1e6),  # holds "conv", but does not convolve
        Kernel("input_transpose_fusion", 0.5e6),
    ]
    assert by_kind(kernels, 2) == {
        "products and convolutions": (4.0, 1.0),
        "reductions": (1.5, 0.5),
        "element-wise": (0.5, 0.5),
        "copies and changes of layout": (0.25, 0.5),
    }


def test_the_page_says_which_targets_were_met(tmp_path: Path) -> None:
    record = Record(tmp_path / "gpu.json")
    record.facts = {"command": "python", "date": "today", "cores": 2, "tiny": False}
    figures = [
        {"name": "a|b", "value": 61.0, "unit": "s", "at_most": 60, "at_least": None},
        {"name": "c", "value": 5.0, "unit": "", "at_most": None, "at_least": 5},
    ]
    figures = [{**figure, "note": "", "detail": ()} for figure in figures]
    part = {"status": "out of time", "why": "over", "seconds": 9.0, "date": "today"}
    record.parts = {"step": {**part, "figures": figures}}
    record.save()
    text = page(Record(record.path))
    assert "## Targets: 1 of 2 met" in text
    title = PARTS["step"].title
    assert f"| {title} | a\\|b | at most 60 s | 61 s | **missed** |" in text
    assert f"| {title} | c | at least 5 | 5 | met |" in text
    assert "\n\nOut of time: over." in text
    assert "cold_start, end_to_end" in text.partition("## Not run")[2]


def test_a_measurement_that_fails_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("two\nlines")

    assert attempt("rate", fail) is None
    said = json.loads(capsys.readouterr().out)
    assert (said["name"], said["value"], said["note"]) == ("rate", None, "ValueError: two lines")


@pytest.mark.parametrize(("device", "kept"), [("1 x H100", ["step"]), ("1 x H200", [])])
def test_what_an_earlier_run_found_stays_on_the_same_device(
    device: str, kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(function: str, setup: Setup, log: Path, heard: Any) -> tuple[str, str]:
        heard({"fact": "device", "value": "1 x H100"})
        return "done", ""

    monkeypatch.setattr("experiments.gpu.__main__.run_part", begin)
    record = Record(tmp_path / "gpu.json")
    record.facts = {"device": device, "tiny": False}
    record.parts = {"step": {"figures": []}}
    record.save()
    run = Run(tmp_path, tmp_path, tiny=False, minutes=8)
    assert run.begin()
    assert list(run.record.parts) == kept


def command(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "experiments.gpu", "--tiny", "--out", str(out), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_one_part_of_the_command_and_a_run_without_time(tmp_path: Path) -> None:
    first = command(tmp_path, "--only", "parity", "--minutes", "30")
    assert first.returncode == 0, first.stdout + first.stderr
    record = Record(tmp_path / "gpu.json")
    name = "losses and retrieval figures: above their tolerance"
    assert record.value("parity", name) == 0
    assert f"parity: {name}: 0; target at most 0, met" in first.stdout
    assert record.facts["tiny"] is True
    assert record.facts["versions"].keys() >= {"jax", "flax"}
    assert "## Targets: 1 of 1 met" in (tmp_path / "gpu.md").read_text()
    before = (tmp_path / "gpu.json").read_text()
    second = command(tmp_path, "--only", "variants", "--minutes", "0")
    assert second.returncode == 2
    assert "out of time: the command's minutes were over" in second.stdout
    assert (tmp_path / "gpu.json").read_text() == before


def test_the_real_files_are_not_written_at_tiny_sizes() -> None:
    line = [sys.executable, "-m", "experiments.gpu", "--tiny"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--tiny needs --out" in done.stderr


@pytest.mark.slow
def test_the_whole_command(tmp_path: Path) -> None:
    done = command(tmp_path, "--minutes", "60")
    record = Record(tmp_path / "gpu.json")
    wrong = {
        name: (part["status"], part["why"])
        for name, part in record.parts.items()
        if part["status"] not in ("done", "not possible")
    }
    assert list(record.parts) == list(PARTS)
    assert wrong == {}, done.stdout
    failed = [
        (name, figure.name, figure.note)
        for name in record.parts
        for figure in record.figures(name)
        if figure.value is None
    ]
    assert failed == []
    kinds = [figure.name for figure in record.figures("step")]
    assert "of them products and convolutions" in kinds
    for other in ("exported network", "the CPU's features"):
        title = f"{other} against features here, highest precision"
        assert record.value("agreement", title) == pytest.approx(0, abs=1e-5)
