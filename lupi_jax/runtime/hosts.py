"""Several processes as one run: how they join, agree to stop, and share work.

JAX's own engine does the work (`jax.distributed`): nothing here starts a process or knows a
cluster.
"""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Literal, NoReturn, Self

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from lupi_jax.errors import LOST_STATUS, InputError, StoppedError, shorten
from lupi_jax.runtime.backend import is_out_of_memory, start_backend

Mode = Literal["auto", "on", "off"]


def join(
    mode: Mode = "auto",
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 300,
    stops: bool = True,
) -> None:
    """Join the other processes of a run; to be called before anything touches a device.

    Once is enough: a process that has joined stays so.

    Args:
      mode: "auto" joins where coordinator, processes and process are given, or where JAX finds
        itself in a Slurm job, a Kubernetes JobSet, a TPU pod or an MPI run; "on" is an error where
        neither is so; "off" stays alone.
      coordinator: host:port of process 0.
      processes: how many there are.
      process: which this one is, from 0.
      timeout: seconds to wait for the others.
      stops: whether SIGTERM is to be a wish that `StopRequest` sees; else it ends the process.

    Raises:
      InputError: there is nothing to join. Where the others do not come the process ends itself.
    """
    given = (coordinator, processes, process)
    if any(x is not None for x in given) and (None in given or mode == "off"):
        raise InputError(
            "--coordinator, --processes and --process go together, and not with --distributed off: "
            "give all three or none"
        )
    if mode == "off" or jax.distributed.is_initialized():
        return
    if coordinator is not None and not re.fullmatch(r".+:[0-9]+", coordinator):
        raise InputError(f"--coordinator {coordinator}: give HOST:PORT of process 0")
    jax.config.update("jax_enable_preemption_service", stops)
    # JAX's own timeout aborts the process with a stack of C++.
    timer = threading.Timer(timeout, _nobody_came, [timeout])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=timeout + 60
        )
    except ValueError as error:
        # So JAX says that it found no cluster, or that a number is out of range.
        if coordinator is not None or mode == "on":
            raise InputError(
                f"cannot join other processes ({error}): give --coordinator HOST:PORT, --processes "
                "and --process, or start under Slurm, Kubernetes, MPI or on a TPU pod"
            ) from error
        return
    except RuntimeError as error:
        # Too late where JAX is in use already (a notebook, a test): not asked to join, stay alone.
        if coordinator is None and mode == "auto" and "before any JAX calls" in str(error):
            return
        raise InputError(
            f"cannot join the other processes ({shorten(error)}): are all "
            "started, and is the coordinator's port free and reachable?"
        ) from error
    finally:
        timer.cancel()
    # The first message between CPUs prints a line to stdout, where results go.
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        start_backend()
        wait_for_all("all have joined")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _nobody_came(timeout: int) -> None:
    _give_up(
        f"the other processes have not come within {timeout} s: are all started, and is the "
        "coordinator reachable?"
    )


def _give_up(reason: str) -> NoReturn:
    """End the process from another thread than the one that waits."""
    print(f"lupi: {reason}", file=sys.stderr, flush=True)
    os._exit(LOST_STATUS)


def joined() -> bool:
    """Whether this process is one of several; not so where JAX cannot start."""
    try:
        return jax.distributed.is_initialized() and jax.process_count() > 1
    except (RuntimeError, AssertionError):
        return False


def is_lost(error: BaseException | None) -> bool:
    """Whether an exception says, of several processes, that another one is gone.

    A collective operation raises JAX's own; Orbax makes of it that it has waited too long.
    """
    while error is not None and joined():
        text = str(error)
        if "Gloo" in text or (
            isinstance(error, jax.errors.JaxRuntimeError) and not is_out_of_memory(error)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_first() -> bool:
    """Whether this process is the one that prints and writes.

    A process that is alone does not ask JAX, so that commands without a device start no backend.
    """
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Wait until every process has come to the point `name`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_agree(yes: bool) -> bool:
    """Whether every process says yes."""
    if jax.process_count() == 1:
        return yes
    return bool(np.all(multihost_utils.process_allgather(np.array(yes))))


def share(count: int) -> range:
    """This process's part of `count` rows: the next ceil(count / n), or what is left of them."""
    size = -(-count // jax.process_count())
    start = jax.process_index() * size
    return range(min(start, count), min(start + size, count))


def gather(part: np.ndarray, count: int) -> np.ndarray:
    """All `count` rows, from each process's `share` of them.

    Args:
      part: [m, ...], the rows `share(count)`.
      count: rows in all.

    Returns:
      [count, ...], the same in every process.
    """
    processes = jax.process_count()
    if processes == 1:
        return part
    padded = np.zeros((-(-count // processes), *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    every = np.asarray(multihost_utils.process_allgather(padded))
    return every.reshape(-1, *part.shape[1:])[:count]


def over_local_devices() -> tuple[Sharding, Sharding]:
    """Where this process's devices hold the whole of an array each, and where a share of its rows.

    For work that each process does by itself.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0]), SingleDeviceSharding(devices[0])
    mesh = Mesh(np.array(devices), ("rows",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("rows"))


class _StopNow(KeyboardInterrupt):
    """Raised where the main thread is, which `except Exception` does not catch."""


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a request to stop after the same step in every process.

    Until `after` is first called there is nothing to save, and a process that is alone stops at
    once. A second Ctrl-C stops at once in any case.

    Raises:
      StoppedError: from the `with` statement, where a request came before the first `after`.
    """

    def __init__(self) -> None:
        self._asked = False
        self._alone = False
        self._saves = False
        self._before: dict[signal.Signals, Callable[..., object] | int | None] = {}

    def __enter__(self) -> Self:
        # Handlers belong to the main thread: elsewhere (a notebook's worker) nothing is caught.
        if threading.current_thread() is not threading.main_thread():
            return self
        # Of several processes, JAX itself listens for SIGTERM, to have them agree on a step.
        self._alone = jax.process_count() == 1
        for number in (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, _StopNow):
            raise StoppedError("stopped before the first step, with nothing to save") from error

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        if self._alone and not self._saves:
            raise _StopNow
        if number == signal.SIGINT and is_first():
            # Not by sys.stderr, in the midst of whose work this may come.
            os.write(2, b"\nstopping after this step, to save it; press Ctrl-C again to stop now\n")
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def during(self, work: Callable[[], object]) -> None:
        """Call `work`, and let a request to stop end the wait for it.

        Python answers no signal while the main thread compiles a program, so `work` runs on
        another thread. It must be safe to abandon. One of several processes cannot stop alone, and
        calls `work` itself.
        """
        if not self._alone:
            work()
            return
        result: Future[object] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as error:  # raised where it is waited for
                result.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        result.result()

    def after(self, step: int) -> bool:
        """Whether to stop after `step`; to be asked once after each, by every process."""
        self._saves = True
        if jax.process_count() == 1:
            return self._asked
        return multihost_utils.reached_preemption_sync_point(step)


class Watchdog:
    """Ends the process when nothing has happened for a while.

    A collective operation whose peer hangs never returns, and nothing can interrupt it.
    """

    def __init__(self, seconds: float) -> None:
        """Watch from now on; 0 seconds watches nothing."""
        self._seconds = seconds
        self._last = time.monotonic()
        self._done = threading.Event()
        self._what = "start"
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._seconds:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()

    def beat(self, what: str) -> None:
        """Something has happened: `what`."""
        self._last, self._what = time.monotonic(), what

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._last > self._seconds:
                _give_up(
                    f"process {jax.process_index()}: nothing since {self._what} for "
                    f"{self._seconds:.0f} s (step_timeout): another process or the input hangs; "
                    "the same command goes on from the last checkpoint"
                )
