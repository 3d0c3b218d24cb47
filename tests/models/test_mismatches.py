"""Weights that do not fit are refused with all that is wrong, and with what to set."""

from typing import Any

import numpy as np
from torch_weights import (
    AGW_MODEL,
    MODEL,
    TORCHVISION_NAMES,
    TWO,
    Weights,
    refusal,
    renamed,
    same,
)

from lupi_jax.models import (
    EmbedNet,
    from_torch,
)


def test_every_mismatch_is_in_one_report(weights: Weights) -> None:
    wrong = dict(weights)
    del wrong["bottleneck.weight"]
    wrong["stray.weight"] = np.zeros(3)
    wrong["classifier.weight"] = np.zeros((7, 256))
    wrong["NL_2.0.g.0.weight"] = wrong["NL_2.0.g.0.weight"].astype(np.int32)
    wrong["NL_2.0.g.0.bias"] = np.array([np.inf], np.float32)
    message = refusal(wrong, MODEL)
    assert "1 missing: bottleneck.weight;" in message
    assert "1 unexpected: stray.weight;" in message
    assert "1 misshaped: classifier.weight is (7, 256), not (5, 256);" in message
    assert "1 not of floats: NL_2.0.g.0.weight is int32;" in message
    assert "1 not finite: NL_2.0.g.0.bias;" in message
    assert message.endswith("in --config.pretrained_fresh")


def test_a_report_stays_short(weights: Weights) -> None:
    wrong = {name: value for name, value in weights.items() if not name.startswith("gray_module")}
    message = refusal(wrong | {f"stray{i:02}.weight": np.zeros(1) for i in range(30)}, MODEL)
    assert "15 missing: gray_module.resnet_part1.0.weight, " in message
    assert "30 unexpected: stray00.weight, " in message
    assert "stray19.weight, ..." in message
    assert "stray20" not in message
    assert "pretrained_fresh" not in message


def test_only_what_agw_leaves_unused_is_ignored(agw: Weights) -> None:
    for name in (
        "base_resnet.base.conv2.weight",
        "visible_module.visible.layer5.0.conv1.weight",
        "thermal_module.thermal.layer1.0.conv1.extra.weight",
        "base_resnet.base.fc.weight",
    ):
        message = refusal(agw | {name: np.zeros(1)}, AGW_MODEL, TWO)
        assert f"1 unexpected: {name};" in message
        assert "missing" not in message


def test_a_deeper_resnet_is_told(weights: Weights) -> None:
    deeper = renamed(weights, TORCHVISION_NAMES)
    for i in range(1, 23):
        deeper[f"layer3.{i}.conv1.weight"] = np.zeros((1, 1, 3, 3), np.float32)
    assert ": layer2 to layer4 have (1, 23, 1) blocks; " in refusal(deeper, MODEL)


def test_weights_of_other_networks_are_told(weights: Weights) -> None:
    foreign = {"encoder.embed.weight": np.zeros(3), "decoder.bias": np.zeros(3)}
    message = refusal(foreign, MODEL)
    assert "(first names: encoder.embed.weight, decoder.bias)" in message
    assert message.endswith(
        "give weights of LUPI, as visible_module.resnet_part1.0.weight; AGW, as "
        "visible_module.visible.conv1.weight; torchvision's ResNet, as conv1.weight; timm's ViT, "
        "as patch_embed.proj.weight"
    )
    assert "0 weights" in refusal({}, MODEL)


def test_a_classifier_of_other_people_is_refused_unless_named(
    weights: Weights, initial: dict[str, Any]
) -> None:
    others = weights | {"classifier.weight": np.zeros((7, 256), np.float32)}
    message = refusal(others, MODEL)
    assert "missing" not in message
    assert message.endswith("in --config.pretrained_fresh")
    result = from_torch(others, MODEL, initial=initial, fresh=("classifier",))
    assert same(result["params"]["classifier"], initial["params"]["classifier"])
    expected = from_torch(weights, MODEL)
    expected["params"]["classifier"] = initial["params"]["classifier"]
    assert same(result, expected)


def test_what_is_named_is_left_out(
    weights: Weights, variables: dict[str, Any], initial: dict[str, Any]
) -> None:
    block = "trunk/layer2/non_local0"
    result = from_torch(weights, MODEL, initial=initial, fresh=(block, "neck/scale"))
    layer = result["params"]["trunk"]["layer2"]
    assert same(layer["non_local0"], initial["params"]["trunk"]["layer2"]["non_local0"])
    assert same(layer["block0"], variables["params"]["trunk"]["layer2"]["block0"])
    np.testing.assert_array_equal(
        result["params"]["neck"]["scale"], initial["params"]["neck"]["scale"]
    )
    np.testing.assert_array_equal(
        result["params"]["neck"]["bias"], variables["params"]["neck"]["bias"]
    )
    # Whole parts of a name: `out` is not the beginning of `out_bn`.
    result = from_torch(weights, MODEL, initial=initial, fresh=(f"{block}/out",))
    parts = [
        tree["params"]["trunk"]["layer2"]["non_local0"] for tree in (result, initial, variables)
    ]
    assert same(parts[0]["out"], parts[1]["out"])
    assert same(parts[0]["out_bn"], parts[2]["out_bn"])
    # By the file's own names: what the network lacks is ignored, what it has comes from initial.
    contrast = weights | {"contrastive_hidden_layer.weight": np.zeros((2, 2))}
    assert "1 unexpected: contrastive_hidden_layer.weight" in refusal(contrast, MODEL)
    assert same(
        from_torch(contrast, MODEL, fresh=("contrastive_hidden_layer",), initial=initial), variables
    )
    result = from_torch(weights, MODEL, initial=initial, fresh=("NL_2.0",))
    assert same(result["params"]["trunk"]["layer2"], layer)


def test_what_the_network_must_be_is_said(weights: Weights) -> None:
    relu = EmbedNet(5, backbone="thin", stem_relu=True)
    assert refusal(weights, relu).endswith("set --config.model.stem_relu=False")
    plain = {name: value for name, value in weights.items() if not name.startswith("NL_")}
    message = refusal(plain, MODEL)
    assert "set --config.model.non_local=False" in message
    assert "--config.model.pooling=average" in message
    assert "pretrained_fresh" not in message
    without = EmbedNet(5, backbone="thin", non_local=False)
    assert "set --config.model.non_local=True" in refusal(weights, without)


def test_a_name_of_nothing_is_refused(weights: Weights) -> None:
    message = refusal(weights, MODEL, fresh=("classifier", "clasifier", "trunk/layer"))
    assert (
        "'clasifier', 'trunk/layer' is not the name of a module or tensor: the network has"
        in message
    )
    assert "the network has classifier, neck, stem_infrared, stem_intermediate," in message
    assert "the weights have NL_2, NL_3, base_resnet, bottleneck, classifier, gray_mod" in message


def test_weights_with_a_layer1_for_each_modality_need_a_network_that_has(weights: Weights) -> None:
    shared = EmbedNet(5, backbone="thin", shared_from="layer1")
    assert "set --config.model.shared_from=layer2" in refusal(weights, shared)
