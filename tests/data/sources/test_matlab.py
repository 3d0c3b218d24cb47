"""MATLAB files that SciPy wrote, and hostile ones written by hand."""

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from scipy.io import savemat

from lupi_jax.data.sources import matlab
from lupi_jax.data.sources.matlab import read_variable


def cells(*items) -> np.ndarray:
    column = np.empty((len(items), 1), object)
    column[:, 0] = items
    return column


def written(compressed: bool = True, **variables) -> bytes:
    out = BytesIO()
    savemat(out, variables, do_compression=compressed)
    return out.getvalue()


def element(kind: int, content: bytes, size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return struct.pack("<II", kind, size) + content + bytes(-len(content) % 8)


def array(
    kind: int, shape: tuple[int, ...], content: bytes = b"", name: bytes = b"a", flags: int = 0
) -> bytes:
    head = element(6, struct.pack("<II", kind | flags, 0))
    head += element(5, struct.pack(f"<{len(shape)}i", *shape)) + element(1, name)
    return element(14, head + content)


def file(*elements: bytes, order: bytes = b"IM") -> bytes:
    return bytes(124) + b"\0\1" + order + b"".join(elements)


def packed(content: bytes) -> bytes:
    return struct.pack("<II", 15, len(data := zlib.compress(content))) + data


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_numbers_of_every_type_are_read_as_scipy_reads_them(dtype, compressed):
    own = np.arange(12, dtype=dtype).reshape(3, 4)
    content = written(compressed=compressed, other=np.ones(3), a=own, text="no array")
    assert read_variable(content, "a").tolist() == own.tolist()
    assert read_variable(content, "other").tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("compressed", [True, False])
def test_cells_are_lists_in_their_order(compressed):
    content = written(
        compressed=compressed, a=cells(np.arange(3), cells(np.eye(2), np.empty((2, 0))))
    )
    first, (second, third) = read_variable(content, "a")
    assert first.tolist() == [[0, 1, 2]]
    assert second.tolist() == [[1, 0], [0, 1]]
    assert third.shape == (2, 0)


def test_a_big_endian_file_is_read():
    head = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 2)
    head += struct.pack(">HHcxxx", 1, 1, b"a")
    body = head + struct.pack(">IIdd", 9, 16, 1.5, 2.5)
    content = file(struct.pack(">II", 14, len(body)) + body, order=b"MI")
    assert read_variable(content, "a").tolist() == [[1.5, 2.5]]


EMPTY_CELL = element(14, b"")
HOSTILE = {
    "nothing": b"",
    "a version of HDF5": b"MATLAB 7.3 MAT-file" + bytes(500),
    "another variable": file(array(6, (1, 1), element(2, b"\1"), b"b")),
    "more numbers than it has": file(array(6, (2**31 - 1, 2**31 - 1), element(2, b"\1"))),
    "fewer numbers than it has": file(array(6, (1, 1), element(2, b"\1\2"))),
    "negative dimensions": file(array(6, (-1, -1), element(2, b"\1"))),
    "one dimension": file(array(6, (1,), element(2, b"\1"))),
    "many dimensions": file(array(6, (1,) * 90, element(2, b"\1"))),
    "a cell of billions": file(array(1, (2**31 - 1, 2**31 - 1), EMPTY_CELL)),
    "a cell of numbers": file(array(1, (1, 1), element(2, b"\1"))),
    "an element beyond the file": file(element(14, bytes(16), 2**32 - 1)),
    "a small element of 60000 bytes": file(struct.pack("<HH", 1, 60000) + bytes(60)),
    "complex numbers": file(array(6, (1, 1), element(2, b"\1"), flags=0x800)),
    "text": written(a="text"),
    "a structure": written(a={"b": 1}),
    "a number of an unknown type": file(array(6, (1, 1), element(77, bytes(8)))),
    "no head": file(element(14, element(9, bytes(16)))),
    "a bomb": file(packed(array(6, (1, 2**26), element(2, bytes(2**26))))),
    "many bombs": file(*[packed(array(6, (1, 2**23), element(2, bytes(2**23)), b"b"))] * 9),
    "packed content cut off": file(packed(array(6, (1, 1), element(2, b"\1")))[:-3]),
    "packed content without its check sum": file(
        struct.pack("<II", 15, 30) + zlib.compress(array(6, (1, 1), element(2, b"\1")))[:30]
    ),
}


def nested(depth: int) -> bytes:
    inner = array(6, (1, 1), element(2, b"\1"))
    for _ in range(depth):
        inner = array(1, (1, 1), inner)
    return file(inner)


def test_cells_within_cells_end_at_the_fourth():
    assert read_variable(nested(4), "a")[0][0][0][0].tolist() == [[1]]
    assert read_variable(nested(3000), "a") == [[[[None]]]]


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_in_little_memory(content):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"\w"):
            read_variable(content, "a")
        assert tracemalloc.get_traced_memory()[1] < 3 * matlab.MAX_BYTES
    finally:
        tracemalloc.stop()


def test_many_empty_cells_take_little_memory():
    count = matlab.MAX_BYTES // 8 - 100
    content = file(packed(array(1, (count, 1), EMPTY_CELL * count)))
    found = read_variable(content, "a")
    assert len(found) == count
    assert found[0] is found[-1]


@pytest.mark.parametrize("compressed", [True, False])
def test_200_mutations_are_refused_or_read_as_an_array(compressed):
    rng = np.random.default_rng(5)
    orders = [rng.permutation(n + 1)[None].astype("u1") for n in range(20)]
    content = np.frombuffer(written(compressed=compressed, a=cells(*orders)), np.uint8)
    refused = 0
    for _ in range(200):
        changed = content.copy()
        places = rng.integers(0, len(changed), rng.integers(1, 5))
        changed[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
        try:
            read_variable(changed[: rng.integers(1, len(changed) + 1)].tobytes(), "a")
        except ValueError:
            refused += 1
    assert refused > 100
