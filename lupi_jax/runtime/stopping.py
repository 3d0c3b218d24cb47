"""End a run before its last step, if a signal or a hook asks for it or if the run hangs."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Self

import jax
from jax.experimental import multihost_utils

from lupi_jax.errors import StoppedError
from lupi_jax.runtime.hosts import give_up, is_first
from lupi_jax.runtime.terminal import leave_stderr


class _StopNow(KeyboardInterrupt):
    """Raised in the main thread at any point. Its `except Exception` does not catch this."""


class StopRequest:
    """Stops every process after the same step on SIGTERM, Ctrl-C or SIGHUP, or if one asks.

    SIGHUP comes when the terminal closes. If it is ignored, as under `nohup`, it stays ignored.
    Before the first call of `after` there is nothing to save, and a single process stops at once.
    A second Ctrl-C always stops at once.

    Raises:
      StoppedError: the `with` statement raises this if the request came before the first `after`.
    """

    def __init__(self) -> None:
        self._asked = False
        self._alone = False
        self._saves = False
        self._told = False
        self._before: dict[signal.Signals, Callable[..., object] | int | None] = {}

    def __enter__(self) -> Self:
        # Only the main thread can have handlers. Elsewhere (a notebook's worker) nothing is caught.
        if threading.current_thread() is not threading.main_thread():
            return self
        # With several processes JAX itself listens for SIGTERM, so that they agree on a step.
        self._alone = jax.process_count() == 1
        numbers = [signal.SIGINT, *([signal.SIGTERM] if self._alone else [])]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, _StopNow):
            raise StoppedError("stopped before the first step, with nothing to save") from error

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        if number == signal.SIGHUP:
            _leave_terminal()
        if self._alone and not self._saves:
            raise _StopNow
        if number == signal.SIGINT and is_first():
            # Not by sys.stderr, because the signal may have interrupted a write to it.
            os.write(2, b"\nstopping after this step, to save it; press Ctrl-C again to stop now\n")
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def during(self, work: Callable[[], object]) -> None:
        """Call `work`, and let a request to stop end the wait for it.

        Python cannot handle a signal while the main thread compiles a program, so `work` runs on
        another thread. `work` must be safe to abandon. One of several processes cannot stop alone,
        so it calls `work` on the main thread.
        """
        if not self._alone:
            work()
            return
        result: Future[object] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as error:  # `result()` raises it again
                result.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        result.result()

    def after(self, step: int, asked: bool = False) -> bool:
        """Whether to stop after `step`. Every process has to call this once after each step.

        Args:
          step: number of the step.
          asked: whether this process wants to stop, for another reason than a signal. If there are
            several processes, one is enough. They stop after the same step, this one or a later.
        """
        self._saves = True
        if jax.process_count() == 1:
            return self._asked or asked
        if asked and not self._told:
            self._told = True
            os.kill(os.getpid(), signal.SIGTERM)  # JAX lets the processes agree on a step
        return multihost_utils.reached_preemption_sync_point(step)


def _leave_terminal() -> None:
    """Redirect stderr to nowhere if the terminal is gone, because writing to it would fail."""
    try:
        os.write(2, b"\nthe terminal was closed: stopping\n")
    except OSError:
        leave_stderr()


class Watchdog:
    """Ends the process if nothing has happened for a while.

    If another process hangs, a collective operation never returns, and nothing can interrupt it.
    """

    def __init__(self, seconds: float) -> None:
        """Make a watchdog for this many seconds; 0 never ends the process."""
        self._seconds = seconds
        self._last = time.monotonic()
        self._done = threading.Event()
        self._what = "start"
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def beat(self, what: str) -> None:
        """Note that `what` has happened just now."""
        self._last, self._what = time.monotonic(), what

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._last > self._seconds:
                give_up(
                    f"process {jax.process_index()}: nothing since {self._what} for "
                    f"{self._seconds:.0f} s (step_timeout): another process or the input hangs; "
                    "the same command goes on from the last checkpoint"
                )
