"""A signal asks a run to stop, and a watchdog ends one in which nothing happens."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import jax
import pytest
from jax.experimental import multihost_utils

from lupi_jax.errors import StoppedError
from lupi_jax.runtime.stopping import StopRequest

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_run_after_the_step(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with StopRequest() as stop:
        assert not stop.after(1)
        signal.raise_signal(number)
        assert stop.after(2)
        signal.raise_signal(signal.SIGTERM)  # as whoever is impatient sends it
        assert stop.after(3)
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_under_nohup_a_closed_terminal_changes_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.after(1)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_where_the_terminal_is_gone_later_lines_go_nowhere() -> None:
    """As after a hangup: a line that cannot be written must not end the run before it is saved."""
    script = (
        "import os, pty, signal, sys\n"
        "from lupi_jax.runtime.stopping import StopRequest\n"
        "master, slave = pty.openpty()\n"
        "os.dup2(slave, 2); os.close(slave); os.close(master)\n"
        "with StopRequest() as stop:\n"
        "    stop.after(1)\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('step 2', file=sys.stderr, flush=True)\n"
        "    print(stop.after(2))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["True"])


def test_a_second_interrupt_stops_at_once() -> None:
    with StopRequest() as stop:
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
        StopRequest() as stop,
    ):
        stop.during(work)
    assert ended == []
    never.set()


def test_before_the_first_step_no_code_takes_a_request_for_its_own_fault() -> None:
    def read() -> None:
        with StopRequest(), contextlib.suppress(Exception):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="nothing to save"):
        read()


def test_work_that_ends_gives_what_it_raises() -> None:
    done: list[int] = []
    with StopRequest() as stop:
        stop.during(lambda: done.append(threading.get_ident()))
        with pytest.raises(ZeroDivisionError):
            stop.during(lambda: 1 / 0)
    assert done != [threading.get_ident()]
    assert len(done) == 1


def test_outside_the_main_thread_nothing_is_caught() -> None:
    before, during = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopRequest() as stop:
            during.append((signal.getsignal(signal.SIGTERM), stop.after(1)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [(before, False)]


def test_a_hook_stops_one_process_after_its_step_and_several_when_they_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with StopRequest() as stop:
        assert not stop.after(1)
        assert stop.after(2, asked=True)
    sent, agreed = [], {4}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(os, "kill", lambda process, number: sent.append((process, number)))
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", agreed.__contains__)
    stop = StopRequest()
    assert [stop.after(step, asked=step > 1) for step in (1, 2, 3, 4)] == [False] * 3 + [True]
    assert sent == [(os.getpid(), signal.SIGTERM)]  # once is enough


def test_the_watchdog_bites_once_nothing_happens() -> None:
    program = """
import time
from lupi_jax.runtime.stopping import Watchdog
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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        76,
        "",
        "lupi: process 0: nothing since step 5 of 9 for 2 s (step_timeout): another process or "
        "the input hangs; the same command goes on from the last checkpoint\n",
    )
