"""The table of deviations in `experiments/parity/README.md`: its fields, values and tests."""

import ast
import re

import pytest
from pages import ROOT

from lupi_jax.config import field_types, to_fields
from lupi_jax.config.file import load_config, parse_overrides

PAGE = ROOT / "experiments/parity/README.md"
HEADING = "## Where the sources differ, and what selects each"
# What a source says, and the variant of a config that does it.
VARIANTS = {
    "paper": "paper",
    "released code": "released",
    "AGW": "agw",
    "SYSU-MM01's script": "paper",
}
GROUPS = {name.partition(".")[0] for name in field_types() if "." in name}
FIELD = re.compile(rf"`((?:{'|'.join(sorted(GROUPS))})\.[a-z_]+|modalities|epochs)(?:=([^`]+))?`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def read_rows() -> list[dict[str, str]]:
    """The rows of the table, each as {column: cell}."""
    section = PAGE.read_text().partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
    first, _, *rest = [re.split(r" \| ", line) for line in lines]
    return [dict(zip(first, row, strict=True)) for row in rest]


ROWS = read_rows()
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["what"])


def fields_of(variant: str, **overrides: str) -> dict[str, object]:
    """{dotted name: value} of `configs/sysu.py`."""
    config = load_config(f"{ROOT}/configs/sysu.py:{variant}", {"data.root": "x", **overrides})
    return to_fields(config)


def test_the_table_has_its_columns_and_every_kind_of_deviation():
    assert [*ROWS[0]] == ["what", *VARIANTS, "field", "tests"]
    assert len({row["what"] for row in ROWS}) == len(ROWS) > 20
    named = {name for row in ROWS for name, _ in FIELD.findall(row["field"])}
    assert {"loss.triplet", "views.erase_fill", "epochs", "evaluation.protocol"} <= named


@each_row
def test_a_row_names_its_field_or_says_that_there_is_none(row):
    cell = row["field"]
    names = [code.partition("=")[0] for code in re.findall(r"`([^`]+)`", cell)]
    fields = {name for name in names if "." in name} | {name for name, _ in FIELD.findall(cell)}
    assert fields <= field_types().keys()
    if not cell.startswith(("none: the same", "none: not copied, ")):
        assert names
        assert names[0] in fields


@each_row
def test_every_test_that_the_table_names_exists(row):
    named = TEST.findall(row["tests"])
    assert named
    assert re.sub(TEST, "", row["tests"]).strip(" ,") == ""
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        assert name in {x.name for x in tree.body if isinstance(x, ast.FunctionDef)}, name


@each_row
def test_fields_and_values_of_the_table_are_taken(row):
    for name, value in FIELD.findall(" ".join(row.values())):
        assert name in field_types()
        if value:
            fields_of("paper", **parse_overrides([f"--config.{name}={value}"]))


def values_of(row: dict[str, str]) -> dict[str, str]:
    """{column: value} of the sources that a recipe follows."""
    found = {column: re.search(r": `([^`]+)`$", row[column]) for column in VARIANTS}
    return {column: match[1] for column, match in found.items() if match}


def test_as_many_values_as_the_table_has_are_compared():
    assert sum(len(values_of(row)) for row in ROWS) == 34
    # A value anywhere else in a cell would be passed over.
    for row in ROWS:
        for column in VARIANTS:
            assert len(re.findall(r": `", row[column])) == (column in values_of(row)), row["what"]


@each_row
def test_a_recipe_does_what_the_column_of_its_source_says(row):
    for column, value in values_of(row).items():
        name = FIELD.findall(row["field"])[0][0]
        asked = parse_overrides([f"--config.{name}={value}"])
        own = fields_of(VARIANTS[column])
        assert fields_of(VARIANTS[column], **asked)[name] == own[name], column
