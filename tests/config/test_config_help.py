"""What `lupi train --help` says of the fields."""

import subprocess
import sys
from pathlib import Path

import pytest

import lupi_jax
from lupi_jax.cli import main
from lupi_jax.config import field_types, help_text
from lupi_jax.config.recipes import RECIPES, SETTINGS

WITHOUT_JAX = """
import sys, types
package = types.ModuleType("lupi_jax")
package.__path__ = [sys.argv[1]]
sys.modules["lupi_jax"] = package
from lupi_jax.config import help_text
assert "loss.margin" in help_text()
assert sys.modules.keys().isdisjoint({"jax", "numpy", "flax", "ml_collections"})
"""


def test_every_field_has_its_place_in_100_columns():
    lines = help_text().splitlines()
    names = [line.split()[0] for line in lines if line[:2] == "  " and line[2] != " "]
    assert names == list(field_types())
    assert max(map(len, lines)) <= 100
    assert "\n\nWhere the images come from.\n  data.name   " in help_text()


def test_a_field_is_described_with_its_values_and_defaults():
    words = " ".join(help_text().split())
    assert (
        "loss.margin Margin of the triplet losses. [a number, must not be negative; default 0.3]"
    ) in words
    assert (
        "[a whole number, must be positive; default 2; may change when a run is resumed]" in words
    )
    assert "default 'sum'; released, baseline: 'mean'; agw: 'weighted_regularized']" in words


def test_recipes_and_settings_fill_fields_that_there_are():
    for values in [*RECIPES.values(), *SETTINGS.values()]:
        assert values.keys() <= field_types().keys()


def test_the_command_line_shows_it(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: lupi train")
    assert shown.endswith(f"\n\n{help_text()}\n")


def test_help_needs_no_jax():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, str(Path(lupi_jax.__file__).parent)], check=False
    )
    assert done.returncode == 0
