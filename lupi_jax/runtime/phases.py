"""Log how long each phase of a command takes, at level DEBUG."""

import atexit
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

LOGGER = "lupi_jax.phases"
_LOGGER = logging.getLogger(LOGGER)
_IMPORTED = time.monotonic()
_last_line = time.perf_counter()


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Log the seconds that this block takes, even if it fails."""
    start = time.perf_counter()
    try:
        yield
    finally:
        record_phase(name, time.perf_counter() - start)


def record_phase(name: str, seconds: float) -> None:
    """Log that the phase `name` took `seconds`."""
    global _last_line
    _last_line = time.perf_counter()
    _LOGGER.debug("%s: %.2f s", name, seconds)


def show_phases() -> None:
    """Print the phases on stderr, each with the seconds since the process started.

    The last phase is the wait for the process's threads after the command has ended.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_SinceStart("[%(age)8.2f s] %(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.propagate = False
    atexit.register(lambda: record_phase("leaving", time.perf_counter() - _last_line))


def hide_phases() -> None:
    """Print no more phases."""
    _LOGGER.handlers = [logging.NullHandler()]


class _SinceStart(logging.Formatter):
    """Adds the age of the process to a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; `%(age)f` is the age of the process in seconds."""
        record.age = process_age()
        return super().format(record)


def process_age() -> float:
    """Seconds since this process started, or without Linux's /proc since this import."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 in proc(5)
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, ValueError, IndexError):
        return time.monotonic() - _IMPORTED
