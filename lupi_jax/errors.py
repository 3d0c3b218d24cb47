"""What can go wrong that is not a fault of this package, and how a message says it."""

import re
from collections.abc import Collection, Iterable
from typing import ClassVar


class InputError(ValueError):
    """Something given from outside (a file, a folder, a config field) cannot be used.

    The message is one line that says what is wrong, where, and what to do. The command line
    prints it and exits with `status`.
    """

    status: ClassVar[int] = 2


class DivergedError(RuntimeError):
    """Training produced a figure that is not finite. The message names the step and the term."""

    status: ClassVar[int] = 1


class StoppedError(RuntimeError):
    """Training was asked to stop, and did. What was trained is saved; the message says where.

    The status is EX_TEMPFAIL: the same command goes on.
    """

    status: ClassVar[int] = 75


class LeftOutError(RuntimeError):
    """Some of what was given could not be used and is named; the command did the rest."""

    status: ClassVar[int] = 3


LOST_STATUS = 76
"""The exit status where another process of the run is gone, or hangs."""


def shorten(text: object, most: int = 300) -> str:
    """`text` on one line of at most `most` characters: its beginning and its end.

    Libraries write the cause at the end of a long message.
    """
    line = " ".join(str(text).split())
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half]} ... {line[-half:]}"


_PATH = 120
"""Characters of a path in a message, where it is longer."""


def fit(message: object, paths: Iterable[object] = ()) -> str:
    """A message on one line that a terminal can show, whatever paths it names.

    Paths of up to 4096 characters are cut in their middle, so that the reason is left; the whole
    has up to 1000 characters.

    Args:
      paths: those that the message may be about. Others are taken for as long as they have no
        blanks.
    """
    text = str(message)
    for path in sorted(map(str, paths), key=len, reverse=True):
        if len(path) > _PATH:
            text = text.replace(path, shorten(path, _PATH))
    text = re.sub(rf"\S{{{_PATH + 1},}}", lambda word: shorten(word[0], _PATH), text)
    return shown(shorten(text, 1000))


def shown(text: object) -> str:
    """`text` as anything can show it: in it a name of a file may have any bytes but / and NUL.

    Bytes that are no UTF-8, line breaks and other control characters become escapes, as \\xff.
    """
    return "".join(map(_shown, str(text)))


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # what Python makes of a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 image", "2 images", "3 identities": a number of things, of which `one` is the word.

    Args:
      many: the word for several, where it is not `one` with an s, or for identity as usual.
    """
    several = many or (f"{one[:-1]}ies" if one.endswith("ity") else f"{one}s")
    return f"{count} {one if count == 1 else several}"


def some(items: Collection[object], most: int = 10) -> str:
    """The first `most` of `items`, for a message."""
    return ", ".join(map(str, list(items)[:most])) + (", ..." if len(items) > most else "")
