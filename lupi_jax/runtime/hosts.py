"""Several processes as one run: how they join, agree, and share work, by `jax.distributed`."""

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
"""More than any cluster starts, and few enough for JAX's own numbers."""


def join(
    mode: Mode = "auto",
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: int = 300,
    stops: bool = True,
) -> None:
    """Join the other processes of a run, before anything touches a device. Once is enough.

    Args:
      mode: "auto" joins where coordinator, processes and process are given, or where JAX finds
        itself in a Slurm job, a Kubernetes JobSet, a TPU pod or an MPI run, and else stays alone;
        "on" raises an error there; "off" stays alone.
      coordinator: host:port of process 0.
      processes: how many there are.
      process: which this one is, from 0.
      timeout: seconds to wait for the others. Where they do not come, the process ends itself
        with `LOST_STATUS`.
      stops: whether SIGTERM asks for a stop, as `stopping.StopRequest` sees it; else it ends the
        process.

    Raises:
      InputError: there is nothing to join.
    """
    given = (coordinator, processes, process)
    whole = None not in given and mode != "off"
    if any(x is not None for x in given) and not whole:
        raise InputError(
            "--coordinator HOST:PORT, --processes and --process go together, and not with "
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
    """Raise InputError where no process can be number `process` of `processes`, or at this port."""
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
    """Start `jax.distributed`; False where this process is to stay alone."""
    reason = (
        f"the other processes have not come within {timeout} s: are all started, and is the "
        "coordinator reachable?"
    )
    # JAX's own timeout aborts the process with a stack of C++.
    timer = threading.Timer(timeout, give_up, [reason])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=timeout + 60
        )
    except (ValueError, RuntimeError) as error:
        # JAX has found no cluster, or is in use already (a notebook, a test).
        nothing = isinstance(error, ValueError) or "before any JAX calls" in str(error)
        if nothing and coordinator is None and mode == "auto":
            return False
        raise InputError(
            f"cannot join other processes ({shorten(error)}): give --coordinator HOST:PORT, "
            "--processes and --process, or start under Slurm, Kubernetes, MPI or on a TPU pod; all "
            "have to be started, and the coordinator's port free and reachable"
        ) from error
    finally:
        timer.cancel()
    return True


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep stdout for results, also from what is printed outside Python."""
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def give_up(reason: str) -> NoReturn:
    """End the process from another thread than the one that waits."""
    print(f"lupi: {fit(reason)}", file=sys.stderr, flush=True)
    os._exit(LOST_STATUS)


def joined() -> bool:
    """Whether this process is one of several; not so where JAX cannot start."""
    try:
        return jax.distributed.is_initialized() and jax.process_count() > 1
    except (RuntimeError, AssertionError):
        return False


def is_lost(error: BaseException | None) -> bool:
    """Whether this process is one of several and an exception says that another one is gone.

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
    """[count, ...], the same in every process, from each one's rows `share(count)`, [m, ...]."""
    processes = jax.process_count()
    if processes == 1:
        return part
    padded = np.zeros((-(-count // processes), *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    every = np.asarray(multihost_utils.process_allgather(padded))
    return every.reshape(-1, *part.shape[1:])[:count]


def over_local_devices() -> tuple[Sharding, Sharding]:
    """Placements for work that each process does by itself, on its own devices.

    Under the first each device holds the whole array, under the second a share of its rows.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0]), SingleDeviceSharding(devices[0])
    mesh = Mesh(np.array(devices), ("rows",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("rows"))
