"""The command line: `lupi COMMAND`, with one module here for each command.

The module of a command has `SUMMARY` and `EXAMPLE` for its help, `add_arguments(parser)`, `NEEDS`,
modules to import before it runs, `SAVED`, what Ctrl-C leaves, and `run(options)`, which raises
InputError where something given cannot be used. Help must come at once: what needs JAX is imported
inside functions, or looked up in `lupi_jax`, which imports a module when it is first used.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 130
"""The exit status after Ctrl-C, which is answered by one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: the words after `lupi`; None for those that this process was started with. The
        process then belongs to the command, which may end it.

    Returns:
      The exit status: 0; 1, training diverged, or no parity; 2, bad input; 3, `lupi search` ranked
      what it could, without images that cannot be read; 75, training was asked to stop, with all
      that was trained saved; 76, another process of the run is lost or hangs; 130, interrupted.
    """
    alone = arguments is None
    if alone:
        _catch_at_start()
        _open_streams()
    from lupi_jax.cli import program

    return program.run(sys.argv[1:] if arguments is None else arguments, alone)


def _catch_at_start() -> None:
    """Let Ctrl-C end this process at once while it imports, when there is nothing to lose.

    A `KeyboardInterrupt` would not do: in the midst of an import Python or a library may print it
    and go on. A process that ignores Ctrl-C, as one in the background, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _open_streams() -> None:
    """Open what is closed of stdin, stdout and stderr, as a daemon's are, on /dev/null.

    Otherwise the next file to be opened takes its number, and libraries write messages into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def raise_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, since from now on there is something to lose."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    # Not by sys.stderr, in the midst of whose work this may come.
    os.write(2, b"lupi: interrupted; what was saved is intact\n")
    os._exit(INTERRUPTED)
