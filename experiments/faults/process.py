"""One command in a process of its own, under whatever a shell or a machine can do to it.

Most are forks of this process, which has imported everything and computed nothing: they start in
no time, and know no difference. What concerns the start itself is a new Python.
"""

import contextlib
import dataclasses
import importlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from lupi_jax import cli
from lupi_jax.cli import program

NOBODY = 65534
LIMIT_SECONDS = 240.0
"""After which a command is taken for hung."""

MODULES = (
    *(f"lupi_jax.{name}" for name in ("evaluation", "training", "report", "report.pictures")),
    *("lupi_jax.synthetic", "lupi_jax.data", "jinja2", "sklearn.manifold"),
)


@dataclasses.dataclass(frozen=True)
class Start:
    """How a command is started.

    Attributes:
      words: the command line's words after `lupi`.
      folder: the working directory; hidden files in it keep stdout and stderr.
      environment: variables of its own.
      shell: what a shell adds behind the command, as ">&-"; this is a new Python.
      fresh: whether it is a new Python.
      file_bytes: how long a file may grow.
      nobody: whether it runs as the user nobody, whom permissions bind.
      number: the signal it gets in the midst of its writing.
      event: counted from 1, the change of a file below `watched` at which it gets that signal.
      delay: seconds from the event to the signal.
      watched: the directory whose changes count.
    """

    words: list[str]
    folder: Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shell: str = ""
    fresh: bool = False
    file_bytes: int | None = None
    nobody: bool = False
    number: signal.Signals = signal.SIGKILL
    event: int = 0
    delay: float = 0.0
    watched: Path | None = None


@dataclasses.dataclass(frozen=True)
class End:
    """How a command ended.

    Attributes:
      status: the exit status; negative, the signal that ended it; None, it hung.
      out: what it wrote to stdout.
      err: what it wrote to stderr.
      seconds: from its start to the end of waiting for it.
      busy: seconds that processors spent on it.
      megabytes: the most memory that it had at once.
      events: how many changes of files below `watched` there were.
    """

    status: int | None
    out: bytes
    err: bytes
    seconds: float
    busy: float
    megabytes: int
    events: int

    @property
    def lines(self) -> list[str]:
        """What it said on stderr."""
        return self.err.decode(errors="backslashreplace").splitlines()


def prepare_forks(programs: Path) -> None:
    """Import what the commands need, and have compiled programs kept in `programs`."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ.setdefault("MPLCONFIGDIR", str(programs))
    for name in MODULES:
        importlib.import_module(name)
    program.make_parser()  # imports every command


class Running:
    """A command that has been started."""

    def __init__(self, start: Start) -> None:
        self._files = [start.folder / name for name in (".stdout", ".stderr", ".events")]
        for file in self._files:
            file.write_bytes(b"")
            file.chmod(0o666)
        self._begun = time.monotonic()
        self._child = os.fork()
        if not self._child:
            _be(start, *self._files)

    @property
    def over(self) -> bool:
        """Whether `end` would return at once."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        ended = os.waitid(os.P_PID, self._child, flags) is not None
        return ended or time.monotonic() - self._begun > LIMIT_SECONDS

    def end(self, until: Callable[[float], bool] = lambda seconds: False) -> End:
        """Wait for its end.

        Args:
          until: asked every few milliseconds with the seconds since its start; True kills it and
            all that it has started.
        """
        ended, status, used = 0, 0, None
        killed = hung = False
        while not ended:
            ended, status, used = os.wait4(self._child, 0 if killed else os.WNOHANG)
            if ended:
                break
            seconds = time.monotonic() - self._begun
            hung = hung or seconds > LIMIT_SECONDS
            if hung or until(seconds):
                _kill(self._child)
                killed = True
            else:
                time.sleep(0.005)
        seconds = round(time.monotonic() - self._begun, 2)
        _kill(self._child)  # the group: workers that it may have left
        code = None if hung else os.waitstatus_to_exitcode(status)
        assert used is not None
        most, busy = used.ru_maxrss // 1024, round(used.ru_utime + used.ru_stime, 2)
        out, err, events = (file.read_bytes() for file in self._files)
        for file in self._files:
            file.unlink()
        return End(code, out, err, seconds, busy, most, len(events))


def run(start: Start, until: Callable[[float], bool] = lambda seconds: False) -> End:
    """Run a command to its end, which `until` may bring: as `Running.end`."""
    return Running(start).end(until)


def _kill(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _be(start: Start, out: Path, err: Path, events: Path) -> NoReturn:
    """Become the command."""
    status = 1
    try:
        os.setsid()
        os.chdir(start.folder)
        counted = os.open(events, os.O_WRONLY)
        for descriptor, file in ((1, out), (2, err)):
            opened = os.open(file, os.O_WRONLY | os.O_APPEND)
            os.dup2(opened, descriptor)
            os.close(opened)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(start.environment)
        if start.nobody:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        if start.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (start.file_bytes, start.file_bytes))
        if start.fresh or start.shell:
            _become_new(start)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        sys.argv = ["lupi", *start.words]
        if start.watched is not None:
            _watch(start, counted)
        status = cli.main()
    except SystemExit as error:  # of argparse
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _become_new(start: Start) -> NoReturn:
    python = [sys.executable, "-m", "lupi_jax", *start.words]
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    if not start.shell:
        os.execv(sys.executable, python)
    # Of a pipe the status is the command's own, not the reader's.
    script = f'set -o pipefail; "$@" {start.shell}'
    os.execv("/bin/bash", ["bash", "-c", script, "lupi", *python])


def _watch(start: Start, counted: int) -> None:
    """Count changes of files, and send this process its signal at the one asked for."""
    place = str(start.watched)
    seen = 0

    def strike() -> None:
        if start.number == signal.SIGKILL:
            os.killpg(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), start.number)

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if not _changes(event, arguments, place):
            return
        seen += 1
        os.write(counted, b".")
        if seen == start.event:
            if start.delay:
                threading.Timer(start.delay, strike).start()
            else:
                strike()

    sys.addaudithook(hear)


def _changes(event: str, arguments: tuple[object, ...], place: str) -> bool:
    """Whether an audit event of Python is about to change a file below `place`."""
    if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
        return False
    if event == "open":
        flags = arguments[2]
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
            return False
    path = arguments[0]
    return isinstance(path, str | os.PathLike) and place in os.path.abspath(os.fspath(path))
