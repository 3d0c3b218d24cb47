from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from experiments.parity import load_network
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import (
    BACKBONES,
    EmbedNet,
    classes_of,
    from_torch,
    initialize,
    modalities_of,
    remarks_on,
    to_torch,
)

Weights = dict[str, np.ndarray]

MODEL = EmbedNet(5, backbone="thin", non_local=True)
AGW_MODEL = EmbedNet(5, backbone="thin", non_local=True, stem_relu=True)
SHARED = EmbedNet(5, backbone="thin", stem_relu=True, shared_from="layer1")
RESNET18 = EmbedNet(5, backbone="resnet18")
TWO = (Modality.VISIBLE, Modality.INFRARED)
TORCHVISION_NAMES = {
    "visible_module.resnet_part1.0.": "conv1.",
    "visible_module.resnet_part1.1.": "bn1.",
    "visible_module.resnet_part1.3.": "layer1.",
    "base_resnet.resnet_part2.0.": "layer2.",
    "base_resnet.resnet_part2.1.": "layer3.",
    "base_resnet.resnet_part2.2.": "layer4.",
}
AGW_NAMES = {
    "visible_module.resnet_part1.0.": "visible_module.visible.conv1.",
    "visible_module.resnet_part1.1.": "visible_module.visible.bn1.",
    "thermal_module.resnet_part1.0.": "thermal_module.thermal.conv1.",
    "thermal_module.resnet_part1.1.": "thermal_module.thermal.bn1.",
    "visible_module.resnet_part1.3.": "base_resnet.base.layer1.",
    "base_resnet.resnet_part2.0.": "base_resnet.base.layer2.",
    "base_resnet.resnet_part2.1.": "base_resnet.base.layer3.",
    "base_resnet.resnet_part2.2.": "base_resnet.base.layer4.",
    "NL_": "NL_",
    "bottleneck.": "bottleneck.",
    "classifier.": "classifier.",
}


def draw(model: EmbedNet, seed: int, dtype: Any = np.float32) -> dict[str, Any]:
    """Variables without the minute that compiling their initialisation takes."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=(32, 32)))
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(dtype), shapes)


def renamed(weights: Weights, names: dict[str, str]) -> Weights:
    return {
        name.replace(ours, theirs, 1): value
        for name, value in weights.items()
        for ours, theirs in names.items()
        if name.startswith(ours)
    }


def same(a: Any, b: Any) -> bool:
    x, y = flatten_dict(a), flatten_dict(b)
    return x.keys() == y.keys() and all(
        np.array_equal(x[k], y[k]) and x[k].dtype == y[k].dtype for k in x
    )


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as error:
        from_torch(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def initial() -> dict[str, Any]:
    return draw(MODEL, 1)


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    return draw(MODEL, 2)


@pytest.fixture(scope="module")
def weights(variables: dict[str, Any]) -> Weights:
    return to_torch(variables)


@pytest.fixture(scope="module")
def agw(weights: Weights) -> Weights:
    """As AGW saves them: each part a whole ResNet, the pieces it does not use spoilt here."""
    resnet = renamed(weights, TORCHVISION_NAMES)
    whole = {
        f"{part}.{name}": np.full_like(value, -1 if value.dtype.kind == "i" else np.nan)
        for part in ("visible_module.visible", "thermal_module.thermal", "base_resnet.base")
        for name, value in resnet.items()
    }
    return whole | renamed(weights, AGW_NAMES)


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
    assert message.endswith("pretrained_fresh=\"('classifier', 'neck/scale', 'stray')\"")


def test_a_report_stays_short(weights: Weights) -> None:
    wrong = {name: value for name, value in weights.items() if not name.startswith("gray_module")}
    message = refusal(wrong | {f"stray{i:02}.weight": np.zeros(1) for i in range(30)}, MODEL)
    assert "15 missing: gray_module.resnet_part1.0.weight, " in message
    assert "30 unexpected: stray00.weight, " in message
    assert "stray19.weight, ..." in message
    assert "stray20" not in message
    assert "pretrained_fresh" not in message


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
    assert message.endswith("pretrained_fresh=\"('stem_intermediate',)\"")
    result = from_torch(agw, AGW_MODEL, initial=initial, fresh=("stem_intermediate",))
    for collection in ("params", "batch_stats"):
        theirs = initial[collection]["stem_intermediate"]
        assert same(result[collection]["stem_intermediate"], theirs)
    np.testing.assert_array_equal(
        result["params"]["classifier"]["kernel"], agw["classifier.weight"].T
    )


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
    assert f"EmbedNet(3, {other}): they are of {backbone}; " in message
    assert "pretrained_fresh" not in message


def test_a_deeper_resnet_is_told(weights: Weights) -> None:
    deeper = renamed(weights, TORCHVISION_NAMES)
    for i in range(1, 23):
        deeper[f"layer3.{i}.conv1.weight"] = np.zeros((1, 1, 3, 3), np.float32)
    assert ": layer2 to layer4 have (1, 23, 1) blocks; " in refusal(deeper, MODEL)


def test_weights_of_other_networks_are_told(weights: Weights) -> None:
    foreign = {"encoder.embed.weight": np.zeros(3), "decoder.bias": np.zeros(3)}
    message = refusal(foreign, MODEL)
    assert "the first are encoder.embed.weight, decoder.bias" in message
    for known in ("visible_module.resnet_part1.0.weight", "visible_module.visible.conv1.weight"):
        assert known in message
    assert "0 weights" in refusal({}, MODEL)


def test_a_classifier_of_other_people_is_refused_unless_named(
    weights: Weights, initial: dict[str, Any]
) -> None:
    others = weights | {"classifier.weight": np.zeros((7, 256), np.float32)}
    message = refusal(others, MODEL)
    assert "missing" not in message
    assert message.endswith("name them: --config.pretrained_fresh=\"('classifier',)\"")
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


def test_stems_that_nobody_asked_for_are_left_out(weights: Weights) -> None:
    whole, two = from_torch(weights, MODEL), from_torch(weights, MODEL, TWO)
    assert two["params"].keys() == whole["params"].keys() - {"stem_intermediate"}
    assert same(two["params"]["stem_infrared"], whole["params"]["stem_infrared"])
    message = refusal(weights | {"gray_module.more.weight": np.zeros(3)}, MODEL, TWO)
    assert "1 unexpected: gray_module.more.weight" in message


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
    assert "names nothing by 'clasifier', 'trunk/layer' (did you mean classifier?)" in message
    assert "the network has classifier, neck, stem_infrared, stem_intermediate," in message
    assert "the weights have NL_2, NL_3, base_resnet, bottleneck, classifier, gray_mod" in message


def test_classes_and_modalities_are_read_off_the_names(weights: Weights, agw: Weights) -> None:
    torchvision = renamed(weights, TORCHVISION_NAMES)
    assert (classes_of(weights), classes_of(agw), classes_of(torchvision)) == (5, 5, None)
    assert modalities_of(weights) == modalities_of(torchvision) == tuple(Modality)
    assert modalities_of(agw) == TWO
    two = {name: value for name, value in weights.items() if not name.startswith("gray_module")}
    assert modalities_of(two) == TWO
    with pytest.raises(InputError, match="no network known here"):
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
    with pytest.raises(InputError, match="each of this network's has its own"):
        to_torch(variables, names="agw")


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_a_network_of_one_stem_is_not_agw_s(modality: str) -> None:
    """AGW's own code would miss the other stem's tensors."""
    alone = {
        collection: {k: v for k, v in tree.items() if k in (f"stem_{modality}", "trunk", "neck")}
        for collection, tree in draw(SHARED, 4).items()
    }
    message = rf"and this one has stem_{modality}: .*to_torch\(variables, names=\"lupi\"\)"
    for names in ("agw", None):
        with pytest.raises(InputError, match=message):
            to_torch(alone, names)
    part = {"visible": "visible_module", "infrared": "thermal_module"}[modality]
    written = to_torch(alone, "lupi")
    assert {name.partition(".")[0] for name in written} >= {part, "base_resnet", "bottleneck"}
    assert f"{part}.resnet_part1.3.0.conv1.weight" in written


def test_weights_with_a_layer1_for_each_modality_need_a_network_that_has(weights: Weights) -> None:
    shared = EmbedNet(5, backbone="thin", shared_from="layer1")
    assert "set --config.model.shared_from=layer2" in refusal(weights, shared)


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
