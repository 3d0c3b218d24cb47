"""Lock a run's directory for one training at a time, and remove empty directories on failure."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from lupi_jax.errors import InputError
from lupi_jax.runtime.files import check_name
from lupi_jax.runtime.hosts import all_agree, is_first
from lupi_jax.runtime.terminal import say

LOCK = "lock"
"""The file in a run's directory that the system locks. The file alone does not mean a lock."""

HOLDER = "lock.holder"
"""The file beside the lock that names the process which holds it."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Make `workdir`, and keep every other run out of it during this block.

    The operating system holds the lock, and releases it however the process ends. Of several
    processes of one run the first takes it. If the block raises an exception, directories that
    were made and are still empty are removed.

    Raises:
      InputError: another run, which the message names, trains there; or the directory cannot be
        written, or Orbax would change its name.
    """
    check_name(workdir)
    with contextlib.ExitStack() as opened:
        refusal = None
        if is_first():
            try:
                opened.enter_context(_alone(workdir))
            except InputError as error:
                refusal = error
        if not all_agree(refusal is None):
            raise refusal or InputError(f"{workdir}: process 0 cannot train there: see its message")
        yield


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """`held` for the process that takes the lock."""
    made = [place for place in (workdir, *workdir.parents) if not os.path.lexists(place)]
    lock = FileLock(workdir / LOCK)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        before = set(workdir.iterdir())
        _take(lock, workdir)
    except OSError as error:
        _remove_empty(made)
        raise InputError(
            f"cannot train in {workdir} ({error.strerror or error}): check its permissions and the "
            "free space, or give another --workdir"
        ) from error
    holder = workdir / HOLDER
    try:
        yield
    except BaseException:
        holder.unlink(missing_ok=True)
        if workdir / LOCK not in before:  # still locked, so a new process makes another file
            (workdir / LOCK).unlink(missing_ok=True)
        _remove_empty([*(set(workdir.iterdir()) - before), *made])
        raise
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _take(lock: BaseFileLock, workdir: Path) -> None:
    """Take the lock, and record the process that holds it.

    Raises:
      InputError: another process holds the lock.
      OSError: the directory cannot be written.
    """
    holder = workdir / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{workdir}: {_read(holder) or 'another process'} trains there: wait for it or stop "
            "it, or give another --workdir"
        ) from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        say(f"note: the file system of {workdir} has no locks: do not start a second run there")
    started = time.strftime("%Y-%m-%d %H:%M:%S %z")
    holder.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {started})")


def _read(holder: Path) -> str:
    with contextlib.suppress(OSError):  # the other run has just begun, or just ended
        return holder.read_text()
    return ""


def _remove_empty(places: Sequence[Path]) -> None:
    """Remove the empty directories among `places`, in this order."""
    for place in places:
        with contextlib.suppress(OSError):
            place.rmdir()
