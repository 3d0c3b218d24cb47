"""Run one part in its own process: read its figures as they come, and report how it ended.

Parts import JAX and this package inside the functions that compute. Those functions run in further
processes. Importing takes seconds, and a process that only waits does not need it.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.gpu.figures import NotPossibleError, keep_channel, say_not_possible
from experiments.gpu.setup import Setup

ROOT = Path(__file__).parents[2]
Heard = Callable[[dict[str, Any]], None]


def environment(**changes: str) -> dict[str, str]:
    """Environment variables for a process that imports the same modules as this one."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}


@contextlib.contextmanager
def variables(**changes: str) -> Iterator[None]:
    """Set environment variables for the processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def run_part(function: str, setup: Setup, log: Path, heard: Heard) -> tuple[str, str]:
    """Run a part to its end, or to the end of its time.

    The part and the processes that it starts are one process group, and end together.

    Args:
      function: dotted name of the function that the part calls with the setup.
      setup: the setup; its `seconds` are the part's time.
      log: file for the part's standard error.
      heard: called with each message of the part, at once.

    Returns:
      The status ("done", "failed", "out of time" or "not possible"), and why.
    """
    command = [sys.executable, "-m", "experiments.gpu.running", function]
    command.append(json.dumps(dataclasses.asdict(setup)))
    late = threading.Event()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(JAX_COMPILATION_CACHE_DIR=str(setup.programs)),
            start_new_session=True,
        )

    def end() -> None:
        late.set()
        _kill(process.pid)

    timer = threading.Timer(setup.seconds, end)
    timer.daemon = True
    timer.start()
    impossible = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):  # the part was cut off
                break
            message = json.loads(line)
            if "not_possible" in message:
                impossible = message["not_possible"]
            else:
                heard(message)
        status = process.wait()
    finally:
        timer.cancel()
        _kill(process.pid)
        process.wait()
    if late.is_set():
        return "out of time", f"its {setup.seconds:.0f} s were over"
    if impossible:
        return "not possible", impossible
    if status:
        return "failed", f"ended with {status_text(status)}: {reason(log)}"
    return "done", ""


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def read_rows(workdir: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's metrics.jsonl so far."""
    file = workdir / "metrics.jsonl"
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def phases(log: Path) -> tuple[str, ...]:
    """The lines of a log in which `--profile` reports a phase."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return tuple(line for line in lines if re.match(r"\[ *[0-9.]+ s\] ", line))


def phase_seconds(log: Path, name: str) -> list[float]:
    """Seconds of each phase called `name` in a log."""
    lines = (line.partition("] ")[2].rpartition(": ") for line in phases(log))
    return [float(text.removesuffix(" s")) for found, _, text in lines if found == name]


def status_text(status: int) -> str:
    """An exit status in words; a negative one comes from a signal."""
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def last_lines(log: Path, count: int = 60) -> tuple[str, ...]:
    """The end of a log, without empty lines."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return tuple(line[:500] for line in lines if line.strip())[-count:]


def reason(log: Path) -> str:
    """Why a process ended: in its log, the line of C++ before the stack trace, or the last line."""
    lines = last_lines(log, 500)
    fatal = r"^F\d{4}|Check failed|terminate called|Fatal Python error"
    said = [line for line in lines if re.search(fatal, line)][:1] or lines[-1:]
    return said[0] if said else "the log is empty"


class Command:
    """`lupi` in its own process, timed from its start."""

    def __init__(self, setup: Setup, name: str, *arguments: str, **changes: str) -> None:
        """Start `lupi ARGUMENTS`.

        Args:
          setup: setup of the run.
          name: name of the files for the output.
          arguments: arguments of `lupi`.
          changes: environment variables; JAX_COMPILATION_CACHE_DIR is the shared one by default.
        """
        self._name = arguments[0]
        self.output, self.log = setup.at(f"{name}.out"), setup.at(f"{name}.log")
        changes = {"JAX_COMPILATION_CACHE_DIR": str(setup.programs), **changes}
        program = "import sys, lupi_jax.cli as c; sys.exit(c.main())"
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self.begun = time.perf_counter()
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                stdout=output,
                stderr=log,
                env=environment(**changes),
            )

    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begun

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Kills the process if it does not end in time."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def require(self) -> float:
        """Wait for the end, and return the seconds it took.

        Raises:
          RuntimeError: the exit status is not 0.
        """
        status = self.wait()
        seconds = self.seconds()
        if status:
            raise RuntimeError(
                f"lupi {self._name} ended with {status_text(status)}: {reason(self.log)}"
            )
        return seconds


def main() -> int:
    """Call the function that the first argument names, with the setup in the second."""
    keep_channel()
    module, name = sys.argv[1].rsplit(".", 1)
    try:
        getattr(importlib.import_module(module), name)(Setup(**json.loads(sys.argv[2])))
    except NotPossibleError as error:
        say_not_possible(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
