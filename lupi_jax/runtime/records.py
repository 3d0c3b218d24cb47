"""JSON from files that may have been cut, edited or made up: read within bounds, or refused."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lupi_jax.runtime.files import is_endless

DEPTH = 32
"""How many lists and objects may lie within each other: more than in anything that we write."""

SMALL = 2**24
"""Bytes of what describes one thing: 16 MiB."""

LARGE = 2**29
"""Bytes of what has a line on every image: 512 MiB, some two million images."""

_LINE = 2**20


def read_json(file: Path, most: int = SMALL) -> Any:
    """What a JSON file holds, plain values.

    Args:
      file: to read.
      most: how many bytes it may have; no more are read.

    Raises:
      OSError: it cannot be read.
      ValueError: it is a pipe or a device, or longer, or as `parse_json`; says which.
    """
    if is_endless(file):
        raise ValueError("it is a pipe or a device")
    with file.open("rb") as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most / 2**20:.0f} MiB")
    return parse_json(content)


def read_json_lines(file: Path) -> Iterator[Any]:
    """The values that a file of JSON lines has, one after the other; None for what is no JSON.

    A line has at most 1 MiB, and the file `LARGE`: what is beyond that counts as one None.

    Raises:
      OSError: it cannot be read.
      ValueError: it is a pipe or a device.
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


def parse_json(text: str | bytes) -> Any:
    """The plain values that a JSON text stands for; every number is finite.

    Raises:
      ValueError: it is no JSON, or nested deeper than `DEPTH`; says which.
    """
    too_deep = f"it is nested deeper than {DEPTH} levels"
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError(too_deep) from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
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
    raise ValueError("a number without end")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
