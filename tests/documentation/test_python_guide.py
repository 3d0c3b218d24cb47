"""The guide to Python has a call for every command, with arguments that the call has."""

import inspect
import re

from pages import ROOT

import lupi_jax as lupi
from lupi_jax.cli.program import COMMANDS
from lupi_jax.runtime.progress import silent

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


SHARED = ("checkpoint", "untrained", "overrides", "fetch", "show")
"""Arguments of the calls that take runs, in the order of their signatures."""


def test_calls_that_take_runs_have_the_same_arguments():
    taking = [call for call in lupi.__all__ if takes(call).keys() & {"overrides", "untrained"}]
    of_training = {"load_run", "load_config", "parse_config"}  # which make what the others take
    assert len(taking) > len(of_training) + 7
    for call in set(taking) - of_training:
        own = [p for name, p in takes(call).items() if name in SHARED]
        assert [p.name for p in own] == [n for n in SHARED if n in takes(call)], call
        assert {"checkpoint", "overrides"} <= takes(call).keys(), call
        assert all(p.kind is p.KEYWORD_ONLY for p in own), call
        assert ("untrained" in takes(call)) == ("fetch" in takes(call)), call
        values = {"untrained": False, "fetch": False, "show": silent}
        assert all(p.default is values.get(p.name) for p in own), call


def takes(call):
    thing = getattr(lupi, call)
    return dict(inspect.signature(thing).parameters) if inspect.isfunction(thing) else {}


def test_the_guide_is_short():
    assert len(GUIDE.split()) <= 400
