"""One run of `lupi`: parse the arguments, call the command, and say how it ended."""

import argparse
import contextlib
import errno
import importlib
import importlib.metadata
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CoroutineType
from typing import Any, NoReturn

from lupi_jax.cli import INTERRUPTED, raise_again
from lupi_jax.config.file import parse_overrides
from lupi_jax.errors import LOST_STATUS, InputError, StoppedError, fit, shorten
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.phases import hide_phases, phase, process_age, record_phase, show_phases

COMMANDS = (
    "make-synthetic",
    "index",
    "check-data",
    "prepare",
    "config",
    "train",
    "evaluate",
    "compare",
    "report",
    "export",
    "search",
    "parity",
)

DESCRIPTION = """\
Find the same person across visible and infrared cameras.

to start with:
  lupi make-synthetic --out data/synthetic
  lupi train --config configs/synthetic.py --workdir runs/demo
  lupi evaluate --workdir runs/demo

commands (details: lupi COMMAND --help):
"""

SMALLER = "training takes less with a lower batch.identities or data.image_size, or another feed"


class _Parser(argparse.ArgumentParser):
    """Its messages repeat arguments, which may have any character."""

    def error(self, message: str) -> NoReturn:
        super().error(fit(message))


def make_parser() -> argparse.ArgumentParser:
    """The parser of `lupi`."""
    parser = _Parser(
        prog="lupi",
        usage="lupi COMMAND ...\n       lupi --version",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    # The help of `lupi` is short, since all of it is to fit a screen.
    hidden = argparse.SUPPRESS
    parser.add_argument("-h", "--help", action="help", help=hidden)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=hidden, prog="lupi")
    width = max(map(len, COMMANDS))
    lines = []
    for name in COMMANDS:
        module = importlib.import_module(f"lupi_jax.cli.{name.replace('-', '_')}")
        lines.append(f"  {name:{width}}  {module.SUMMARY}")
        command = commands.add_parser(
            name,
            description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.",
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(command=name, needs=module.NEEDS, run=module.run, saved=module.SAVED)
        # What not every command has; `takes_fields` says whether it takes `--config.FIELD`.
        command.set_defaults(takes_fields=False, untrained=False, config=None)
        command.set_defaults(data_root=None, distributed=None, profile=None)
        module.add_arguments(command)
    parser.description = DESCRIPTION + "\n".join(lines)
    return parser


def run(arguments: Sequence[str], alone: bool) -> int:
    """`lupi_jax.cli.main` for a process that belongs to the command `alone`, or does not."""
    if arguments and arguments[0] == "--version":
        print(f"lupi-jax {importlib.metadata.version('lupi-jax')}")
        return 0
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "1").strip("0"):
            del os.environ[name]  # rich would print nothing; now the terminal itself is asked
    parser = make_parser()
    if not arguments:
        parser.print_help(sys.stderr)  # argparse would say that COMMAND is required, and no more
        return 2
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unknown argument {rest[0]}")
    try:
        _expand(options)
        options.overrides = parse_overrides(rest)
        if options.data_root is not None:
            options.overrides["data.root"] = options.data_root
        _start(options)
        raise_again()
        options.run(options)
        sys.stdout.flush()  # what fails here would else fail when Python ends, as a traceback
        record_phase("the whole command", process_age())
    except BaseException as error:
        hosts = sys.modules.get("lupi_jax.runtime.hosts")  # JAX may be what cannot be imported
        several = hosts is not None and hosts.joined()
        status, message = verdict(error, options.saved)
        if status is None:
            if not several:
                raise
            traceback.print_exc()
            status, message = 1, "stopped by an unexpected error, shown above"
        # One line, whatever a library or a user's config file wrote into its exception.
        print(f"lupi: {fit(message, _texts(options))}", file=sys.stderr)
        leaves = status != StoppedError.status if several else alone
        if leaves:
            # The first goes last: else JAX aborts the others before they have said why they end.
            _leave(status, wait=3 if hosts and several and hosts.is_first() else 0)
        return status
    return 0


def _expand(options: argparse.Namespace) -> None:
    """Put the home directory in place of the `~` that begins an option's value.

    A shell has done it in `--out ~/x`, and not in `--out=~/x`. Nothing but paths begins like that.
    """

    def at_home(value: Any) -> Any:
        if isinstance(value, list):
            return [at_home(item) for item in value]
        if not isinstance(value, str | Path) or not str(value).startswith("~"):
            return value
        return type(value)(expand(value))

    for name, value in vars(options).items():
        setattr(options, name, at_home(value))


def _texts(options: argparse.Namespace) -> Iterator[str]:
    """The values of a command's options that may be paths."""
    for value in vars(options).values():
        inside = value.values() if isinstance(value, dict) else value
        several = inside if isinstance(value, list | dict) else [value]
        yield from (str(each) for each in several if isinstance(each, str | Path))


def _start(options: argparse.Namespace) -> None:
    """Import what the command needs, set it up, and join other processes.

    Raises:
      InputError: a library cannot be imported with its settings; or as `hosts.join`.
    """
    if options.profile is not None:
        show_phases()
    with _settings_named():
        from lupi_jax.runtime import hosts
    from lupi_jax.runtime.compilation import keep_programs
    from lupi_jax.runtime.memory import keep_pages

    # JAX has set 1 by now. 3, since TensorFlow calls it an error that there is no GPU.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    _quieten()
    keep_programs()
    if options.distributed:
        keep_pages()  # before the threads that joining starts
        joined = (options.coordinator, options.processes, options.process)
        with phase("looking for other processes"):
            hosts.join(options.distributed, *joined, stops=options.command == "train")
        if hosts.joined():
            raise_again()  # the others are to hear why this process ends
        if not hosts.is_first():
            hide_phases()
    with _settings_named():
        for name in options.needs:
            importlib.import_module(f"lupi_jax.{name}")
    record_phase("imports", process_age())


@contextlib.contextmanager
def _settings_named() -> Iterator[None]:
    """Say where a library has settings, if its import in here refuses one."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        if not _reads_settings(error):
            raise
        raise InputError(
            f"a library refuses its settings ({shorten(error)}): correct what sets them, such as "
            "the variables JAX_* or a file matplotlibrc"
        ) from error


def _reads_settings(error: BaseException) -> bool:
    """Whether an error comes from where JAX or Matplotlib reads its settings."""
    reads = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, inside = frame.f_globals.get("__name__"), frame.f_code.co_name != "<module>"
        if name == "jax._src.config" or (inside and name in ("matplotlib", "matplotlib.rcsetup")):
            reads = True
        elif not inside:
            reads = False  # another module, which they import
    return reads


def verdict(error: BaseException, saved: str = "") -> tuple[int | None, str]:
    """Exit status and message for what ended a command; None for a fault of this package."""
    own = getattr(type(error), "status", None)
    if isinstance(own, int):
        goes_on = "; the same command goes on" if isinstance(error, StoppedError) else ""
        return own, f"{error}{goes_on}"

    from lupi_jax.runtime import hosts
    from lupi_jax.runtime.backend import SHARE_GPU, is_out_of_memory

    match error:
        case _ if hosts.is_lost(error):
            return LOST_STATUS, f"another process of this run is lost ({error})"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            where = f"{error.filename}: " if error.filename is not None else ""
            mend = "raise `ulimit -f`" if error.errno == errno.EFBIG else "make room"
            return InputError.status, f"{where}{error.strerror}: {mend}; what was saved is intact"
        case OSError() if error.filename is not None:
            return InputError.status, f"{error.filename}: {error.strerror}"
        case BrokenPipeError():
            return InputError.status, "standard output was closed before all was written"
        case MemoryError():
            return InputError.status, f"out of memory ({error}): {SMALLER}"
        case RuntimeError() if is_out_of_memory(error):
            what = f"out of the device's memory ({shorten(error)})"
            return InputError.status, f"{what}: {SMALLER}; {SHARE_GPU}"
        case KeyboardInterrupt():
            return INTERRUPTED, str(error) or f"interrupted; {saved}"
    return None, ""


def _quieten() -> None:
    """Keep libraries from logging what they raise as well, and from narrating."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax and TFDS
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Orbax's tasks
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # every try of a dead network
    warnings.filterwarnings("ignore", module=r"PIL\b")  # of EXIF data that it cannot read
    warnings.filterwarnings("ignore", "Glyph .* missing from")  # names in any script are drawn
    sys.unraisablehook = _unraisable


def _unraisable(caught: "sys.UnraisableHookArgs") -> None:
    # After one of Orbax's tasks has failed, which is raised, the others fail unseen.
    orbax = isinstance(caught.object, CoroutineType) or "loop is closed" in str(caught.exc_value)
    if not orbax:
        sys.__unraisablehook__(caught)


def _leave(status: int, wait: float) -> NoReturn:
    """End the process in `wait` seconds, and wait for no other process or thread of Orbax."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # as a full disk behind one
            stream.flush()
    time.sleep(wait)
    os._exit(status)
