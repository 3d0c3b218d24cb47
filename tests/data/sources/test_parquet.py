"""Parquet files that unpack to much more than they have, and damaged ones."""

import io
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lupi_jax import InputError
from lupi_jax.data.sources import parquet
from lupi_jax.data.sources.parquet import ParquetError, read_parquet
from lupi_jax.data.sources.table import ROLE, read_table

COLUMNS = ("path", "identity", "camera", "modality", "split")


def table(rows: int = 2, **columns) -> pa.Table:
    plain = {
        "path": pa.array([f"{n}.png" for n in range(2)] * (rows // 2)),
        "identity": pa.array(np.zeros(rows, int)),
        "camera": pa.array(np.zeros(rows, int)),
        "modality": pa.array(["visible"] * rows),
        "split": pa.array(["train"] * rows),
    }
    return pa.table(plain | columns)


def packed(content: pa.Table, **options) -> bytes:
    out = io.BytesIO()
    pq.write_table(content, out, **options)
    return out.getvalue()


def test_cells_come_in_the_order_asked_for_with_a_mark_for_null():
    own = table(camera=pa.array([3, None]), more=pa.array([1, 2]), path=pa.array(["a\n,", "ü"]))
    names, *rows = read_parquet(packed(own.select([*own.column_names[::-1]])), COLUMNS, ROLE)
    assert names == ["more", *COLUMNS[::-1]]
    assert rows == [
        ["", "a\n,", "0", "3", "visible", "train"],
        ["1", "ü", "0", "None", "visible", "train"],
    ]


def test_a_column_that_is_not_there_leaves_the_rows_out():
    assert list(read_parquet(packed(table().drop_columns("path")), COLUMNS, ROLE)) == [
        list(COLUMNS[1:])
    ]


def test_a_null_in_the_column_that_may_be_missing_is_an_empty_cell():
    own = table(role=pa.array(["query", None]))
    assert [row[0::6] for row in read_parquet(packed(own), COLUMNS, ROLE)][1:] == [
        ["", "query"],
        ["", ""],
    ]
    twice = own.append_column("role", own["role"])
    assert len(list(read_parquet(packed(twice), COLUMNS, ROLE))) == 1


def many(rows: int) -> pa.Table:
    """So many rows of one value, in no memory."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["a"]))
    return pa.table(dict.fromkeys(COLUMNS, column))


def long_prefixes() -> bytes:
    """Each path is the one before it, but for its last letter."""
    paths = pa.array(["x" * 2**14 + str(n) for n in range(200)])
    content = table(200, path=paths)
    return packed(content, use_dictionary=False, column_encoding={"path": "DELTA_BYTE_ARRAY"})


HOSTILE = {
    "more than two million rows": (
        lambda: packed(many(2_000_001)),
        "lists 2000001 images, more than 2000000",
    ),
    "long cells": (lambda: packed(table(path=pa.array(["x" * 5000, "y"]))), "of more than 4096 ch"),
    "long prefixes": (long_prefixes, "of more than 4096 characters"),
    "nested": (
        lambda: packed(table(path=pa.array([[["x"] * 9000], []]))),
        "of more than 4096 characters",
    ),
    "text": (lambda: b"path,identity", "is not a Parquet file, or damaged"),
    "nothing": (lambda: b"", "is not a Parquet file, or damaged"),
    "cut off": (lambda: packed(table())[:-9], "is not a Parquet file, or damaged"),
}


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_tables_end_in_one_line(tmp_path, make, message):
    file = tmp_path / "table.parquet"
    file.write_bytes(make())
    assert file.stat().st_size < 2**23
    with pytest.raises(InputError, match=message) as refusal:
        read_table(file, tmp_path, "train")
    assert str(refusal.value).startswith(f"{file} ")
    assert "\n" not in str(refusal.value)


def test_memory_and_time_are_bounded(monkeypatch, tmp_path):
    source = tmp_path / "parquet.py"
    code = Path(parquet.__file__).read_text(encoding="utf-8")
    source.write_text(code.replace("_MEMORY = 2**32", "_MEMORY = 2**31"))
    monkeypatch.setattr(parquet, "__file__", str(source))
    place = pa.array(np.zeros(1000, np.int8))
    paths = pa.DictionaryArray.from_arrays(place, pa.array(["x" * 2**21]))  # 2 GB of them
    content = packed(table(1000, path=paths), compression="zstd")
    assert len(content) < 2**20
    with pytest.raises(ParquetError, match=r"unpacks to more than 2 GiB"):
        read_parquet(content, COLUMNS, ROLE)
    source.write_text("import time; time.sleep(99)")
    monkeypatch.setattr(parquet, "_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(ParquetError, match=r"takes more than 0\.2 seconds to read"):
        read_parquet(content, COLUMNS, ROLE)
    assert time.monotonic() - start < 20


def test_a_reader_that_crashes_is_a_damaged_file(monkeypatch):
    crash = ["sh", "-c", "kill -SEGV $$"]
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **options: real(crash, **options))
    with pytest.raises(ParquetError, match="is not a Parquet file, or damaged"):
        read_parquet(b"", COLUMNS, ROLE)


def test_tables_have_a_last_row(monkeypatch, tmp_path):
    monkeypatch.setattr(parquet, "MAX_ROWS", 2)
    file = tmp_path / "table.csv"
    (tmp_path / "a.png").touch()
    lines = [",".join(COLUMNS), *["a.png,1,1,visible,train"] * 2]
    file.write_text("\n".join(lines[:2]))
    assert len(read_table(file, tmp_path, "train")) == 1
    file.write_text("\n".join(lines + [f"{n}.png,1,1,visible,train" for n in range(2)]))
    with pytest.raises(InputError, match="more than 2 images"):
        read_table(file, tmp_path, None, lambda *_: None)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_table_that_is_a_device_or_too_large_is_refused(tmp_path, name):
    file = tmp_path / name
    file.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="it is a pipe or a device"):
        read_table(file, tmp_path, "train")
    file.unlink()
    with file.open("wb") as out:
        out.truncate(2**40)
    with pytest.raises(InputError, match="is larger than 256 MiB, the limit: correct it"):
        read_table(file, tmp_path, "train")
