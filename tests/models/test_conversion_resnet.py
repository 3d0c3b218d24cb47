"""Weights of torchvision's ResNets, and of the released ResNet-18."""

from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from torch_weights import (
    MODEL,
    RESNET18,
    SHARED,
    TORCHVISION_NAMES,
    Weights,
    draw,
    refusal,
    renamed,
    same,
)

from lupi_jax.modality import Modality
from lupi_jax.models import (
    BACKBONES,
    EmbedNet,
    from_torch,
    initialize,
    remarks_on,
    to_torch,
)


def test_torchvision_stem_serves_every_modality(weights: Weights, initial: dict[str, Any]) -> None:
    torchvision = renamed(weights, TORCHVISION_NAMES)
    torchvision["fc.weight"] = np.zeros((1000, 256), np.float32)
    result = from_torch(torchvision, MODEL, initial=initial)
    expected = weights["visible_module.resnet_part1.0.weight"].transpose(2, 3, 1, 0)
    for modality in Modality:
        kernel = result["params"][f"stem_{modality}"]["conv1"]["kernel"]
        np.testing.assert_array_equal(kernel, expected)
    fresh = initial["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(result["params"]["classifier"]["kernel"], fresh)
    trunk = result["params"]["trunk"]["layer2"]
    assert same(trunk["non_local0"], initial["params"]["trunk"]["layer2"]["non_local0"])
    np.testing.assert_array_equal(
        trunk["block0"]["conv1"]["kernel"],
        torchvision["layer2.0.conv1.weight"].transpose(2, 3, 1, 0),
    )
    del torchvision["layer4.0.bn2.running_var"]
    torchvision["head.weight"] = torchvision.pop("fc.weight")
    message = refusal(torchvision, MODEL, initial=initial)
    assert "1 missing: layer4.0.bn2.running_var; 1 unexpected: head.weight" in message


def torchvision_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes of torchvision's ResNets, after He et al.'s Table 1."""
    net = BACKBONES[backbone]
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 1)}
    norms = {"bn1": 64}
    before = 64
    for layer, blocks in enumerate(net.blocks):
        width = 64 * 2**layer
        after = 4 * width if net.bottleneck else width
        for block in range(blocks):
            at = f"layer{layer + 1}.{block}"
            if net.bottleneck:
                plan = [(width, before, 1), (width, width, 3), (after, width, 1)]
            else:
                plan = [(width, before, 3), (after, width, 3)]
            for i, (out, into, size) in enumerate(plan, 1):
                shapes[f"{at}.conv{i}.weight"] = (out, into, size, size)
                norms[f"{at}.bn{i}"] = out
            if block == 0 and (net.bottleneck or layer > 0):
                shapes[f"{at}.downsample.0.weight"] = (after, before, 1, 1)
                norms[f"{at}.downsample.1"] = after
            before = after
    for name, size in norms.items():
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (size,)
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50"])
def test_torchvision_s_resnets_fill_stems_and_trunk(backbone: str) -> None:
    shapes = torchvision_shapes(backbone)
    torchvision = {name: np.full(shape, 7, np.float32) for name, shape in shapes.items()}
    model = EmbedNet(3, backbone=backbone)
    template = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=(32, 32)))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), template)
    result = flatten_dict(from_torch(torchvision, model, initial=zeros))
    kept = {path[1:-1] for path, value in result.items() if not value.all()}
    expected = {"neck", "classifier"} | ({"non_local"} if backbone != "resnet18" else set())
    assert {path[0] if len(path) == 1 else path[2][:9] for path in kept} == expected
    other = "resnet18" if backbone == "resnet50" else "resnet50"
    message = refusal(torchvision, EmbedNet(3, backbone=other), initial=zeros)
    assert (
        f"EmbedNet(3, {other}): they are of {backbone}: set --config.model.backbone={backbone}; "
        in message
    )
    assert "pretrained_fresh" not in message


def test_torchvision_fills_a_shared_layer1(weights: Weights, initial: dict[str, Any]) -> None:
    torchvision = renamed(weights, TORCHVISION_NAMES)
    result = from_torch(torchvision, SHARED, initial=initial)
    np.testing.assert_array_equal(
        result["params"]["trunk"]["layer1"]["block0"]["conv2"]["kernel"],
        torchvision["layer1.0.conv2.weight"].transpose(2, 3, 1, 0),
    )
    fresh = from_torch(torchvision, SHARED, initial=draw(SHARED, 6), fresh=("trunk/layer1",))
    kernel = fresh["params"]["trunk"]["layer1"]["block0"]["conv2"]["kernel"]
    assert not np.array_equal(
        kernel, result["params"]["trunk"]["layer1"]["block0"]["conv2"]["kernel"]
    )


def unreached_blocks() -> Weights:
    """Two blocks of 512 and three of 1024 channels, by hand after the original's `Non_local`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, channels, count in ((2, 512, 2), (3, 1024, 3)):
        for i in range(count):
            at = f"NL_{layer}.{i}"
            for name in ("g.0", "theta", "phi"):
                shapes |= {f"{at}.{name}.weight": (1, channels, 1, 1), f"{at}.{name}.bias": (1,)}
            shapes |= {f"{at}.W.0.weight": (channels, 1, 1, 1), f"{at}.W.0.bias": (channels,)}
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{at}.W.1.{leaf}"] = (channels,)
            shapes[f"{at}.W.1.num_batches_tracked"] = ()
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def resnet18() -> tuple[dict[str, Any], Weights]:
    variables = draw(RESNET18, 7)
    return variables, to_torch(variables)


def test_blocks_that_a_released_resnet18_never_runs_are_left_out(
    resnet18: tuple[dict[str, Any], Weights],
) -> None:
    variables, weights = resnet18
    blocks = unreached_blocks()
    assert len(blocks) == 65
    stored = weights | blocks
    assert same(from_torch(stored, RESNET18), variables)
    (remark,) = remarks_on(stored, RESNET18)
    assert remark.startswith("60 tensors of non-local blocks (NL_2, NL_3) are left out")
    wrapped = {f"module.{name}": value for name, value in stored.items()}
    assert remarks_on(wrapped, RESNET18) == [remark]


def test_no_other_blocks_are_left_out(resnet18: tuple[dict[str, Any], Weights]) -> None:
    _, weights = resnet18
    stored = weights | unreached_blocks()
    for name, shape in (
        ("NL_2.0.g.0.weight", (1, 128, 1, 1)),  # of a block that would run
        ("NL_2.2.g.0.weight", (1, 512, 1, 1)),
        ("NL_4.0.theta.bias", (1,)),
        ("NL_3.0.extra.weight", (1, 1024, 1, 1)),
    ):
        message = refusal(stored | {name: np.ones(shape, np.float32)}, RESNET18)
        assert f"1 unexpected: {name}" in message
    plain = EmbedNet(5, backbone="resnet18", non_local=False)
    assert "set --config.model.non_local=True" in refusal(stored, plain)
    assert "60 unexpected: " in refusal(stored, plain)


def test_a_resnet18_without_blocks_may_be_of_the_other_method(
    resnet18: tuple[dict[str, Any], Weights], weights: Weights
) -> None:
    (remark,) = remarks_on(resnet18[1], RESNET18)
    assert "set --config.model.non_local=False and --config.model.pooling=average" in remark
    plain = EmbedNet(5, backbone="resnet18", non_local=False)
    assert remarks_on(resnet18[1], plain) == []
    assert (
        remarks_on(weights, MODEL)
        == remarks_on(renamed(weights, TORCHVISION_NAMES), RESNET18)
        == []
    )
