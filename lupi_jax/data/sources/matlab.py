"""A variable of a MATLAB file (versions 5 to 7.2): arrays of real numbers, in cells or by itself.

A reader of our own, since SciPy's takes the process down on some damaged files, and believes
whatever size they state. Here nothing is made that the file does not have the bytes for.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_BYTES = 2**22
"""Of a file, and of what it unpacks to. SYSU-MM01's permutations are 0.6 MB."""

_DEPTH = 4  # cells within cells: more than any of ours
_INT8, _INT32, _UINT32, _ARRAY, _PACKED = 1, 5, 6, 14, 15  # kinds of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_CELL, _NUMERIC = 1, range(6, 16)  # classes of arrays
_COMPLEX = 0x800

_Element = tuple[int, memoryview]
"""Its kind, and its content."""


def read_variable(content: bytes, name: str) -> Any:
    """The variable `name` of a file: a numeric array [rows, columns], or a list for a cell.

    The list has a cell's items in MATLAB's order, arrays or lists again. An item without content
    is an empty array; one of another kind (text, complex numbers, three dimensions) is None.

    Args:
      content: the bytes of the file, at most `MAX_BYTES`.
      name: of the variable.

    Raises:
      ValueError: the file is of another kind or damaged, unpacks to more than `MAX_BYTES`, or has
        no variable of this name and form.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("no MATLAB file of version 5")
    for kind, part in _unpacked(memoryview(content)[128:], order):
        if kind == _ARRAY and (found := _value(part, order, _DEPTH, name)) is not None:
            return found
    raise ValueError(f"no variable {name}")


def _unpacked(data: memoryview, order: str) -> Iterator[_Element]:
    """The elements of a file, the packed ones unpacked."""
    room = MAX_BYTES
    for kind, part in _elements(data, order):
        if kind != _PACKED:
            yield kind, part
            continue
        unpacking = zlib.decompressobj()
        try:
            plain = unpacking.decompress(part, room)
            # The check sum stands at the end: another byte is asked for to have it read.
            more = unpacking.decompress(unpacking.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError("packed content is damaged") from error
        if more or not unpacking.eof:
            raise ValueError("packed content is cut off, or too large")
        room = max(1, room - len(plain))  # 0 would mean no limit
        yield from _elements(memoryview(plain), order)


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("cut off")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, padding = at + 8, 0 if kind == _PACKED else -size % 8
        if kind >> 16:  # a small one has its size beside its kind, and its content in place of it
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            padding = 4 - size
        if size > len(data) - start or padding < 0:
            raise ValueError("cut off")
        yield kind, data[start : start + size]
        at = start + size + padding


def _value(data: memoryview, order: str, depth: int, name: str | None = None) -> Any:
    """An array element; None where it is of another kind, or has another name than `name`."""
    if not data:
        return _EMPTY
    parts = _elements(data, order)
    flags = np.frombuffer(_content(parts, _UINT32, 8), f"{order}u4")
    shape = np.frombuffer(_content(parts, _INT32), f"{order}i4").tolist()
    own = bytes(_content(parts, _INT8))
    if name is not None and own != name.encode():
        return None
    kind = int(flags[0]) & 0xFF
    if len(shape) != 2 or min(shape) < 0:
        return None
    if kind == _CELL and depth:
        inside = list(parts)
        if len(inside) != math.prod(shape) or any(each != _ARRAY for each, _ in inside):
            raise ValueError("a cell has other items than it says")
        return [_value(item, order, depth - 1) for _, item in inside]
    stored, raw = next(parts, (_INT8, data[:0]))
    if kind not in _NUMERIC or stored not in _NUMBERS or int(flags[0]) & _COMPLEX:
        return None
    dtype = np.dtype(order + _NUMBERS[stored])
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array has more or fewer numbers than it says")
    return np.frombuffer(raw, dtype).reshape(shape, order="F")


_EMPTY = np.empty((0, 0))


def _content(parts: Iterator[_Element], kind: int, size: int | None = None) -> memoryview:
    found, content = next(parts, (0, memoryview(b"")))
    if found != kind or size not in (None, len(content)):
        raise ValueError("an array without its head")
    return content
