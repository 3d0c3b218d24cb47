"""What Ctrl-C does to a command: one line that says what was saved, and the exit status 130."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STATUS = 130
SAVED = "interrupted; what was saved is intact"


def catch_at_start() -> None:
    """Let Ctrl-C end this process at once while it imports, when there is nothing to lose.

    A `KeyboardInterrupt` would not do: in the midst of an import Python or a library may print it
    with its traceback and go on. A process that ignores Ctrl-C, as one in the background, goes on
    ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, since from now on there is something to lose."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def interrupted(saved: str | Callable[[], str]) -> Iterator[None]:
    """Answer Ctrl-C with what was saved until then: `saved`, or what it says when called."""
    try:
        yield
    except KeyboardInterrupt as error:
        text = saved if isinstance(saved, str) else saved()
        raise KeyboardInterrupt(f"interrupted; {text}") from error


def _end(number: int, frame: FrameType | None) -> None:
    # Not by sys.stderr, in the midst of whose work this may come.
    os.write(2, f"lupi: {SAVED}\n".encode())
    os._exit(STATUS)
