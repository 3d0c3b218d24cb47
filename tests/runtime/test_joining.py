"""How processes join, what is refused, and how they share work."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental import multihost_utils

from lupi_jax.cli import main
from lupi_jax.errors import InputError
from lupi_jax.runtime import hosts

CONFIG = Path(__file__).parents[2] / "configs" / "folder.py"


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
    assert refused(*joining).startswith(
        "--coordinator HOST:PORT, --processes and --process need each other"
    )


def test_what_cannot_be_joined_is_refused(refused: Callable[..., str]) -> None:
    two = ["--processes", "2", "--process", "0"]
    assert refused("--coordinator", "host", *two) == (
        "--coordinator host: give HOST:PORT of process 0"
    )
    jax.devices()  # from now on it is too late
    assert "must be called before any JAX calls" in refused("--distributed", "on")
    hosts.join("auto")  # nobody asked for company
    assert not hosts.joined()


def in_own_process(program: str, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_where_no_cluster_is_found_auto_stays_alone_and_on_is_refused() -> None:
    program = """
from lupi_jax.runtime import hosts
hosts.join("auto")
print(hosts.joined())
"""
    assert in_own_process(program) == (0, "False\n", "")
    program = "import sys; from lupi_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    train = ["train", "--config", str(CONFIG), "--workdir", "none"]
    status, out, err = in_own_process(program, *train, "--distributed", "on")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("lupi: cannot join other processes (")
    assert "give --coordinator HOST:PORT, --processes and --process" in err
    joining = ["--coordinator", "127.0.0.1:1", "--processes", "2", "--process", "2"]
    status, _, err = in_own_process(program, *train, *joining)
    assert (status, err.count("\n")) == (2, 1)
    assert err == "lupi: --process 2: the processes of this run are numbered 0 to 1\n"


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
        "lupi: the other processes did not join within 1 s: check that all are started and that "
        "they reach the coordinator\n",
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


def test_a_process_whose_jax_cannot_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> int:
        raise AssertionError  # as JAX does where JAX_PLATFORMS names what is not there

    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_count", start)
    assert not hosts.joined()


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
