"""In which precision a network multiplies, read from the programs that JAX makes."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from lupi_jax import Config, Modality, parse_config
from lupi_jax.evaluation.export import export_network
from lupi_jax.models import EmbedNet
from lupi_jax.training import load_run
from lupi_jax.training.network import for_evaluation, make_model

SIZE = (32, 32)


def configure(**fields: Any) -> Config:
    model = {"backbone": "thin", "non_local": True}
    data = {"root": "x", "image_size": SIZE}
    return parse_config({"steps": 1, "data": data, "model": model, **fields})


def products(program: str) -> list[str]:
    """Products and convolutions of a StableHLO program."""
    return re.findall(r"stablehlo\.(?:dot_general|convolution).*", program)


def highest(model: EmbedNet, variables: Any) -> tuple[int, int]:
    """How many products and convolutions of the network are in float32, and how many there are."""
    images = jnp.zeros((2, *SIZE, 3))

    def embed(variables: Any, images: jax.Array) -> Any:
        embedding: Any = model.apply(variables, images, Modality.INFRARED)
        return embedding.logits

    found = products(jax.jit(embed).lower(variables, images).as_text())
    return sum("HIGHEST" in line for line in found), len(found)


@pytest.fixture(scope="module")
def variables(draw_variables: Any) -> Any:
    return draw_variables(make_model(configure(), 3), SIZE)


def test_training_multiplies_as_the_device_does_by_default(variables: Any) -> None:
    some, every = highest(make_model(configure(), 3), variables)
    assert (some, every) == (1, every)  # the classifier's alone
    assert every > 20


def test_training_multiplies_as_it_is_told(variables: Any) -> None:
    some, every = highest(make_model(configure(precision="highest"), 3), variables)
    assert some == every > 20


@pytest.mark.parametrize(
    ("fields", "whole"),
    [
        ({}, True),
        ({"precision": "highest", "evaluation": {"precision": "default"}}, False),
        ({"dtype": "bfloat16"}, False),
    ],
)
def test_evaluation_multiplies_in_float32_by_default(
    variables: Any, fields: dict[str, Any], whole: bool
) -> None:
    config = configure(**fields)
    some, every = highest(for_evaluation(config, make_model(config, 3)), variables)
    assert (some == every) == whole


def test_an_exported_network_says_and_has_its_precision(variables: Any) -> None:
    config = configure()
    model = for_evaluation(config, make_model(config, 3))
    found = products(str(export_network(model, variables, Modality.VISIBLE, SIZE).mlir_module()))
    assert len(found) > 20
    assert all("HIGHEST" in line for line in found)


def test_an_older_run_is_evaluated_in_float32(
    people: Path, save_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(data={"root": str(people), "image_size": SIZE})
    as_dict = dataclasses.asdict

    def without(config: Any) -> dict[str, Any]:
        values = as_dict(config)
        values.pop("precision", None)
        values.get("evaluation", {}).pop("precision", None)
        return values

    with monkeypatch.context() as patch:
        patch.setattr(dataclasses, "asdict", without)
        save_run(tmp_path, config, 1, 1)
    run = load_run(tmp_path)
    assert run.config == config
    assert run.model.precision == "highest"
