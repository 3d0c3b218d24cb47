"""What README and the guides call by name is there: options, fields, files, modules, extras."""

import argparse
import importlib
import re
import tomllib

import pytest
from pages import PAGES, ROOT, declared, inline_code, name_of

from experiments.tables import command
from lupi_jax.cli.program import make_parser
from lupi_jax.config import field_types
from lupi_jax.runtime import phases

TEXTS = {page: page.read_text() for page in PAGES}
# Options of other programs that a page speaks of.
FOREIGN = {
    "--constraint",
    "--imports",
    "--manual_dir",
    "--data_dir",
    "--margin",
    "--requeue",
    "--gpus-per-task",
}
FIELD = re.compile(r"(?:data|batch|model|views|loss|optimizer|evaluation|log)\.[a-z_]+")


def lupi_options() -> set[str]:
    parser = make_parser()
    subs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    parsers = [
        parser,
        command.make_parser("tables 1"),
        *(p for sub in subs for p in sub.choices.values()),
    ]
    return {option for p in parsers for action in p._actions for option in action.option_strings}


def resolves(name: str) -> bool:
    """Whether `lupi_jax.a.b` is a module or something in one."""
    parts = name.split(".")
    thing = importlib.import_module(parts[0])
    for place, part in enumerate(parts[1:], 2):
        if not hasattr(thing, part):
            try:
                importlib.import_module(".".join(parts[:place]))
            except ImportError:
                return False
        thing = getattr(thing, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_fields_exist(page):
    named = re.findall(r"--config\.([a-z_][a-z_.]*[a-z_])", TEXTS[page])
    for code in inline_code(TEXTS[page]):
        match = FIELD.match(code)
        if match and re.match(r"$|[ =]", code[match.end() :]):
            named.append(match[0])
    # The dotted part of a help text such as `--config.FIELD` is upper case and not matched.
    assert set(map(declared, named)) <= field_types().keys()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_exist(page):
    named = {
        option
        for code in inline_code(TEXTS[page])
        for option in re.findall(r"(?<!\S)--[a-z][a-z_-]*(?![\w.-])", code)
    }
    assert named - FOREIGN <= lupi_options()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_modules_exist(page):
    for code in inline_code(TEXTS[page]):
        file = re.fullmatch(r"(?:lupi_jax|configs|docs|tests|experiments)/[\w./-]*", code)
        assert file is None or (ROOT / code).exists(), code
        module = re.fullmatch(r"lupi_jax(?:\.\w+)+", code)
        assert module is None or code == phases.LOGGER or resolves(code), code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_extras_and_make_targets_exist(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"(?:lupi-jax|\.)\[([a-z,]+)\]", TEXTS[page])
    named = {extra for group in extras for extra in group.split(",")}
    assert named <= project["optional-dependencies"].keys()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXTS[page], re.MULTILINE)) <= targets
