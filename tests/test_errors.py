"""What messages make of texts that come from outside."""

import os

import pytest

from lupi_jax.errors import shown


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
