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

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental import multihost_utils

from lupi_jax.cli import main
from lupi_jax.errors import InputError, StoppedError
from lupi_jax.runtime import hosts
from lupi_jax.training.logging import read_metrics

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
      stopped: how the two processes ended, of which the second got SIGTERM, and then evaluated.
      killed: how the two ended of which the second got SIGKILL.
      printed: of `evaluate --json`, by one and by two.
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
    pattern = r"^lupi: stopped after step (\d+) of 5000, which is saved; the same command goes on$"
    assert [ended.status for ended in runs.stopped] == [75, 75]
    steps = {tuple(re.findall(pattern, ended.err, re.MULTILINE)) for ended in runs.stopped}
    ((step,),) = steps
    assert read_metrics(runs.folder / "two")[-1]["step"] == int(step)
    saved = {int(entry.name) for entry in (runs.folder / "two/checkpoints").iterdir()}
    assert saved == {*range(3, int(step) + 1, 3), int(step)}


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
            "lupi: a batch of 3 rows does not divide among 2 processes: change batch.identities "
            "or batch.images"
        )
        assert "Traceback" not in ended.err
    assert not list((tmp_path / "checkpoints").iterdir())


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


# --- the parts, alone ---


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refuse(*joining: str) -> str:
        assert main(["train", "--config", str(CONFIG), "--workdir", "none", *joining]) == 2
        err = capfd.readouterr().err
        assert err.startswith("lupi: ")
        assert err.count("\n") == 1
        return err.removeprefix("lupi: ").rstrip()

    return refuse


@pytest.mark.parametrize(
    "joining",
    [
        ["--coordinator", "127.0.0.1:1"],
        ["--processes", "2", "--process", "0"],
        ["--distributed", "off", "--coordinator", "h:1", "--processes", "2", "--process", "0"],
    ],
)
def test_half_of_what_it_takes_to_join_is_refused(
    refused: Callable[..., str], joining: list[str]
) -> None:
    assert refused(*joining).startswith("--coordinator, --processes and --process go together")


def test_what_cannot_be_joined_is_refused(refused: Callable[..., str]) -> None:
    two = ["--processes", "2", "--process", "0"]
    assert refused("--coordinator", "host", *two) == (
        "--coordinator host: give HOST:PORT of process 0"
    )
    jax.devices()  # from now on it is too late
    assert "must be called before any JAX calls" in refused("--distributed", "on")
    hosts.join("auto")  # nobody asked for company
    assert not hosts.joined()


def in_own_process(program: str, *arguments: str) -> Ended:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_where_no_cluster_is_found_auto_stays_alone_and_on_is_refused() -> None:
    program = """
from lupi_jax.runtime import hosts
hosts.join("auto")
print(hosts.joined())
"""
    assert in_own_process(program) == (0, "False\n", "")
    program = "import sys; from lupi_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    train = ["train", "--config", str(CONFIG), "--workdir", "none"]
    on = in_own_process(program, *train, "--distributed", "on")
    assert (on.status, on.out, on.err.count("\n")) == (2, "", 1)
    assert on.err.startswith("lupi: cannot join other processes (")
    assert "give --coordinator HOST:PORT, --processes and --process" in on.err
    joining = ["--coordinator", "127.0.0.1:1", "--processes", "2", "--process", "2"]
    beyond = in_own_process(program, *train, *joining)
    assert (beyond.status, beyond.err.count("\n")) == (2, 1)
    assert "Got process_id=2, num_processes=2" in beyond.err


def test_one_that_nobody_joins_gives_up() -> None:
    program = """
import socket
from lupi_jax.runtime import hosts
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
hosts.join("auto", f"127.0.0.1:{port}", 2, 0, timeout=1)
"""
    assert in_own_process(program) == (
        76,
        "",
        "lupi: the other processes have not come within 1 s: are all started, and is the "
        "coordinator reachable?\n",
    )


def test_the_watchdog_bites_once_nothing_happens() -> None:
    program = """
import time
from lupi_jax.runtime.hosts import Watchdog
with Watchdog(1):  # left in time
    pass
with Watchdog(0):  # watches nothing
    time.sleep(0.2)
with Watchdog(2) as watchdog:
    for step in range(1, 6):
        time.sleep(0.5)  # together longer than it waits
        watchdog.beat(f"step {step} of 9")
    time.sleep(60)
"""
    assert in_own_process(program) == (
        76,
        "",
        "lupi: process 0: nothing since step 5 of 9 for 2 s (step_timeout): another process or "
        "the input hangs; the same command goes on from the last checkpoint\n",
    )


@contextlib.contextmanager
def process(number: int, of: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "process_count", lambda: of)
        patch.setattr(jax, "process_index", lambda: number)
        yield


@given(st.integers(0, 40), st.integers(1, 7))
def test_shares_are_all_rows_once_in_order(count: int, processes: int) -> None:
    shares = []
    for number in range(processes):
        with process(number, processes):
            shares.append(hosts.share(count))
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) == -(-count // processes)


@given(st.integers(1, 40), st.integers(1, 7))
def test_gathered_shares_are_the_whole(count: int, processes: int) -> None:
    whole = np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)
    sent: list[np.ndarray] = []

    def allgather(part: np.ndarray) -> np.ndarray:
        """Of the last process, which alone gets an answer: by then all have sent."""
        sent.append(part)
        return np.stack([*sent, *[part] * (processes - len(sent))])

    for number in range(processes):
        with process(number, processes), pytest.MonkeyPatch.context() as patch:
            patch.setattr(multihost_utils, "process_allgather", allgather)
            gathered = hosts.gather(whole[hosts.share(count)], count)
    np.testing.assert_array_equal(gathered, whole)
    assert {part.shape for part in sent} <= {(-(-count // processes), 3)}  # as a collective needs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_wish_to_stop_after_the_step(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with hosts.StopRequest() as stop:
        assert not stop.after(1)
        signal.raise_signal(number)
        assert stop.after(2)
        signal.raise_signal(signal.SIGTERM)  # as whoever is impatient sends it
        assert stop.after(3)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_second_interrupt_is_no_wish() -> None:
    with hosts.StopRequest() as stop:
        assert not stop.after(1)
        signal.raise_signal(signal.SIGINT)
        assert stop.after(2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_that_answers_no_signal_is_not_waited_for(number: signal.Signals) -> None:
    never, ended = threading.Event(), []

    def work() -> None:
        os.kill(os.getpid(), number)
        ended.append(never.wait(60))

    with (
        pytest.raises(StoppedError, match="before the first step"),
        hosts.StopRequest() as stop,
    ):
        stop.during(work)
    assert ended == []
    never.set()


def test_before_the_first_step_no_code_takes_a_request_for_its_own_fault() -> None:
    def read() -> None:
        with hosts.StopRequest(), contextlib.suppress(Exception):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="nothing to save"):
        read()


def test_work_that_ends_gives_what_it_raises() -> None:
    done: list[int] = []
    with hosts.StopRequest() as stop:
        stop.during(lambda: done.append(threading.get_ident()))
        with pytest.raises(ZeroDivisionError):
            stop.during(lambda: 1 / 0)
    assert done != [threading.get_ident()]
    assert len(done) == 1


def test_a_process_whose_jax_cannot_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> int:
        raise AssertionError  # as JAX does where JAX_PLATFORMS names what is not there

    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_count", start)
    assert not hosts.joined()


def test_outside_the_main_thread_nothing_is_caught() -> None:
    before, during = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with hosts.StopRequest() as stop:
            during.append((signal.getsignal(signal.SIGTERM), stop.after(1)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [(before, False)]


def test_a_failure_is_a_lost_process_only_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = TimeoutError("Timed out while waiting for a barrier")
    lost.__cause__ = jax.errors.JaxRuntimeError("UNAVAILABLE: connection reset")
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
    assert not hosts.is_lost(lost)
    monkeypatch.setattr(hosts, "joined", lambda: True)
    assert hosts.is_lost(lost)
    assert not hosts.is_lost(full)
    assert not hosts.is_lost(InputError("no such file"))
    assert hosts.is_lost(ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer"))
