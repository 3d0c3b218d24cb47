"""The messages of the guide to troubleshooting are those that the code has."""

import ast
import functools
import re

import pytest
from pages import ROOT, read_blocks

from lupi_jax.runtime.backend import INSTALL_CUDA, SHARE_GPU
from lupi_jax.training.room import LOWER

GUIDE = ROOT / "docs/guides/troubleshooting.md"
MESSAGES = [b.text for b in read_blocks(GUIDE.read_text()) if b.language == "text"]
GAP = "\0"
"""Stands in a text of the code for a value that is put there."""


def template(node: ast.JoinedStr | ast.Constant) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(str(p.value) if isinstance(p, ast.Constant) else GAP for p in node.values)


@functools.cache
def texts() -> str:
    """All texts of the package, and those that are put into others."""
    found = [SHARE_GPU, LOWER, INSTALL_CUDA]
    for file in (ROOT / "lupi_jax").rglob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        found += [template(n) for n in nodes if isinstance(n, ast.JoinedStr | ast.Constant)]
    return "\n".join(found)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_piece_of_a_message_is_in_the_code(message):
    for known in (SHARE_GPU, LOWER, INSTALL_CUDA):
        message = message.replace(known, "...")
    # At these marks the code, too, puts messages together.
    pieces = re.split(r"\.\.\.|: |; ", message.removeprefix("lupi: "))
    for piece in filter(None, pieces):
        assert piece in texts(), piece


def test_there_are_messages_and_a_wrong_one_is_found():
    assert len(MESSAGES) >= 12
    with pytest.raises(AssertionError):
        test_every_piece_of_a_message_is_in_the_code("lupi: ...: no such words are in the code")
