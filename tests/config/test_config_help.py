"""What a field is, may be and is by default, in words."""

import subprocess
import sys
from pathlib import Path

import pytest

import lupi_jax
from lupi_jax.cli import main
from lupi_jax.config import Config, defaults_of, field_types, parse_config
from lupi_jax.config.help import allowed, changes, groups, recipe_values, written
from lupi_jax.config.recipes import RECIPES, SETTINGS
from lupi_jax.declared import fields_of

FIELDS = fields_of(Config)

WITHOUT_JAX = """
import sys, types
package = types.ModuleType("lupi_jax")
package.__path__ = [sys.argv[1]]
sys.modules["lupi_jax"] = package
from lupi_jax.config.help import groups
assert [about for about, _ in groups()][1] == "Where the images come from."
assert sys.modules.keys().isdisjoint({"jax", "numpy", "flax", "ml_collections"})
"""


def test_every_field_stands_in_one_group_under_what_the_group_is_about():
    found = {about: [field.name for field in fields] for about, fields in groups()}
    assert [name for names in found.values() for name in names] == list(field_types())
    assert found["A batch has `identities` x `images` visible and as many infrared images."] == [
        "batch.identities",
        "batch.images",
    ]


@pytest.mark.parametrize(
    ("name", "may_be", "may_change"),
    [
        ("loss.margin", "a number, must not be negative", ""),
        ("model.pooling", "one of gem, average", ""),
        ("log.keep", "a whole number, must be positive", "may change when a run is resumed"),
        (
            "data.workers",
            "a whole number, must be positive",
            "may change when a run is resumed or evaluated",
        ),
    ],
)
def test_a_field_is_described_by_what_it_may_be_and_when_it_may_change(name, may_be, may_change):
    assert (allowed(FIELDS[name]), changes(FIELDS[name])) == (may_be, may_change)


def test_recipes_that_share_a_default_are_named_together():
    assert recipe_values(FIELDS["loss.triplet"]) == {
        "mean": "released, baseline",
        "weighted_regularized": "agw",
    }
    assert recipe_values(FIELDS["seed"]) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), ("sum", "sum"), ("", "''"), (5e-4, "0.0005"), ((96, 48), "(96, 48)")],
)
def test_a_value_is_written_as_the_command_line_takes_it(value, text):
    assert written(value) == text


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_defaults_are_what_a_recipe_and_a_setting_alone_give(recipe, setting):
    config = parse_config({"recipe": recipe, "setting": setting, "data.root": "x", "seed": 3})
    plain = parse_config({"recipe": recipe, "setting": setting, "data.root": "x"})
    given = {"recipe": "paper", "setting": "recipe", "data.root": ""}
    assert defaults_of(config) == {**lupi_jax.config.to_fields(plain), **given}


def test_recipes_and_settings_fill_fields_that_there_are():
    for values in [*RECIPES.values(), *SETTINGS.values()]:
        assert values.keys() <= field_types().keys()


def test_the_help_of_train_says_where_the_fields_are(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: lupi train")
    assert "`lupi config FILE` lists all fields" in shown
    assert "loss.margin" not in shown


def test_help_needs_no_jax():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, str(Path(lupi_jax.__file__).parent)], check=False
    )
    assert done.returncode == 0
