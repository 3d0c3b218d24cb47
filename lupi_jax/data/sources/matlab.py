"""Reads a variable of a MATLAB file (versions 5 to 7.2): an array of real numbers, or cells.

SciPy's reader is not used: it crashes the process on some damaged files, and allocates whatever
size they state. This reader allocates nothing for which the file does not have the bytes.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_BYTES = 2**22
"""Largest file, packed and unpacked. SYSU-MM01's permutations are 0.6 MB."""

_DEPTH = 4  # cells within cells; SYSU-MM01 has fewer levels
_INT8, _INT32, _UINT32, _ARRAY, _PACKED = 1, 5, 6, 14, 15  # kinds of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_CELL, _NUMERIC = 1, range(6, 16)  # classes of arrays
_COMPLEX = 0x800

_Element = tuple[int, memoryview]
"""The kind of an element, and its content."""


def read_variable(content: bytes, name: str) -> Any:
    """The variable `name` of a file: a numeric array [rows, columns], or a list for a cell.

    The list has the cell's items, which are arrays or lists, in MATLAB's order. An item without
    content is an empty array. An item of another kind (text, complex numbers, three dimensions) is
    None.

    Args:
      content: the bytes of the file, at most `MAX_BYTES`.
      name: name of the variable.

    Raises:
      ValueError: the file is not a MATLAB file or is damaged, unpacks to more than `MAX_BYTES`, or
        has no variable with this name and a supported form.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("not a MATLAB file of version 5")
    for kind, part in _unpacked(memoryview(content)[128:], order):
        if kind == _ARRAY and (found := _value(part, order, _DEPTH, name)) is not None:
            return found
    raise ValueError(f"no variable {name}")


def _unpacked(data: memoryview, order: str) -> Iterator[_Element]:
    """The elements of a file; packed elements are unpacked."""
    room = MAX_BYTES
    for kind, part in _elements(data, order):
        if kind != _PACKED:
            yield kind, part
            continue
        unpacking = zlib.decompressobj()
        try:
            plain = unpacking.decompress(part, room)
            # The checksum is at the end. It is read only if another byte is asked for.
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
        # In a small element the size shares four bytes with the kind, and the content follows.
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            padding = 4 - size
        if size > len(data) - start or padding < 0:
            raise ValueError("cut off")
        yield kind, data[start : start + size]
        at = start + size + padding


def _value(data: memoryview, order: str, depth: int, name: str | None = None) -> Any:
    """The value of an array element; None if its kind is unsupported or its name not `name`."""
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
            raise ValueError("the items of a cell do not fit its head")
        return [_value(item, order, depth - 1) for _, item in inside]
    stored, raw = next(parts, (_INT8, data[:0]))
    if kind not in _NUMERIC or stored not in _NUMBERS or int(flags[0]) & _COMPLEX:
        return None
    dtype = np.dtype(order + _NUMBERS[stored])
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError("the numbers of an array do not fit its head")
    return np.frombuffer(raw, dtype).reshape(shape, order="F")


_EMPTY = np.empty((0, 0))


def _content(parts: Iterator[_Element], kind: int, size: int | None = None) -> memoryview:
    found, content = next(parts, (0, memoryview(b"")))
    if found != kind or size not in (None, len(content)):
        raise ValueError("an array without its head")
    return content
