"""JSON that may say anything, read within bounds."""

import os

import pytest

from lupi_jax.runtime.records import DEPTH, parse_json, read_json


def test_what_was_written_is_read(tmp_path):
    file = tmp_path / "record.json"
    file.write_text('{"step": 3, "names": ["\u00e9", null], "rate": 0.5}', "utf-8")
    assert read_json(file) == {"step": 3, "names": ["é", None], "rate": 0.5}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON"),
        (b'{"step": 3', "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1e999}', "a number is too large"),
        (b"9" * 5000, "it is not JSON"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "nested deeper than 32 levels"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        (b"[" * 100_000, "nested deeper|it is not JSON"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(tmp_path, content, reason):
    file = tmp_path / "record.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        read_json(file)
    assert len(str(error.value)) < 200


def test_the_deepest_that_is_allowed_is_read():
    assert parse_json("[" * DEPTH + "]" * DEPTH)[0][0] is not None


def test_no_more_is_read_than_allowed(tmp_path):
    file = tmp_path / "record.json"
    file.write_text('"' + 98 * "x" + '"')
    assert read_json(file, most=100) == 98 * "x"
    with pytest.raises(ValueError, match="it has more than"):
        read_json(file, most=99)
    with file.open("r+b") as opened:
        opened.truncate(10 * 2**30)  # takes no room on the disk
    with pytest.raises(ValueError, match="it has more than 16 MiB"):
        read_json(file)


def test_what_has_no_end_is_not_read(tmp_path):
    (tmp_path / "zeros").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("zeros", "pipe"):
        with pytest.raises(ValueError, match="a pipe or a device"):
            read_json(tmp_path / name)
