"""What Ctrl-C does to a command: one line that says what was saved, and the exit status 130."""

import os
import signal
from types import FrameType

STATUS = 130


def catch_at_start() -> None:
    """Let Ctrl-C end this process at once while it imports, when there is nothing to lose.

    A `KeyboardInterrupt` would not do: in the midst of an import Python or a library may print it
    and go on. A process that ignores Ctrl-C, as one in the background, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, since from now on there is something to lose."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    # Not by sys.stderr, in the midst of whose work this may come.
    os.write(2, b"lupi: interrupted; what was saved is intact\n")
    os._exit(STATUS)
