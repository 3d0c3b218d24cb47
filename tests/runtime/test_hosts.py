"""Several processes are one run: real ones, over `jax.distributed`, on CPUs that talk by Gloo.

What takes long is starting them and compiling, so that few starts serve many tests.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lupi_jax.training.logging import read_metrics
from lupi_jax.training.workdir import held

several = pytest.mark.slow  # a minute for each two: every process compiles its own programs

CONFIG = Path(__file__).parents[2] / "configs" / "folder.py"
STEPS = 6
# float64, so that the sums of two processes and of one differ by 1e-16, not by 1e-7.
EXACT = {"JAX_ENABLE_X64": "1"}
LONG = 150.0  # JAX takes a process for dead after 100 s
PROGRAM = """
import json, sys
from lupi_jax.cli import main
sys.exit(max([main(arguments) for arguments in json.loads(sys.argv[1])]))
"""


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    out: str
    err: str


Command = Sequence[object]


@contextlib.contextmanager
def started(
    processes: int, *commands: Command, exact: bool = True
) -> Iterator[list[subprocess.Popen[str]]]:
    """`processes` of them, each running the commands of `lupi` one after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **(EXACT if exact else {})}
    children = []
    try:
        for process in range(processes):
            joining = ["--coordinator", f"127.0.0.1:{port}", "--processes", processes]
            own = [*joining, "--process", process] if processes > 1 else []
            arguments = [[str(x) for x in (*command, *own)] for command in commands]
            children.append(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
        yield children
    finally:
        for child in children:
            child.kill()
            child.wait()


def ends(children: list[subprocess.Popen[str]], timeout: float = LONG) -> list[Ended]:
    """Wait for all; their output is read meanwhile, so that none waits for a full pipe."""
    found: dict[int, Ended] = {}

    def end(place: int) -> None:
        out, err = children[place].communicate(timeout=timeout)
        found[place] = Ended(children[place].returncode, out, err)

    readers = [threading.Thread(target=end, args=(i,)) for i in range(len(children))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == len(children), f"still running after {timeout} s"
    return [found[i] for i in range(len(children))]


def run(processes: int, *commands: Command, exact: bool = True) -> list[Ended]:
    """What `started` gives, when all have ended."""
    with started(processes, *commands, exact=exact) as children:
        return ends(children, 600)


def wait_until(happened: Callable[[], object], children: list[subprocess.Popen[str]]) -> None:
    while not happened():
        assert all(child.poll() is None for child in children), children[0].communicate()
        time.sleep(0.02)


def train(people: Path, workdir: Path, *more: str, exact: bool = True) -> Command:
    fields = {
        "steps": STEPS,
        "data.root": people,
        "data.image_size": "32,32",
        "data.feed": "memmap",
        "batch.identities": 4,
        "log.every": 1,
        "log.checkpoint_every": 3,
        "dtype": "float64" if exact else "float32",
    }
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["train", "--config", f"{CONFIG}:released", "--workdir", workdir, *given, *more]


def evaluate(workdir: Path, out: Path) -> Command:
    return ["evaluate", "--workdir", workdir, "--json", "--out", out]


def export(workdir: Path, out: Path) -> Command:
    return ["export", "--workdir", workdir, "--out", out / "test.npz"]


class Runs(NamedTuple):
    """What one process and two have made of the same.

    Attributes:
      folder: holds the runs `one`, six steps by one process; `two`, more by two until SIGTERM;
        `one_two`, three by one and more by two until one of them is killed; `two_one`, three by
        two and three by one; and the figures and features of `one`, `by_one` and `by_two`.
      stopped: how the two processes ended after SIGTERM to the second, and then evaluated.
      killed: how the two processes ended after SIGKILL to the second.
      printed: output of `evaluate --json`, by one and by two.
    """

    folder: Path
    stopped: list[Ended]
    killed: list[Ended]
    printed: tuple[dict[str, Any], dict[str, Any]]


def half(workdir: Path, copy: Path) -> Path:
    """A copy of a run as it was after three steps."""
    shutil.copytree(workdir, copy)
    for saved in (copy / "checkpoints").iterdir():
        if saved.name != "3":
            shutil.rmtree(saved)
    rows = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(rows[:3]))
    return copy


@pytest.fixture(scope="module")
def runs(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    one, two = folder / "one", folder / "two"
    by_one, by_two = folder / "by_one", folder / "by_two"
    (alone,) = run(1, train(people, one), evaluate(one, by_one), export(one, by_one))
    assert alone.status == 0, alone.err

    long = ("--config.steps=5000", "--config.log.keep=5000")
    then = (evaluate(one, by_two), export(one, by_two))
    with started(2, train(people, two, *long), *then) as children:
        wait_until(lambda: len(read_metrics(two)) >= STEPS, children)
        children[1].send_signal(signal.SIGTERM)
        stopped = ends(children)

    one_two = half(one, folder / "one_two")
    never = "--config.log.checkpoint_every=0"
    with started(2, train(people, one_two, *long, never)) as children:
        wait_until(lambda: len(read_metrics(one_two)) >= STEPS, children)
        children[1].kill()
        killed = ends(children)

    (again,) = run(1, train(people, half(two, folder / "two_one")))
    assert again.status == 0, again.err
    return Runs(folder, stopped, killed, (json.loads(alone.out), json.loads(stopped[0].out)))


def losses(workdir: Path) -> np.ndarray:
    """[steps, 5]: the terms, the norm of the gradient and the accuracy."""
    rows = read_metrics(workdir)[:STEPS]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    terms = ("identity", "triplet", "color_free")
    names = [*(f"loss/{term}" for term in terms), "gradient_norm", "accuracy"]
    return np.array([[row[name] for name in names] for row in rows])


@several
@pytest.mark.parametrize("workdir", ["two", "one_two", "two_one"])
def test_processes_train_what_one_does(runs: Runs, workdir: str) -> None:
    expected = losses(runs.folder / "one")
    assert np.abs(expected[0] - expected[-1]).max() > 0.01  # it did train
    np.testing.assert_allclose(losses(runs.folder / workdir), expected, rtol=1e-10, atol=1e-12)


@several
@pytest.mark.parametrize("workdir", ["one_two", "two_one"])
def test_a_checkpoint_goes_from_one_process_to_two_and_back(runs: Runs, workdir: str) -> None:
    begun = read_metrics(runs.folder / workdir.split("_")[0])
    rows = read_metrics(runs.folder / workdir)
    # The first three steps' rows are those that the copied run wrote, to the letter.
    assert rows[:3] == begun[:3]
    assert all(x != y for x, y in zip(rows[3:STEPS], begun[3:STEPS], strict=True))


@several
def test_processes_evaluate_as_one_does(runs: Runs) -> None:
    alone, together = runs.printed
    assert len(together["results"]) == 4
    for row, expected in zip(together["results"], alone["results"], strict=True):
        assert row == pytest.approx(expected, abs=1e-6)
    written = json.loads((runs.folder / f"by_two/test-step{STEPS}.json").read_text())
    assert written == together


@several
def test_processes_export_as_one_does(runs: Runs) -> None:
    one, two = (runs.folder / f"{by}/test.npz" for by in ("by_one", "by_two"))
    with np.load(one) as alone, np.load(two) as together:
        assert sorted(alone) == sorted(together)
        for name in alone:
            if alone[name].dtype.kind == "f":
                np.testing.assert_allclose(together[name], alone[name], atol=1e-6)
            else:
                np.testing.assert_array_equal(together[name], alone[name])
        assert len(alone["features"]) == 4 * 2 * 4  # people, modalities, images


@several
def test_the_first_process_alone_writes_and_talks(runs: Runs) -> None:
    first, second = runs.stopped
    assert second.out == ""
    assert f"step {STEPS}/5000  " in first.err
    talk = [line for line in second.err.splitlines() if not line.startswith("[Gloo]")]
    assert len(talk) == 1  # why it ended, see below
    assert len(list((runs.folder / "two/tensorboard").iterdir())) == 1


@several
def test_sigterm_to_one_stops_all_after_the_same_step(runs: Runs) -> None:
    pattern = (
        r"^lupi: stopped after step (\d+) of 5000, which is saved; run the same command to resume$"
    )
    assert [ended.status for ended in runs.stopped] == [75, 75]
    steps = {tuple(re.findall(pattern, ended.err, re.MULTILINE)) for ended in runs.stopped}
    ((step,),) = steps
    assert read_metrics(runs.folder / "two")[-1]["step"] == int(step)
    saved = {int(entry.name) for entry in (runs.folder / "two/checkpoints").iterdir()}
    assert saved == {*range(3, int(step) + 1, 3), int(step)}


HOOKS = """
import lupi_jax as lupi


class Stops(lupi.Hook):
    def __init__(self, config, workdir):
        self.enough = False

    def logged(self, row):  # in the first process only
        self.enough = row["step"] >= 3

    def after(self, now):
        now.stop = self.enough


class Fails(Stops):
    def logged(self, row):
        raise ZeroDivisionError
"""


@several
def test_a_hook_of_one_process_stops_or_ends_all(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_hooks.py").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)

    def of(workdir: str, hook: str) -> list[Ended]:
        hooks = f"--config.log.hooks=('own_hooks:{hook}',)"
        return run(2, train(people, tmp_path / workdir, "--config.steps=5000", hooks))

    stopped = of("a", "Stops")
    assert [ended.status for ended in stopped] == [75, 75], stopped
    (step,) = {re.findall(r"stopped after step (\d+) of", ended.err)[0] for ended in stopped}
    assert 3 <= int(step) < 1000
    assert f"{step}" in os.listdir(tmp_path / "a/checkpoints")

    first, second = of("b", "Fails")
    assert (first.status, second.status) == (2, 76)
    assert "log.hooks = own_hooks:Fails: ZeroDivisionError" in first.err.splitlines()[-1]
    assert "lupi: another process of this run is lost (" in second.err


@several
def test_a_kill_of_one_ends_the_other(runs: Runs) -> None:
    first, second = runs.killed
    assert (first.status, second.status) == (76, -signal.SIGKILL)
    assert "going on from step 3 of 5000" in first.err
    assert first.err.splitlines()[-1].startswith("lupi: another process of this run is lost (")
    assert "Traceback" not in first.err
    assert [entry.name for entry in (runs.folder / "one_two/checkpoints").iterdir()] == ["3"]


@several
def test_a_batch_that_does_not_divide_is_refused_with_the_numbers(
    people: Path, tmp_path: Path
) -> None:
    odd = ("--config.batch.identities=3", "--config.batch.images=1")
    for ended in run(2, train(people, tmp_path, *odd)):
        assert ended.status == 2
        assert ended.err.splitlines()[-1] == (
            "lupi: a batch of 3 rows cannot be divided among 2 processes: change batch.identities "
            "or batch.images"
        )
        assert "Traceback" not in ended.err
    assert not (tmp_path / "checkpoints").exists()


@several
def test_a_workdir_that_another_run_holds_is_refused_to_all(people: Path, tmp_path: Path) -> None:
    with held(tmp_path):
        before = sorted(tmp_path.iterdir())
        first, second = run(2, train(people, tmp_path))
        assert sorted(tmp_path.iterdir()) == before
    assert (first.status, second.status) == (2, 2)
    assert f"lupi: {tmp_path}: process {os.getpid()} on " in first.err.splitlines()[-1]
    assert second.err.splitlines()[-1] == (
        f"lupi: {tmp_path}: process 0 cannot train there: see its message"
    )


@several
def test_kill_of_one_during_a_save_ends_the_other(people: Path, tmp_path: Path) -> None:
    """Nothing that waits for a save is told: JAX ends it when the dead one's heart is not heard."""
    always = ["--config.steps=5000", "--config.log.checkpoint_every=1"]

    def saving() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any("tmp" in name for name in os.listdir(tmp_path / "checkpoints"))
        return False

    with started(2, train(people, tmp_path, *always)) as children:
        wait_until(lambda: len(read_metrics(tmp_path)) > 3 and saving(), children)
        children[1].kill()
        first, _ = ends(children)
    assert first.status != 0
    assert "another process of this run is lost" in first.err or "another task died" in first.err
    rows = len(read_metrics(tmp_path))
    (alone,) = run(1, train(people, tmp_path, f"--config.steps={rows + 2}"))
    assert alone.status == 0, alone.err
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize(
    ("processes", "exact"),
    [
        pytest.param(2, True, id="two-float64"),
        pytest.param(4, True, id="four-float64", marks=several),
        pytest.param(4, False, id="four-float32", marks=several),
    ],
)
def test_processes_are_one(people: Path, tmp_path: Path, processes: int, exact: bool) -> None:
    found, results = {}, {}
    for number in (1, processes):
        workdir, out = tmp_path / str(number), tmp_path / f"by_{number}"
        commands = [train(people, workdir, exact=exact)]
        one = [evaluate(tmp_path / "1", out), export(tmp_path / "1", out)]
        ended = run(number, *commands, *one, exact=exact)
        assert [e.status for e in ended] == [0] * number, ended
        found[number] = losses(workdir)
        results[number] = json.loads(ended[0].out)["results"]
        assert all(e.out == "" for e in ended[1:])
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if exact else {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(found[processes], found[1], **tolerance)
    for row, expected in zip(results[processes], results[1], strict=True):
        assert row == pytest.approx(expected, abs=1e-6)
    by_one, by_several = (tmp_path / f"by_{number}/test.npz" for number in (1, processes))
    with np.load(by_one) as alone, np.load(by_several) as together:
        np.testing.assert_allclose(together["features"], alone["features"], atol=1e-5)


@several
def test_a_checkpoint_of_four_is_read_by_one_and_the_other_way_round(
    people: Path, tmp_path: Path
) -> None:
    whole, four = tmp_path / "whole", tmp_path / "four"
    (alone,) = run(1, train(people, whole))
    assert alone.status == 0, alone.err
    begun = run(4, train(people, four, "--config.steps=3"))
    assert [e.status for e in begun] == [0] * 4, begun
    one_four = half(whole, tmp_path / "one_four")
    for processes, workdir in ((1, four), (4, one_four)):
        ended = run(processes, train(people, workdir))
        assert [e.status for e in ended] == [0] * processes, ended
        assert f"going on from step 3 of {STEPS}" in ended[0].err
        np.testing.assert_allclose(losses(workdir), losses(whole), rtol=1e-10, atol=1e-12)
