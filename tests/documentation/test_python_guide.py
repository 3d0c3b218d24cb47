"""The guide to Python has a call for every command, with arguments that the call has."""

import inspect
import re

from pages import ROOT

import lupi_jax as lupi
from lupi_jax.cli.program import COMMANDS

GUIDE = (ROOT / "docs/guides/python.md").read_text()
ROWS = re.findall(r"^\| `([a-z-]+)[^`]*` \| (.*?) \|", GUIDE, re.MULTILINE)
OTHER_NAMES = {"file": "spec", "values": "overrides"}
"""Arguments whose meaning the table names instead."""


def test_every_command_has_a_call():
    assert {command for command, _ in ROWS} == set(COMMANDS) - {"parity"}  # which is for developers


def test_the_calls_are_public_and_take_these_arguments():
    calls = [call for _, row in ROWS for call in re.findall(r"(\w+)\(([\w, ]*)\)", row)]
    assert len(calls) >= len(ROWS)
    assert ("load_weights", "config, checkpoint") in calls
    for name, arguments in calls:
        assert name in lupi.__all__
        taken = list(inspect.signature(getattr(lupi, name)).parameters)
        named = [OTHER_NAMES.get(word, word) for word in arguments.split(", ")]
        assert taken[: len(named)] == named, name  # in this order


def test_the_guide_is_short():
    assert len(GUIDE.split()) <= 400
