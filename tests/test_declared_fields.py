"""What a declared field accepts, and what its class says of it."""

import dataclasses

import numpy as np
import pytest

from lupi_jax.config import Config, SourceConfig, parse_config
from lupi_jax.declared import fields_of
from lupi_jax.settings import LossSettings, ViewSettings


def test_values_become_what_their_field_holds():
    views = ViewSettings(pad=np.int32(3), flip=1, erase_area=[0.1, np.float32(0.5)])
    assert dataclasses.astuple(views)[:4] == (3, 1.0, 0.5, (0.1, 0.5))
    assert [type(v) for v in (views.pad, views.flip, *views.erase_area)] == [int, *[float] * 3]
    assert hash(views) == hash(dataclasses.replace(views, erase_area=(0.1, 0.5)))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ViewSettings, {"pad": 1.0}, "pad = 1.0 is not a whole number"),
        (ViewSettings, {"pad": True}, "pad = True is not a whole number"),
        (LossSettings, {"margin": False}, "margin = False is not a number"),
        (ViewSettings, {"share_crop_and_flip": 1}, "share_crop_and_flip = 1 is not true or false"),
        (ViewSettings, {"erase_area": (0.1,)}, "erase_area = .0.1,. is not a tuple of 2 numbers"),
        (LossSettings, {"margin": -1, "triplet": "x"}, "margin = -1.0 must .*; triplet = 'x' is"),
        (SourceConfig, {"trial": 11}, "trial = 11 must be from 1 to 10"),
        (
            LossSettings,
            {"extra_settings": 5},
            "extra_settings = 5 is not a mapping of names to numbers, texts, true or false, or tup",
        ),
        (Config, {"seed": -1}, "seed = -1 must not be negative"),
    ],
)
def test_wrong_values_are_named_where_they_are_given(kind, values, message):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {message}"):
        kind(**values)


@pytest.mark.parametrize(
    ("area", "fits"),
    [((0, 0.1), True), ((0.2, 0.2), True), ((0, 1), True), ((0.5, 0.2), False), ((0, 1.1), False)],
)
def test_one_rule_holds_in_python_and_in_a_configuration(area, fits):
    values = {"steps": 1, "data.root": "x", "views.erase_area": area}
    for make in (lambda: ViewSettings(erase_area=area), lambda: parse_config(values).views):
        if fits:
            assert make().erase_area == area
        else:
            with pytest.raises(ValueError, match=r"erase_area = .* must be 0 <= low <= high <= 1"):
                make()


def test_a_class_documents_its_fields():
    text = LossSettings.__doc__ or ""
    assert text.startswith("Terms and weights of the total loss.")
    assert "\nAttributes:\n    margin: Margin of the triplet losses.\n    triplet: Triplet" in text
    assert text.endswith("\n\nRaises:\n    ValueError: names every field that is out of range.\n")


def test_every_field_has_help_in_sentences():
    helps = {name: field.help for name, field in fields_of(Config).items()}
    assert [name for name, text in helps.items() if not text.endswith(".")] == []
