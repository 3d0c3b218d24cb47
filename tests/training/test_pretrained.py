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
from lupi_jax.training import load, load_untrained, pretrained
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


def test_a_vit_s_run_is_refused_by_its_backbone_and_not_by_its_stem(
    places: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ViT ignores `stem_relu`, so that a ResNet's need not be the same."""
    theirs = configure(places["old"], model={"backbone": "vit_small"})
    shapes = jax.eval_shape(lambda: drawn(theirs))
    tensors = to_named(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
    source = pretrained._Source("vit, step 1", tensors, {"config": dataclasses.asdict(theirs)})
    monkeypatch.setattr(pretrained, "_read", lambda *_: source)
    config = configure(places["old"], "vit", model={**MODEL, "stem_relu": True})
    with pytest.raises(InputError, match=r"set --config[.]model[.]backbone=vit_small") as caught:
        start(config)
    assert "stem_relu" not in str(caught.value)


def test_a_stem_that_a_run_lacks_starts_as_a_copy(
    places: Mapping[str, Path], tmp_path: Path, save_run: Callable[..., None], capfd: Capture
) -> None:
    two = tmp_path / "two"
    save_run(two, configure(places["old"], modalities=SIDES), 1, 9)
    old = load(two)[1]
    more = configure(places["old"], two)
    capfd.readouterr()
    found = start(more)
    assert (
        f"{two}, step 1: there is no intermediate stem, so the intermediate stem starts as a copy "
        "of the visible stem; --config.pretrained_fresh=\"('stem_intermediate',)\" draws it at "
        "random\n"
    ) in capfd.readouterr().err
    for collection in ("params", "batch_stats"):
        for name in (*(f"stem_{side}" for side in SIDES), "trunk"):
            assert same(found[collection][name], old[collection][name])
        assert same(found[collection]["stem_intermediate"], old[collection]["stem_visible"])
    anew = dataclasses.replace(more, pretrained_fresh=("stem_intermediate",))
    found, fresh = start(anew), drawn(anew)
    assert same(found["params"]["stem_intermediate"], fresh["params"]["stem_intermediate"])
    assert same(found["params"]["trunk"], old["params"]["trunk"])
    assert "copy" not in capfd.readouterr().err


def test_the_stem_that_is_copied_is_the_nearest(
    places: Mapping[str, Path], tmp_path: Path, capfd: Capture
) -> None:
    """A file whose stems differ: visible and intermediate images take each other's stem first."""
    three = configure(places["old"])
    weights = to_torch(drawn(three, 7))
    parts = {"visible": "visible_module", "infrared": "thermal_module"}
    for number, part in enumerate(parts.values()):
        name = f"{part}.resnet_part1.1.bias"
        weights[name] = weights[name] + number + 1
    lacking = {"intermediate": ("gray_module", 1), "visible": ("visible_module", 0)}
    for missing, (part, bias) in lacking.items():
        file = tmp_path / f"{missing}.safetensors"
        save_file({n: x for n, x in weights.items() if not n.startswith(part)}, file)
        found = start(configure(places["old"], file))["params"]
        np.testing.assert_array_equal(found[f"stem_{missing}"]["bn1"]["bias"], bias)
        np.testing.assert_array_equal(found["stem_infrared"]["bn1"]["bias"], 2)
    said = capfd.readouterr().err
    assert "there is no visible stem, so the visible stem starts as a copy of the intermediate" in (
        said
    )


def test_a_stem_that_is_left_out_is_told(
    places: Mapping[str, Path], run: Path, tmp_path: Path, capfd: Capture
) -> None:
    two = configure(places["old"], run, modalities=SIDES)
    line = "step 9: the intermediate stem is left out: intermediate is not in --config.modalities\n"
    capfd.readouterr()
    found = start(two)
    assert f"{run}, {line}" in capfd.readouterr().err
    assert {n for n in found["params"] if n.startswith("stem_")} == {f"stem_{m}" for m in SIDES}
    assert same(found, drawn(two, 9))
    # torchvision's one stem is for every modality, so that nothing of it is left out.
    names = {
        "visible_module.resnet_part1.0.": "conv1.",
        "visible_module.resnet_part1.1.": "bn1.",
        "visible_module.resnet_part1.3.": "layer1.",
        **{f"base_resnet.resnet_part2.{i}.": f"layer{i + 2}." for i in range(3)},
    }
    weights = {
        theirs + name.removeprefix(ours): x
        for name, x in to_torch(drawn(two, 7)).items()
        for ours, theirs in names.items()
        if name.startswith(ours)
    }
    save_file(weights, tmp_path / "torchvision.safetensors")
    start(dataclasses.replace(two, pretrained=str(tmp_path / "torchvision.safetensors")))
    assert capfd.readouterr().err == ""


def test_another_pooling_is_told(places: Mapping[str, Path], run: Path, capfd: Capture) -> None:
    config = configure(places["old"], run, model={**MODEL, "pooling": "average"})
    capfd.readouterr()
    assert same(start(config), drawn(config, 9))
    assert (
        f"{run}, step 9: that run has model.pooling = gem, so its neck and classifier do not know "
        "the features of average: --config.model.pooling=gem keeps them\n"
    ) in capfd.readouterr().err


OWN = """
import dataclasses
from flax import linen as nn
from lupi_jax.models import Backbone

class Mean(nn.Module):
    def __call__(self, x, train):
        return x

class Layer(nn.Module):
    width: int
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.width)(x.mean((1, 2)))

@dataclasses.dataclass(frozen=True)
class Net(Backbone):
    width: int = 4
    features = property(lambda self: self.width)
    def stem(self, numerics, name): return Mean(name=name)
    def trunk(self, numerics, name): return Layer(self.width, name=name)
"""


def test_the_own_backbone_of_a_run_is_told(
    places: Mapping[str, Path],
    tmp_path: Path,
    save_run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "net_of_one_layer.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = {"backbone": "net_of_one_layer:Net", "backbone_settings": {"width": 3}}
    save_run(tmp_path / "own", configure(places["old"], model=own), 1, 9, key=5)

    def message(**model: Any) -> str:
        with pytest.raises(InputError) as caught:
            start(configure(places["old"], tmp_path / "own", model=model))
        return str(caught.value).removeprefix(f"{tmp_path / 'own'}, step 1: ")

    assert message(**MODEL) == (
        "that run's backbone is net_of_one_layer:Net: set "
        "--config.model.backbone=net_of_one_layer:Net"
    )
    assert message(**{**own, "backbone_settings": {"width": 5}}) == (
        "that run's model.backbone_settings are {'width': 3}: set the same ones"
    )
    config = configure(places["old"], tmp_path / "own", model=own)
    assert same(start(config), drawn(config, 5))


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
