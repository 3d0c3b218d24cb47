"""Weights of timm's ViTs, and of runs with a ViT."""

from typing import Any

import numpy as np
import pytest
from timm_weights import seeded
from torch_weights import MODEL, TORCHVISION_NAMES, Weights, draw, refusal, renamed, same

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import (
    BACKBONES,
    EmbedNet,
    classes_of,
    from_torch,
    modalities_of,
    remarks_on,
    to_torch,
)
from lupi_jax.models.conversion import to_named
from lupi_jax.models.vit import VITS, ViT

NET = EmbedNet(5, "narrow_vit")


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ViT of two narrow blocks, under a name of its own."""
    for names in (BACKBONES, VITS):
        monkeypatch.setitem(names, "narrow_vit", ViT(12, 2, 3))


@pytest.fixture(scope="module")
def timm() -> Weights:
    """As timm saves a classifier of ImageNet."""
    head = {"head.weight": np.zeros((1000, 12), np.float32), "head.bias": np.zeros(1000)}
    return seeded(12, 2) | head


def test_timm_s_patch_embedding_serves_every_modality(timm: Weights) -> None:
    initial = draw(NET, 1)
    result = from_torch({f"module.{n}": x for n, x in timm.items()}, NET, initial=initial)
    params = result["params"]
    for modality in Modality:
        stem = params[f"stem_{modality}"]
        expected = timm["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(stem["kernel"], expected)
        np.testing.assert_array_equal(stem["bias"], timm["patch_embed.proj.bias"])
    trunk = params["trunk"]
    np.testing.assert_array_equal(trunk["pos_embed"], timm["pos_embed"])
    np.testing.assert_array_equal(trunk["norm"]["scale"], timm["norm.weight"])
    np.testing.assert_array_equal(
        trunk["block1"]["qkv"]["kernel"], timm["blocks.1.attn.qkv.weight"].T
    )
    for name in ("neck", "classifier"):
        assert same(params[name], initial["params"][name])
    assert (classes_of(timm), modalities_of(timm)) == (None, tuple(Modality))
    assert remarks_on(timm, NET) == []
    fresh = from_torch(timm, NET, initial=initial, fresh=("pos_embed", "trunk/block1"))["params"]
    for name in ("pos_embed", "block1"):
        np.testing.assert_equal(fresh["trunk"][name], initial["params"]["trunk"][name])
    assert same(fresh["trunk"]["block0"], trunk["block0"])


def test_every_mismatch_is_told(timm: Weights) -> None:
    wrong = dict(timm) | {"blocks.0.ls1.gamma": np.zeros(12)}
    del wrong["norm.bias"]
    wrong["pos_embed"] = np.zeros((1, 577, 12), np.float32)  # of images of 384 x 384
    message = refusal(wrong, NET)
    assert "these weights of timm's ViT do not fit EmbedNet(5, narrow_vit): 1 missing" in message
    assert "1 missing: norm.bias; 1 unexpected: blocks.0.ls1.gamma; " in message
    assert "1 misshaped: pos_embed is (1, 577, 12), not (1, 197, 12);" in message


def test_the_backbone_to_set_is_told(timm: Weights, weights: Weights) -> None:
    resnet = EmbedNet(5, "thin", stem_relu=True)
    assert ": they are of narrow_vit: set --config.model.backbone=narrow_vit; " in refusal(
        timm, resnet
    )
    run = to_named(draw(NET, 2))
    assert "they are of narrow_vit: set --config.model.backbone=narrow_vit; " in refusal(
        run, resnet
    )
    small = seeded()
    assert "set --config.model.backbone=vit_small; " in refusal(small, EmbedNet(5, "resnet50"))
    assert "set --config.model.backbone=vit_small; " in refusal(small, NET)
    large = {name: np.zeros((1, 1, 768)) if name == "cls_token" else x for name, x in small.items()}
    assert "they are of a ViT with 12 blocks of 768 channels; " in refusal(large, NET)
    for theirs in (weights, renamed(weights, TORCHVISION_NAMES), to_named(draw(MODEL, 3))):
        message = refusal(theirs, NET)
        assert "they are of thin: set --config.model.backbone=thin; " in message
        assert "pretrained_fresh" not in message


def test_agw_s_weights_do_not_ask_a_vit_for_a_relu(agw: Weights) -> None:
    message = refusal(agw, NET)
    assert "they are of thin: set --config.model.backbone=thin; " in message
    assert "stem_relu" not in message


def test_a_run_s_vit_is_what_its_names_say() -> None:
    variables = draw(NET, 4)
    named = to_named(variables)
    assert named["stem_infrared.kernel"].shape == (12, 3, 16, 16)
    assert named["trunk.cls_token"].shape == (1, 1, 12)
    assert same(from_torch(named, NET), variables)
    two = {n: x for n, x in named.items() if not n.startswith("stem_intermediate")}
    assert modalities_of(two) == (Modality.VISIBLE, Modality.INFRARED)


@pytest.mark.parametrize("names", ["lupi", "agw", None])
def test_no_pytorch_names_express_a_vit(names: Any) -> None:
    with pytest.raises(InputError, match="to_torch") as caught:
        to_torch(draw(NET, 5), names)
    assert "\n" not in str(caught.value)
    if names != "agw":
        assert str(caught.value).startswith("LUPI's names cannot express stem_")
