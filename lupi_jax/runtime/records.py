"""Read JSON within bounds from files that may be cut short, edited or malicious; and write it."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from lupi_jax.errors import shown
from lupi_jax.runtime.files import is_endless

DEPTH = 32
"""Most levels of nested lists and objects. This package writes fewer."""

SMALL = 2**24
"""Most bytes of a file that describes one thing, 16 MiB."""

LARGE = 2**29
"""Most bytes of a file with a line per image, 512 MiB for some two million images."""

_LINE = 2**20


def read_json(file: Path, most: int = SMALL) -> Any:
    """Read a JSON file to plain values.

    Args:
      file: the file.
      most: most bytes that it may have, and that are read.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file is a pipe or a device, is longer, or `parse_json` refuses it. The
        message says which.
    """
    if is_endless(file):
        raise ValueError("it is a pipe or a device")
    with file.open("rb") as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most / 2**20:.0f} MiB")
    return parse_json(content)


def read_json_lines(file: Path) -> Iterator[Any]:
    """Yield the values of a file of JSON lines, and None for each line that is not JSON.

    A line may have 1 MiB, and the file `LARGE` bytes. Everything beyond that counts as one None.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file is a pipe or a device.
    """
    if is_endless(file):
        raise ValueError("it is a pipe or a device")
    left = LARGE
    with file.open("rb") as lines:
        while line := lines.readline(_LINE):
            left -= len(line)
            try:
                yield parse_json(line) if left >= 0 else None
            except ValueError:
                yield None
            if left < 0:
                return


def parse_json(text: str | bytes, finite: bool = True) -> Any:
    """Parse a JSON text to plain values.

    Args:
      text: the text.
      finite: whether every number has to be finite. Results may hold NaN, a figure that the data
        do not determine.

    Raises:
      ValueError: the text is not JSON, or nested deeper than `DEPTH`. The message says which.
    """
    too_deep = f"it is nested deeper than {DEPTH} levels"
    checks = {"parse_constant": _refuse, "parse_float": _finite} if finite else {}
    try:
        value = json.loads(text, **checks)
    except RecursionError:
        raise ValueError(too_deep) from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    level = [value]
    for _ in range(DEPTH + 1):
        lists = [each for each in level if isinstance(each, list)]
        lists += [[*each.values()] for each in level if isinstance(each, dict)]
        if not lists:
            return value
        level = [each for values in lists for each in values]
    raise ValueError(too_deep)


def _finite(number: str) -> float:
    if math.isfinite(value := float(number)):
        return value
    raise ValueError("a number is too large")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def printable(content: object) -> object:
    """Plain values to write as JSON, each text passed through `errors.shown`."""
    if isinstance(content, Mapping):
        return {printable(name): printable(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [printable(value) for value in content]
    return shown(content) if isinstance(content, str) else content
