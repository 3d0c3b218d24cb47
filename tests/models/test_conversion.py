"""Weights of LUPI and AGW to our variables, and back."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from torch_weights import (
    AGW_MODEL,
    MODEL,
    SHARED,
    TORCHVISION_NAMES,
    TWO,
    Weights,
    draw,
    refusal,
    renamed,
    same,
)

from experiments.parity import load_network
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import (
    Backbone,
    EmbedNet,
    classes_of,
    from_torch,
    modalities_of,
    to_torch,
)
from lupi_jax.models.backbones import BACKBONES
from lupi_jax.models.conversion import to_named


def test_names_are_the_released_code_s(weights: Weights) -> None:
    assert weights["gray_module.resnet_part1.3.0.conv2.weight"].shape == (32, 32, 3, 3)
    assert weights["base_resnet.resnet_part2.0.0.downsample.0.weight"].shape == (64, 32, 1, 1)
    assert weights["NL_3.0.W.1.running_var"].shape == (128,)
    assert weights["classifier.weight"].shape == (5, 256)
    meta = load_network("resnet18_base").meta
    resnet18 = EmbedNet(meta["n_class"], backbone="resnet18", non_local=False, pooling="average")
    names = {k: list(v.shape) for k, v in to_torch(draw(resnet18, 0)).items()}
    assert names == meta["shapes"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back_is_exact(dtype: Any) -> None:
    variables = draw(MODEL, 3, dtype)
    weights = to_torch(variables)
    assert same(from_torch(weights, MODEL), variables)
    back = to_torch(from_torch(weights, MODEL))
    assert same(back, weights)


def test_dataparallel_s_prefix_is_taken_off(weights: Weights, variables: dict[str, Any]) -> None:
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    assert same(from_torch(wrapped, MODEL), variables)
    assert classes_of(wrapped) == 5
    assert modalities_of(wrapped) == tuple(Modality)


def test_agw_s_layer1_serves_both_stems(agw: Weights, variables: dict[str, Any]) -> None:
    result = from_torch(agw, AGW_MODEL, TWO)
    expected = {
        path: v for path, v in flatten_dict(variables).items() if "stem_inter" not in path[1]
    }
    for path in expected:
        if path[1] == "stem_infrared" and path[2] == "layer1":
            expected[path] = expected[(path[0], "stem_visible", *path[2:])]
    assert same(result, unflatten_dict(expected))
    assert "stem_intermediate" not in result["params"]


def test_agw_needs_its_relu_and_has_no_intermediate_stem(
    agw: Weights, initial: dict[str, Any]
) -> None:
    assert "set --config.model.stem_relu=True" in refusal(agw, MODEL, TWO)
    message = refusal(agw, AGW_MODEL)
    assert "1 missing: stem_intermediate;" in message
    assert message.endswith("in --config.pretrained_fresh")
    result = from_torch(agw, AGW_MODEL, initial=initial, fresh=("stem_intermediate",))
    for collection in ("params", "batch_stats"):
        theirs = initial[collection]["stem_intermediate"]
        assert same(result[collection]["stem_intermediate"], theirs)
    np.testing.assert_array_equal(
        result["params"]["classifier"]["kernel"], agw["classifier.weight"].T
    )


def test_stems_that_nobody_asked_for_are_left_out(weights: Weights) -> None:
    whole, two = from_torch(weights, MODEL), from_torch(weights, MODEL, TWO)
    assert two["params"].keys() == whole["params"].keys() - {"stem_intermediate"}
    assert same(two["params"]["stem_infrared"], whole["params"]["stem_infrared"])
    message = refusal(weights | {"gray_module.more.weight": np.zeros(3)}, MODEL, TWO)
    assert "1 unexpected: gray_module.more.weight" in message


def test_classes_and_modalities_are_read_off_the_names(weights: Weights, agw: Weights) -> None:
    torchvision = renamed(weights, TORCHVISION_NAMES)
    assert (classes_of(weights), classes_of(agw), classes_of(torchvision)) == (5, 5, None)
    assert modalities_of(weights) == modalities_of(torchvision) == tuple(Modality)
    assert modalities_of(agw) == TWO
    two = {name: value for name, value in weights.items() if not name.startswith("gray_module")}
    assert modalities_of(two) == TWO
    with pytest.raises(InputError, match="do not come from a known network"):
        modalities_of({"encoder.weight": np.zeros(3)})


def test_a_shared_layer1_is_agw_s_own(agw: Weights) -> None:
    result = from_torch(agw, SHARED, TWO)
    layer1 = result["params"]["trunk"]["layer1"]["block0"]
    np.testing.assert_array_equal(
        layer1["conv1"]["kernel"],
        agw["base_resnet.base.layer1.0.conv1.weight"].transpose(2, 3, 1, 0),
    )
    assert {*result["params"]["stem_infrared"]} == {"conv1", "bn1"}
    back = to_torch(result)
    # What AGW uses is as it was; what it does not use, spoilt here, is filled with copies.
    for name, value in agw.items():
        if not np.isnan(value).any() and value.dtype.kind == "f":
            np.testing.assert_array_equal(back[name], value, err_msg=name, strict=True)
    assert {name: value.shape for name, value in back.items()} == {
        name: value.shape for name, value in agw.items()
    }
    for name, source in (
        ("visible_module.visible.layer1.0.conv1.weight", "base_resnet.base.layer1.0.conv1.weight"),
        ("thermal_module.thermal.layer4.0.bn2.bias", "base_resnet.base.layer4.0.bn2.bias"),
        ("base_resnet.base.bn1.running_var", "visible_module.visible.bn1.running_var"),
    ):
        np.testing.assert_array_equal(back[name], agw[source])
    assert same(from_torch(back, SHARED, TWO), result)


def test_other_names_say_a_shared_layer1_by_copies(variables: dict[str, Any]) -> None:
    three = draw(SHARED, 4)
    with pytest.raises(InputError, match=r"this one has stem_infrared, stem_intermediate, stem_v"):
        to_torch(three)
    weights = to_torch(three, names="lupi")
    for part in ("visible_module", "thermal_module", "gray_module"):
        np.testing.assert_array_equal(
            weights[f"{part}.resnet_part1.3.0.bn2.running_mean"],
            three["batch_stats"]["trunk"]["layer1"]["block0"]["bn2"]["mean"],
        )
    apart = from_torch(weights, MODEL)
    assert same(apart["params"]["trunk"]["layer3"], three["params"]["trunk"]["layer3"])
    assert to_torch(variables, names="lupi").keys() == weights.keys()
    with pytest.raises(InputError, match="stem_visible, each with a layer1 of its own: write it"):
        to_torch(variables, names="agw")


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_a_network_of_one_stem_is_not_agw_s(modality: str) -> None:
    """AGW's own code would miss the other stem's tensors."""
    alone = {
        collection: {k: v for k, v in tree.items() if k in (f"stem_{modality}", "trunk", "neck")}
        for collection, tree in draw(SHARED, 4).items()
    }
    message = rf"this one has stem_{modality}: .*to_torch\(variables, names=\"lupi\"\)"
    for names in ("agw", None):
        with pytest.raises(InputError, match=message):
            to_torch(alone, names)
    part = {"visible": "visible_module", "infrared": "thermal_module"}[modality]
    written = to_torch(alone, "lupi")
    assert {name.partition(".")[0] for name in written} >= {part, "base_resnet", "bottleneck"}
    assert f"{part}.resnet_part1.3.0.conv1.weight" in written


class Namesakes(nn.Module):
    """Variables whose names PyTorch's would make one: `kernel`, `weight`, and `mean` twice."""

    variables_of_its_own: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.mean((1, 2)) if x.ndim == 4 else x
        if self.variables_of_its_own:
            for name in ("kernel", "weight", "mean", "running_mean"):
                x = x * self.param(name, nn.initializers.normal(), (3,))
            x = x + self.variable("batch_stats", "mean", jnp.zeros, (3,)).value
        return x


@dataclasses.dataclass(frozen=True)
class OwnNet(Backbone):
    in_trunk: bool

    @property
    def features(self) -> int:
        return 3

    def stem(self, numerics: Any, name: str) -> nn.Module:
        return Namesakes(not self.in_trunk, name=name)

    def trunk(self, numerics: Any, name: str) -> nn.Module:
        return Namesakes(self.in_trunk, name=name)


@pytest.mark.parametrize("in_trunk", [True, False])
def test_no_two_variables_of_a_user_s_module_get_one_name(
    monkeypatch: pytest.MonkeyPatch, in_trunk: bool
) -> None:
    monkeypatch.setitem(BACKBONES, "own", OwnNet(in_trunk))
    model = EmbedNet(5, backbone="own", pooling="average")
    variables = draw(model, 6)
    named = to_named(variables)
    assert len(named) == len(flatten_dict(variables)) == 5 * (1 if in_trunk else 3) + 5
    assert same(from_torch(named, model), variables)
    assert classes_of(named) == 5
