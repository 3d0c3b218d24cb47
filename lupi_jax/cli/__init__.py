"""The command line: `lupi COMMAND`, with one module here for each command.

The module of a command has:

- `SUMMARY` and `EXAMPLE`, texts of its help,
- `add_arguments(parser)`,
- `NEEDS`, the modules to import before it runs,
- `SAVED`, which says what Ctrl-C leaves,
- `run(options)`, which raises InputError if something that was given cannot be used.

Help must come at once. So what needs JAX is imported inside functions, or looked up in `lupi_jax`,
which imports a module when it is first used.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 130
"""The exit status after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: the words after `lupi`. None takes the words that this process was started with;
        the process then belongs to the command, which may end it.

    Returns:
      The exit status:
        0: done;
        1: training diverged, or `lupi parity` found a difference;
        2: bad input;
        3: `lupi search` left out images that it could not read, and ranked the others;
        75: training was asked to stop, and everything it had trained is saved;
        76: another process of the run is lost or hangs;
        130: interrupted.
    """
    alone = arguments is None
    if alone:
        _catch_at_start()
        _open_streams()
    from lupi_jax.cli import program

    return program.run(sys.argv[1:] if arguments is None else arguments, alone)


def _catch_at_start() -> None:
    """Let Ctrl-C end this process at once while it imports and has nothing to lose.

    A `KeyboardInterrupt` would not do, because during an import Python or a library may print it
    and go on. A process that ignores Ctrl-C, such as one in the background, still ignores it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _open_streams() -> None:
    """Open on /dev/null whichever of stdin, stdout and stderr is closed, as in a daemon.

    Otherwise the next file that is opened takes its number, and libraries write messages into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def raise_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, once there is something to lose."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    # Not through sys.stderr: the signal may arrive while sys.stderr writes.
    os.write(2, b"lupi: interrupted; what was saved is intact\n")
    os._exit(INTERRUPTED)
