"""The command line: parses, and calls `lupi_jax.cli`."""

import contextlib
import errno
import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from types import CoroutineType

from lupi_jax.cli.arguments import make_parser
from lupi_jax.errors import (
    LOST_STATUS,
    DivergedError,
    InputError,
    MismatchError,
    StoppedError,
    shorten,
)
from lupi_jax.runtime import hosts
from lupi_jax.runtime.backend import SHARE_GPU, is_out_of_memory
from lupi_jax.runtime.compilation import keep_programs
from lupi_jax.runtime.memory import keep_pages
from lupi_jax.runtime.phases import hide_phases, phase, process_age, record_phase, show_phases


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
      The exit status: 0; 1, training diverged, or no parity; 2, bad input; 75, training was asked
      to stop, with all that was trained saved; 76, another process of the run is lost or hangs;
      130, interrupted.
    """
    # JAX has set 1 by now. 3, since TensorFlow calls it an error that there is no GPU.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    parser = make_parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)  # argparse would say that COMMAND is required, and no more
        return 2
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unknown argument {rest[0]}")
    options.rest = rest
    if getattr(options, "profile", None) is not None:
        show_phases()
    try:
        _quieten()
        keep_programs()
        if hasattr(options, "distributed"):
            keep_pages()  # before the threads that joining starts
            joined = (options.coordinator, options.processes, options.process)
            stops = options.command == ("train", "train")
            with phase("looking for other processes"):
                hosts.join(options.distributed, *joined, stops=stops)
            if not hosts.is_first():
                hide_phases()
        module, function = options.command
        # Imported by its command alone: `lupi --help` need not wait for Orbax.
        run = getattr(importlib.import_module(f"lupi_jax.cli.{module}"), function)
        record_phase("imports", process_age())
        run(options)
        record_phase("the whole command", process_age())
    except BaseException as error:
        status, message = _verdict(error)
        if status is None:
            if not hosts.joined():
                raise
            traceback.print_exc()
            status, message = 1, "stopped by a fault of its own"
        _fail(message)
        if status != StoppedError.status or not hosts.joined():
            _leave(status, alone=arguments is None)
        return status
    return 0


_SMALLER = (
    "training takes less with a lower batch.identities or data.image_size, or without "
    "data.feed=device"
)


def _verdict(error: BaseException) -> tuple[int | None, str]:
    """Exit status and message for what ended a command; None for a fault of this package."""
    match error:
        case InputError():
            return 2, str(error)
        case DivergedError() | MismatchError():
            return 1, str(error)
        case _ if hosts.is_lost(error):
            return LOST_STATUS, f"another process of this run is lost ({error})"
        case OSError() if error.filename is not None:
            return 2, f"{error.filename}: {error.strerror}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return 2, f"{error.strerror}: make room; what was saved is intact"
        case BrokenPipeError():
            return 2, "standard output was closed before all was written"
        case MemoryError():
            return 2, f"out of memory ({error}): {_SMALLER}"
        case RuntimeError() if is_out_of_memory(error):
            return 2, f"out of the device's memory ({shorten(error)}): {_SMALLER}; {SHARE_GPU}"
        case StoppedError():
            return StoppedError.status, f"{error}; the same command goes on"
        case KeyboardInterrupt():
            return 130, str(error) or "interrupted; what was saved is intact"
    return None, ""


def _quieten() -> None:
    """Keep libraries from logging what they raise as well, with tracebacks, and from narrating."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax and TFDS
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Orbax's tasks
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # every try of a dead network
    sys.unraisablehook = _unraisable


def _unraisable(caught: "sys.UnraisableHookArgs") -> None:
    # After one of Orbax's tasks has failed, which is raised, the others fail unseen.
    if isinstance(caught.object, CoroutineType) or "loop is closed" in str(caught.exc_value):
        return
    sys.__unraisablehook__(caught)


def _fail(message: str) -> None:
    # One line, whatever a library or a user's config file wrote into its exception.
    print(f"lupi: {shorten(message, 1000)}", file=sys.stderr)


def _leave(status: int, alone: bool) -> None:
    """End the process at once where it is one of several, or `alone` and the command's own.

    Leaving properly means waiting: for other processes, which may be waiting for this one, and for
    threads that may be waiting for what has failed (Orbax's, for minutes), or that go on to fail.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # as a full disk behind one
            stream.flush()
    if hosts.joined():
        # The first goes last: without it JAX aborts the others before they have said why they end.
        if hosts.is_first():
            time.sleep(3)
        os._exit(status)
    if alone:
        os._exit(status)
