"""How long each phase of a command takes, written to the log at its debug level."""

import atexit
import contextlib
import logging
import time
from collections.abc import Iterator

LOGGER = "lupi_jax.phases"
_LOGGER = logging.getLogger(LOGGER)
_IMPORTED = _last_line = time.perf_counter()


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Log the seconds that the work in here takes, also where it fails."""
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
    """Print the phases on stderr, each with the seconds since the command started.

    The last one is the wait for the process's threads once the command is over.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_with_age)
    handler.setFormatter(logging.Formatter("[%(age)8.2f s] %(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.propagate = False
    atexit.register(lambda: record_phase("leaving", time.perf_counter() - _last_line))


def hide_phases() -> None:
    """Print no more phases."""
    _LOGGER.handlers = [logging.NullHandler()]


def _with_age(record: logging.LogRecord) -> bool:
    record.age = process_age()
    return True


def process_age() -> float:
    """Seconds since this module was imported, which a command does first."""
    return time.perf_counter() - _IMPORTED
