"""What a run starts from: another run, at which checkpoint, with whose classifier."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from lupi_jax.config import Config, parse_config
from lupi_jax.data import read_index
from lupi_jax.data.contents import look_at
from lupi_jax.errors import InputError
from lupi_jax.models import from_torch, to_torch
from lupi_jax.models.conversion import to_named
from lupi_jax.training import load, load_untrained
from lupi_jax.training.network import fresh_variables, make_model
from lupi_jax.training.pretrained import initial_variables
from lupi_jax.training.run import run_record, same_people

Capture = pytest.CaptureFixture[str]
SIDES = ("visible", "infrared")
MODEL = {"backbone": "thin", "non_local": False}


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, write_layout: Callable[..., Path]
) -> dict[str, Path]:
    """Two folders of three people with the same numbers, and one with others."""
    folder = tmp_path_factory.mktemp("people")
    numbers = {"old": (1, 2, 3), "new": (1, 2, 3), "others": (1, 2, 4)}
    roots = {
        name: write_layout(
            folder / name, {"train": {side: {f"{n}": 1 for n in who} for side in SIDES}}
        )
        for name, who in numbers.items()
    }
    for image in roots["new"].rglob("*.jpg"):
        image.write_bytes(image.read_bytes() + b"\0")  # another picture under the same name
    return roots


def configure(root: Path, pretrained: object = "", **fields: Any) -> Config:
    data = {"root": str(root), "image_size": (32, 32)}
    values = {"steps": 9, "data": data, "model": MODEL, "pretrained": str(pretrained), **fields}
    return parse_config(values)


@pytest.fixture(scope="module")
def run(places: Mapping[str, Path], save_run: Callable[..., None]) -> Path:
    """A run on the old people, with the checkpoints of the steps 4 and 9."""
    workdir = places["old"].parent / "run"
    for step in (4, 9):
        save_run(workdir, configure(places["old"]), step, 9, key=step)
    return workdir


def start(config: Config) -> dict[str, Any]:
    training = read_index(config.data, "train")
    model = make_model(config, len(training.classes))
    record = run_record(config, training, 9, 1, look_at(training))
    return initial_variables(config, model, record=record)


def drawn(config: Config, seed: int = 0, classes: int = 3) -> dict[str, Any]:
    return fresh_variables(dataclasses.replace(config, seed=seed), make_model(config, classes))


def same(a: Any, b: Any) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b))


def with_classifier(variables: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    params = {**variables["params"], "classifier": other["params"]["classifier"]}
    return {**variables, "params": params}


@pytest.mark.parametrize(("which", "step"), [("", 9), ("@4", 4), ("@newest", 9)])
def test_a_run_on_the_same_people_goes_on_with_all_its_weights(
    places: Mapping[str, Path], run: Path, capfd: Capture, which: str, step: int
) -> None:
    config = configure(places["old"], f"{run}{which}")
    capfd.readouterr()
    assert same(start(config), drawn(config, step))
    assert capfd.readouterr().err == (
        f"{run}, step {step}: the classifier is reused: that run trained on the same identities\n"
    )


@pytest.mark.parametrize("name", ["new", "others"])
def test_for_other_people_the_classifier_starts_anew(
    places: Mapping[str, Path], run: Path, capfd: Capture, name: str
) -> None:
    """As many of them: no shape tells them from the old ones, nor do the numbers of `new`."""
    config = configure(places[name], run)
    expected = with_classifier(drawn(config, 9), drawn(config))
    assert not same(expected, drawn(config, 9))
    capfd.readouterr()
    assert same(start(config), expected)
    assert capfd.readouterr().err == (
        f"{run}, step 9: the classifier is re-initialised: that run is not known to have trained "
        "on the same identities\n"
    )


@pytest.mark.parametrize("classes", [3, 5])
def test_a_files_classifier_starts_anew(
    places: Mapping[str, Path], tmp_path: Path, capfd: Capture, classes: int
) -> None:
    file = tmp_path / "original.safetensors"
    config = configure(places["new"], file)
    save_file(to_torch(drawn(config, 7, classes)), file)
    expected = with_classifier(drawn(config, 7), drawn(config))
    assert same(start(config), expected)
    assert capfd.readouterr().err == (
        f"{file}: the classifier is re-initialised: a file does not say which identities it was "
        "trained on\n"
    )
    named = dataclasses.replace(config, pretrained_fresh=("classifier",))
    assert same(start(named), expected)
    assert capfd.readouterr().err == ""
    load_untrained(config)  # nobody looks at its classifier
    assert capfd.readouterr().err == ""


def test_every_network_is_what_its_names_say() -> None:
    """Shared layer1 with and without a ReLU, which no names of PyTorch's networks can say."""
    for fields in ({"shared_from": "layer1"}, {"shared_from": "layer2", "stem_relu": True}):
        config = configure(Path("x"), model={"backbone": "thin", "non_local": True, **fields})
        variables = drawn(config, 3)
        assert same(from_torch(to_named(variables), make_model(config, 3)), variables)


def test_a_run_of_another_network_is_refused_with_what_to_set(
    places: Mapping[str, Path], run: Path, tmp_path: Path, save_run: Callable[..., None]
) -> None:
    def message(workdir: Path, **model: Any) -> str:
        config = configure(places["old"], workdir, model={**MODEL, **model})
        with pytest.raises(InputError) as caught:
            start(config)
        return str(caught.value)

    said = message(run, shared_from="layer1")
    assert said.startswith(f"{run}, step 9: these weights of a run of `lupi train` do not fit")
    assert "set --config.model.shared_from=layer2" in said
    assert "set --config.model.stem_relu=False" in message(run, stem_relu=True)
    assert "set --config.model.non_local=False" in message(run, non_local=True)
    assert "they are of thin" in message(run, backbone="resnet18")
    two = configure(places["old"], modalities=SIDES)
    save_run(tmp_path / "two", two, 1, 9)
    said = message(tmp_path / "two")
    assert "15 missing: stem_intermediate/bn1.bias, " in said
    assert said.endswith("in --config.pretrained_fresh")
    more = configure(places["old"], tmp_path / "two", pretrained_fresh=("stem_intermediate",))
    found, fresh = start(more), drawn(more)
    assert same(found["params"]["stem_intermediate"], fresh["params"]["stem_intermediate"])
    assert same(found["params"]["trunk"], load(tmp_path / "two")[1]["params"]["trunk"])


def test_a_place_without_a_run_or_a_checkpoint_is_refused(
    places: Mapping[str, Path], run: Path
) -> None:
    for place, words in {
        places["new"]: "no weights at .*: give the --workdir of a `lupi train` run",
        f"{run}@7": "no checkpoint '7' .no such step.: give one of 4, 9",
        f"{run}@best": "no step has validation figures",
        f"{run}s": f"no weights at {run}s",
    }.items():
        with pytest.raises(InputError, match=words):
            start(configure(places["new"], place))


def test_who_counts_as_the_same_people(tmp_path: Path, write_layout: Callable[..., Path]) -> None:
    """Whoever is in the same files by the same numbers, wherever these lie."""

    def record(root: Path) -> dict[str, Any]:
        config = configure(root)
        training = read_index(config.data, "train")
        return run_record(config, training, 9, 1, look_at(training))

    people = {"visible": {"1": 2, "2": 2}, "infrared": {"1": 2, "2": 2}}
    one = write_layout(tmp_path / "one", {"train": people})
    before = record(one)
    assert same_people(before, record(one))
    copy = shutil.copytree(one, tmp_path / "copy")
    assert same_people(before, record(copy))
    image = copy / "train/visible/1/c1_0000.jpg"
    image.write_bytes(image.read_bytes() + b"\0")  # another picture under the same name
    assert not same_people(before, record(copy))
    (one / "train/visible/2").rename(one / "train/visible/3")
    (one / "train/infrared/2").rename(one / "train/infrared/3")
    assert not same_people(before, record(one))
    older = {name: value for name, value in before.items() if name != "content"}
    assert not same_people(older, before)  # an earlier version did not say
