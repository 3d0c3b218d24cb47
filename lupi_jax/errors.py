"""The errors that are not a fault of this package, and helpers that word their messages."""

import re
from collections.abc import Collection, Iterable
from typing import ClassVar


class InputError(ValueError):
    """An input (a file, a folder, a config field) cannot be used.

    The message is one line that says what is wrong, where, and what to do. The command line
    prints it and exits with `status`.
    """

    status: ClassVar[int] = 2


class DivergedError(RuntimeError):
    """A figure of the training is not finite. The message names the step and the term."""

    status: ClassVar[int] = 1


class StoppedError(RuntimeError):
    """Training stopped on request. All finished steps are saved; the message says which.

    The status is EX_TEMPFAIL, because the same command resumes the run.
    """

    status: ClassVar[int] = 75


class LeftOutError(RuntimeError):
    """Some inputs could not be used. The message names them; the command handled the others."""

    status: ClassVar[int] = 3


LOST_STATUS = 76
"""The exit status if another process of the run is lost or hangs."""


def shorten(text: object, most: int = 300) -> str:
    """Put `text` on one line of at most `most` characters, cut in the middle.

    The end stays because libraries write the cause at the end of a long message.
    """
    line = " ".join(str(text).split())
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half]} ... {line[-half:]}"


_PATH = 120
"""Most characters of a path in a message."""


def fit(message: object, paths: Iterable[object] = ()) -> str:
    """Put a message on one line of at most 1000 characters that a terminal can show.

    Long paths (up to 4096 characters) are cut in the middle, so that the reason stays readable.

    Args:
      message: the message.
      paths: the paths that the message may name. A path without blanks is also recognised if it
        is not among them.
    """
    text = str(message)
    for path in sorted(map(str, paths), key=len, reverse=True):
        if len(path) > _PATH:
            text = text.replace(path, shorten(path, _PATH))
    text = re.sub(rf"\S{{{_PATH + 1},}}", lambda word: shorten(word[0], _PATH), text)
    return shown(shorten(text, 1000))


def shown(text: object) -> str:
    """Escape the characters of `text` that a terminal or a file cannot show.

    File names may hold any bytes except / and NUL. Bytes that are not UTF-8, line breaks and other
    control characters become escapes such as \\xff.
    """
    return "".join(map(_shown, str(text)))


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # Python's stand-in for a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: "1 image", "2 images", "3 identities".

    Args:
      count: how many there are.
      one: the noun in the singular.
      many: the plural, if it is not regular.
    """
    several = many or (f"{one[:-1]}ies" if one.endswith("ity") else f"{one}s")
    return f"{count} {one if count == 1 else several}"


def reason(error: OSError) -> str:
    """Say what the system reports in `error`, without the path: "No space left on device"."""
    return error.strerror or shorten(error) or type(error).__name__


def some(items: Collection[object], most: int = 10) -> str:
    """List the first `most` of `items` for a message, and "..." if there are more."""
    return ", ".join(map(str, list(items)[:most])) + (", ..." if len(items) > most else "")
