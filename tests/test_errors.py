"""What messages make of texts that come from outside."""

import os

import pytest

from lupi_jax.errors import fit, plural, shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"\xff.jpg", r"\xff.jpg"),
        (b"caf\xe9 1", r"caf\xe9 1"),
        ("caf\u00e9 \u4eba \U0001f480.jpg".encode(), "caf\u00e9 \u4eba \U0001f480.jpg"),
        (b"two\nlines\x1b[31m", r"two\nlines\x1b[31m"),
    ],
)
def test_any_name_of_a_file_can_be_shown(name, text):
    assert shown(os.fsdecode(name)) == text
    assert shown(text) == text  # once is enough


LONG = "/".join(["x" * 200] * 20)


@pytest.mark.parametrize(
    "message",
    [
        f"{LONG}/a.csv, line 3: the reason: at '{LONG}/images': and what to do",
        f"cannot read {LONG} (the reason): and what to do",
        f"the reason, {LONG}, {LONG}, and what to do",
        f"{LONG}: the reason, and what to do",
    ],
)
def test_a_reason_between_long_paths_is_left(message):
    line = fit(message)
    assert "the reason" in line
    assert line.endswith("and what to do")
    assert len(line) <= 1000
    assert "x ... x" in line


def test_a_reason_between_long_paths_with_blanks_is_left():
    path = "/".join(["x " * 100] * 20)
    line = fit(f"{path}/a.csv, line 3: the reason: {path}/images: and what to do", [path])
    assert "/a.csv, line 3: the reason: x x" in line
    assert line.endswith("/images: and what to do")
    assert len(line) < 400


def test_a_message_is_one_line_of_what_can_be_shown():
    assert fit("a\n b\x1b[31m \udcff\u202e") == r"a b\x1b[31m \xff\u202e"
    assert fit("short/path: a reason") == "short/path: a reason"


def test_numbers_of_things():
    assert plural(1, "identity") == "1 identity"
    assert plural(0, "identity") == "0 identities"
    assert plural(2, "image") == "2 images"
    assert plural(1, "image") == "1 image"
    assert plural(3, "person", "people") == "3 people"
