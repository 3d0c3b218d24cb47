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
from lupi_jax.errors import LOST_STATUS, InputError, StoppedError, fit, reason, shorten
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

first steps:
  lupi make-synthetic --out data/synthetic --difficulty easy
  lupi train --config configs/synthetic.py --workdir runs/demo
  lupi evaluate --workdir runs/demo

commands (details: lupi COMMAND --help):
"""

FIELDS = "[--config.FIELD=VALUE ...]"
"""How a usage line shows that a command takes fields of the configuration."""

ABOUT_FIELDS = """\
--config.FIELD=VALUE sets a field of the configuration. For a trained network it
has to be a field that "may change when a run is evaluated" in `lupi config`."""

SMALLER = "in training, lower batch.identities or data.image_size, or change data.feed"


class _Parser(argparse.ArgumentParser):
    """A parser whose messages are fit to print, though arguments may have any character."""

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
    # argparse's own lists are hidden, so that the help of `lupi` fits on a screen.
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
        # Defaults of options that not every command has. With `takes_fields` a command takes
        # `--config.FIELD`.
        command.set_defaults(takes_fields=False, untrained=False, fetch=False)
        command.set_defaults(config=None, data_root=None, distributed=None, profile=None)
        module.add_arguments(command)
        if command.get_default("takes_fields") and command.usage is None:
            _say_fields(command)
    parser.description = DESCRIPTION + "\n".join(lines)
    return parser


def _say_fields(command: argparse.ArgumentParser) -> None:
    """Add `--config.FIELD=VALUE` to the help of a command that takes some fields of a run."""
    usage = command.format_usage().removeprefix("usage: ").rstrip().replace("%", "%%")
    command.usage = f"{usage}\n{' ' * len(f'usage: {command.prog} ')}{FIELDS}"
    command.epilog = f"{command.epilog}\n\n{ABOUT_FIELDS}"


def run(arguments: Sequence[str], alone: bool) -> int:
    """`lupi_jax.cli.main`; `alone` says whether the process belongs to the command."""
    if arguments and arguments[0] == "--version":
        print(f"lupi-jax {importlib.metadata.version('lupi-jax')}")
        return 0
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "1").strip("0"):
            del os.environ[name]  # rich would print nothing; now it asks the terminal itself
    parser = make_parser()
    if not arguments:
        parser.print_help(sys.stderr)  # argparse would only say that COMMAND is required
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
        sys.stdout.flush()  # otherwise it would fail when Python ends, with a traceback
        record_phase("the whole command", process_age())
    except BaseException as error:
        hosts = sys.modules.get("lupi_jax.runtime.hosts")  # not imported: JAX itself may fail
        several = hosts is not None and hosts.joined()
        status, message = verdict(error, options.saved)
        if status is None:
            if not several:
                raise
            traceback.print_exc()
            status, message = 1, "stopped by the unexpected error shown above"
        # One line, whatever a library or a user's config file wrote into its exception.
        with contextlib.suppress(OSError):  # nobody reads it
            print(f"lupi: {fit(message, _texts(options))}", file=sys.stderr, flush=True)
        leaves = status != StoppedError.status if several else alone
        if leaves:
            # Process 0 leaves last. Otherwise JAX aborts the others before they say why they end.
            _leave(status, wait=3 if hosts and several and hosts.is_first() else 0)
        return status
    return 0


def _expand(options: argparse.Namespace) -> None:
    """Replace the `~` at the start of an option's value by the home directory.

    A shell does so in `--out ~/x`, but not in `--out=~/x`. Only paths begin with `~`.
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
    """Import the modules that the command needs, set them up, and join other processes.

    Raises:
      InputError: a library refuses its settings, or `hosts.join` fails.
    """
    if options.profile is not None:
        show_phases()
    with _settings_named():
        from lupi_jax.runtime import hosts
    from lupi_jax.runtime.compilation import keep_programs
    from lupi_jax.runtime.memory import keep_pages

    # JAX has set 1 by now. 3 is needed because TensorFlow reports a missing GPU as an error.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    _quieten()
    keep_programs()
    if options.distributed:
        keep_pages()  # before joining starts threads
        joined = (options.coordinator, options.processes, options.process)
        with phase("looking for other processes"):
            hosts.join(options.distributed, *joined, stops=options.command == "train")
        if hosts.joined():
            raise_again()  # so that this process tells the others why it ends
        if not hosts.is_first():
            hide_phases()
    with _settings_named():
        for name in options.needs:
            importlib.import_module(f"lupi_jax.{name}")
    record_phase("imports", process_age())


@contextlib.contextmanager
def _settings_named() -> Iterator[None]:
    """If a library refuses its settings while it is imported, say where they are set."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        if not _reads_settings(error):
            raise
        raise InputError(
            f"a library refuses its settings ({shorten(error)}): correct the variables JAX_* or "
            "the file matplotlibrc"
        ) from error


def _reads_settings(error: BaseException) -> bool:
    """Whether an error comes from where JAX or Matplotlib reads its settings."""
    reads = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, inside = frame.f_globals.get("__name__"), frame.f_code.co_name != "<module>"
        if name == "jax._src.config" or (inside and name in ("matplotlib", "matplotlib.rcsetup")):
            reads = True
        elif not inside:
            reads = False  # a module that JAX or Matplotlib imports
    return reads


def verdict(error: BaseException, saved: str = "") -> tuple[int | None, str]:
    """Exit status and message for the error that ended a command.

    The status is None for a fault of this package.
    """
    own = getattr(type(error), "status", None)
    if isinstance(own, int):
        goes_on = "; run the same command to resume" if isinstance(error, StoppedError) else ""
        return own, f"{error}{goes_on}"

    from lupi_jax.runtime import hosts
    from lupi_jax.runtime.backend import SHARE_GPU, is_out_of_memory

    match error:
        case _ if hosts.is_lost(error):
            return LOST_STATUS, f"another process of this run is lost ({error})"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            where = f"{error.filename}: " if error.filename is not None else ""
            mend = "raise `ulimit -f`" if error.errno == errno.EFBIG else "make room"
            return InputError.status, f"{where}{reason(error)}: {mend}; what was saved is intact"
        case OSError() if error.filename is not None:
            return InputError.status, f"{error.filename}: {reason(error)}"
        case BrokenPipeError():
            return InputError.status, "standard output was closed before everything was written"
        case MemoryError():
            return InputError.status, f"out of memory ({error}): {SMALLER}"
        case RuntimeError() if is_out_of_memory(error):
            what = f"out of the device's memory ({shorten(error)})"
            return InputError.status, f"{what}: {SMALLER}; {SHARE_GPU}"
        case KeyboardInterrupt():
            return INTERRUPTED, str(error) or f"interrupted; {saved}"
    return None, ""


def _quieten() -> None:
    """Keep libraries from logging their progress, and the errors that they also raise."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax and TFDS
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Orbax's tasks
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each try without a network
    warnings.filterwarnings("ignore", module=r"PIL\b")  # EXIF data that it cannot read
    warnings.filterwarnings("ignore", "Glyph .* missing from")  # names in any script are drawn
    sys.unraisablehook = _unraisable


def _unraisable(caught: "sys.UnraisableHookArgs") -> None:
    # When one of Orbax's tasks fails, its error is raised. The errors of the others are hidden.
    orbax = isinstance(caught.object, CoroutineType) or "loop is closed" in str(caught.exc_value)
    if not orbax:
        sys.__unraisablehook__(caught)


def _leave(status: int, wait: float) -> NoReturn:
    """End the process after `wait` seconds, without waiting for processes or threads of Orbax."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # such as a full disk
            stream.flush()
    time.sleep(wait)
    os._exit(status)
