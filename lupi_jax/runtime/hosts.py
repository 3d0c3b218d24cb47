"""Let several processes join one run, agree, and share work, by `jax.distributed`."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Literal, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from lupi_jax.errors import LOST_STATUS, InputError, fit, shorten
from lupi_jax.runtime.backend import is_out_of_memory, start_backend

Mode = Literal["auto", "on", "off"]

MOST_PROCESSES = 100_000
"""Upper limit of `--processes`. No cluster starts more, and JAX's integers can hold it."""


def join(
    mode: Mode = "auto",
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 300,
    stops: bool = True,
) -> None:
    """Join the other processes of a run. Call this before any use of a device; once is enough.

    Args:
      mode: "auto" joins if coordinator, processes and process are given, or if JAX finds a Slurm
        job, a Kubernetes JobSet, a TPU pod or an MPI run. Otherwise the process stays alone. "on"
        raises an error instead of staying alone. "off" always stays alone.
      coordinator: host:port of process 0.
      processes: number of processes.
      process: number of this process, from 0.
      timeout: seconds to wait for the other processes. After that the process ends itself with
        `LOST_STATUS`.
      stops: whether SIGTERM requests a stop, see `stopping.StopRequest`. Otherwise it ends the
        process.

    Raises:
      InputError: the process cannot join.
    """
    given = (coordinator, processes, process)
    whole = None not in given and mode != "off"
    if any(x is not None for x in given) and not whole:
        raise InputError(
            "--coordinator HOST:PORT, --processes and --process need each other, and exclude "
            "--distributed off: give all three or none"
        )
    if whole:
        _check_place(str(coordinator), processes or 0, process or 0)
    if mode == "off" or jax.distributed.is_initialized():
        return
    jax.config.update("jax_enable_preemption_service", stops)
    if _initialize(mode, *given, timeout):
        with _stdout_to_stderr():  # the first message between CPUs prints a line
            start_backend()
            wait_for_all("all have joined")


def _check_place(coordinator: str, processes: int, process: int) -> None:
    """Check the coordinator's address, and that `process` is a valid number.

    Raises:
      InputError: one of them is not valid.
    """
    if not re.fullmatch(r".+:[0-9]+", coordinator):
        raise InputError(f"--coordinator {coordinator}: give HOST:PORT of process 0")
    port = coordinator.rpartition(":")[2]
    if not 0 < int(port[:6]) < 2**16:
        raise InputError(f"--coordinator {coordinator}: give a port between 1 and 65535")
    if not 0 < processes <= MOST_PROCESSES:
        raise InputError(f"--processes {processes}: give a number between 1 and {MOST_PROCESSES}")
    if not 0 <= process < processes:
        raise InputError(
            f"--process {process}: the processes of this run are numbered 0 to {processes - 1}"
        )


def _initialize(
    mode: Mode, coordinator: str | None, processes: int | None, process: int | None, timeout: int
) -> bool:
    """Start `jax.distributed`; return False if this process stays alone."""
    reason = (
        f"the other processes did not join within {timeout} s: check that all are started and "
        "that they reach the coordinator"
    )
    # JAX's own timeout aborts the process with a C++ stack trace.
    timer = threading.Timer(timeout, give_up, [reason])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=timeout + 60
        )
    except (ValueError, RuntimeError) as error:
        # JAX has not found a cluster, or is in use already (a notebook, a test).
        nothing = isinstance(error, ValueError) or "before any JAX calls" in str(error)
        if nothing and coordinator is None and mode == "auto":
            return False
        raise InputError(
            f"cannot join other processes ({shorten(error)}): give --coordinator HOST:PORT, "
            "--processes and --process, or start under Slurm, Kubernetes, MPI or on a TPU pod; "
            "check that all are started and that the coordinator's port is free and reachable"
        ) from error
    finally:
        timer.cancel()
    return True


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send stdout to stderr in this block, also for output from outside Python."""
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def give_up(reason: str) -> NoReturn:
    """Print `reason` and end the process with `LOST_STATUS`, from any thread."""
    print(f"lupi: {fit(reason)}", file=sys.stderr, flush=True)
    os._exit(LOST_STATUS)


def joined() -> bool:
    """Whether this process is one of several. False if JAX cannot start."""
    try:
        return jax.distributed.is_initialized() and jax.process_count() > 1
    except (RuntimeError, AssertionError):
        return False


def is_lost(error: BaseException | None) -> bool:
    """Whether this process is one of several and the exception means that another one is lost.

    A collective operation raises JAX's own error, which Orbax turns into a timeout.
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

    A single process does not ask JAX, so that commands without a device do not start the backend.
    """
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Wait until every process has reached the point `name`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_agree(yes: bool) -> bool:
    """Whether every process says yes."""
    if jax.process_count() == 1:
        return yes
    return bool(np.all(multihost_utils.process_allgather(np.array(yes))))


def share(count: int) -> range:
    """This process's part of `count` rows: at most ceil(count / n) of them for n processes."""
    size = -(-count // jax.process_count())
    start = jax.process_index() * size
    return range(min(start, count), min(start + size, count))


def gather(part: np.ndarray, count: int) -> np.ndarray:
    """Gather each process's rows `share(count)` [m, ...] to [count, ...] in every process."""
    processes = jax.process_count()
    if processes == 1:
        return part
    padded = np.zeros((-(-count // processes), *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    every = np.asarray(multihost_utils.process_allgather(padded))
    return every.reshape(-1, *part.shape[1:])[:count]


def over_local_devices() -> tuple[Sharding, Sharding]:
    """Two placements for work that each process does alone, on its own devices.

    With the first each device holds the whole array, with the second a share of its rows.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0]), SingleDeviceSharding(devices[0])
    mesh = Mesh(np.array(devices), ("rows",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("rows"))
