"""The ViT against timm's own numbers, and what it starts from."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from timm_weights import image, seeded

from lupi_jax.modality import Modality
from lupi_jax.models import BACKBONES, EmbedNet, from_torch, initialize
from lupi_jax.models.layers import Numerics
from lupi_jax.models.vit import ViT, resampled

# Every 48th channel of the feature of `image(size)` by timm 1.0.31's vit_small_patch16_224 with the
# weights `seeded()`, dynamic_img_size and dynamic_img_pad, in float64. Its position embedding is
# resampled in float64 too, for which timm itself takes float32 (1e-8 away). 72 and 40 are not
# multiples of 16.
TIMM = {
    (224, 224): [-0.14666153537682, -0.50785426460721, -0.05061007733022, 0.72032964046283,
                 1.38231852271664, -1.26040725575946, 0.04606067408965, 1.67332350341486],
    (288, 144): [0.47974306335869, -1.17599964396114, 0.48208648178038, -0.00649605225804,
                 -0.33193788524496, -0.15432745428656, 0.37782450934724, 0.52894400629162],
    (80, 48): [0.74791383520932, -0.68980165905611, -0.15076659221164, 0.03550615042554,
               0.60323853881674, 0.98656103608904, 0.34478418985733, -0.51029642842459],
    (72, 40): [0.22800955483249, -1.00591725518377, 0.01742361543895, 0.83612441132172,
               0.28335765819206, -0.51013216639909, 0.77123275066478, -0.41347130714886],
}  # fmt: skip
ONE = (Modality.INFRARED,)
SMALL = ViT()


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    """`seeded()` in our layout, with a neck and a classifier of zeros."""
    model = EmbedNet(2, "vit_small")
    zeros = {name: np.zeros(1, np.float32) for name in ("scale", "bias")}
    return from_torch(
        seeded(),
        model,
        ONE,
        {
            "params": {"neck": zeros, "classifier": {"kernel": np.zeros((384, 2), np.float32)}},
            "batch_stats": {"neck": {"mean": zeros["bias"], "var": zeros["bias"]}},
        },
    )


def feature(
    variables: dict[str, Any], images: Any, dtype: Any = None, net: ViT = SMALL
) -> jax.Array:
    """The backbone's output for infrared images, in `dtype`."""
    numerics, params = Numerics(dtype), variables["params"]

    @jax.jit
    def run(params: Any, images: Any) -> Any:
        stem, trunk = net.stem(numerics, "stem"), net.trunk(numerics, "trunk")
        tokens = stem.apply({"params": params["stem_infrared"]}, images, False)
        return trunk.apply({"params": params["trunk"]}, tokens, False)

    return run({name: params[name] for name in ("stem_infrared", "trunk")}, images)


@pytest.mark.parametrize("size", TIMM)
def test_features_are_timm_s(variables: dict[str, Any], size: tuple[int, int]) -> None:
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, variables)
        found = feature(wide, image(size))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found[0, ::48], TIMM[size], rtol=0, atol=1e-12)


def test_features_in_float32_and_bfloat16_are_near(variables: dict[str, Any]) -> None:
    images, expected = np.float32(image((80, 48))), np.array(TIMM[80, 48])
    single = feature(variables, images)
    half = feature(variables, images, jnp.bfloat16)
    assert (single.dtype, half.dtype) == (np.float32, jnp.bfloat16)
    length = np.linalg.norm(expected)
    assert np.linalg.norm(np.asarray(single)[0, ::48] - expected) < 1e-5 * length
    distance = np.linalg.norm(np.float32(half)[0, ::48] - expected)
    assert 1e-4 * length < distance < 3e-2 * length  # it does compute in bfloat16


def test_features_are_those_of_timm_itself(variables: dict[str, Any]) -> None:
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    net = timm.create_model("vit_small_patch16_224", num_classes=0, dynamic_img_size=True)
    net = net.double().eval()
    net.load_state_dict({name: torch.tensor(x) for name, x in seeded().items()})
    images = np.random.default_rng(2).normal(size=(2, 96, 64, 3))
    theirs = net(torch.tensor(images.transpose(0, 3, 1, 2))).detach().numpy()
    with jax.enable_x64(True):
        ours = feature(jax.tree.map(np.float64, variables), images)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_positions_keep_the_class_token_s() -> None:
    """A plane stays a plane away from the borders, at the centres of the new grid's patches."""
    rows, columns = np.mgrid[:14, :14]
    plane = np.stack([rows, columns], -1).reshape(1, 196, 2).astype(np.float32)
    positions = np.concatenate([np.full((1, 1, 2), 99, np.float32), plane], 1)
    np.testing.assert_array_equal(resampled(jnp.asarray(positions), 14, (14, 14)), positions)
    found = np.asarray(resampled(jnp.asarray(positions), 14, (28, 7)))
    assert found.shape == (1, 1 + 28 * 7, 2)
    np.testing.assert_array_equal(found[0, 0], 99)
    places = found[0, 1:].reshape(28, 7, 2)
    np.testing.assert_allclose(places[6:22, 3, 0], (np.arange(6, 22) + 0.5) / 2 - 0.5, atol=1e-4)
    np.testing.assert_allclose(places[10, 2:5, 1], [4.5, 6.5, 8.5], atol=1e-4)


def test_gradients_in_bfloat16_are_near_and_in_float32(draw_variables: Any) -> None:
    net, images = ViT(48, 1, 3), np.float32(image((32, 48)))
    model = EmbedNet(3, "short_vit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "short_vit", net)
        params = draw_variables(model, (32, 48))["params"]
    direction = np.random.default_rng(3).normal(size=48)

    def total(params: Any, dtype: Any) -> Any:
        return feature({"params": params}, images, dtype, net)[0] @ direction

    exact, near = (jax.grad(total)(params, dtype)["trunk"] for dtype in (None, jnp.bfloat16))
    for part in ("qkv", "fc1"):
        a, b = (np.asarray(tree["block0"][part]["kernel"]) for tree in (exact, near))
        assert b.dtype == np.float32
        assert 1e-4 < np.linalg.norm(a - b) / np.linalg.norm(a) < 0.05


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> EmbedNet:
    """A network of one block, which compiles in seconds."""
    monkeypatch.setitem(BACKBONES, "short_vit", ViT(depth=1))
    return EmbedNet(3, "short_vit")


def test_it_has_as_many_parameters_as_timm_s() -> None:
    model = EmbedNet(3, "vit_small")
    params = jax.eval_shape(lambda: initialize(model, jax.random.key(0), ONE, (32, 32)))["params"]
    parts = {name: params[name] for name in ("stem_infrared", "trunk")}
    assert {*params} == {*parts, "neck", "classifier"}
    assert sum(x.size for x in jax.tree.leaves(parts)) == 22_050_664 - 1000 * (384 + 1)  # no head


def test_weights_start_as_timm_s_do(short: EmbedNet) -> None:
    params = initialize(short, jax.random.key(0), image_size=(32, 32))["params"]
    trunk = params["trunk"]
    np.testing.assert_allclose(np.std(trunk["cls_token"]), 1e-6, rtol=0.2)
    np.testing.assert_allclose(np.std(trunk["pos_embed"]), 0.02, rtol=0.02)
    for layer in ("qkv", "proj", "fc1", "fc2"):
        part = trunk["block0"][layer]
        np.testing.assert_allclose(np.std(part["kernel"]), 0.02, rtol=0.02)
        assert not np.any(part["bias"])
    stem = params["stem_visible"]
    for value in (stem["kernel"], stem["bias"]):  # U(-1, 1) / sqrt(3 x 16 x 16)
        assert 0.97 * 768**-0.5 < np.abs(value).max() <= 768**-0.5
    for modality in Modality:
        np.testing.assert_array_equal(params[f"stem_{modality}"]["kernel"], stem["kernel"])


def test_the_feature_is_the_class_token_whatever_a_resnet_would_do(
    short: EmbedNet, draw_variables: Any
) -> None:
    variables, images = draw_variables(short, (32, 48)), np.float32(image((32, 48)))
    other = short.clone(pooling="average", non_local=False, stem_relu=True, shared_from="layer1")
    found, same = (
        np.asarray(jax.jit(partial(model.apply, modality=Modality.VISIBLE))(variables, images)[0])
        for model in (short, other)
    )
    np.testing.assert_array_equal(found, same)
    last = variables["params"]["trunk"]["norm"]
    token = (found - last["bias"]) / last["scale"]
    np.testing.assert_allclose([token.mean(), token.std()], [0, 1], atol=1e-3)
