import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize


def count(tree: object) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def test_parameters_of_resnet50() -> None:
    model = EmbedNet(395)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=(32, 32)))
    params = shapes["params"]
    # torchvision's ResNet-50 without its fc has 23,508,032: one stem (conv1 9408, bn1 128, layer1
    # 215,808) and the trunk.
    stem = 9408 + 128 + 215_808
    assert [count(params[f"stem_{m}"]) for m in Modality] == [stem] * 3
    # A non-local block of c channels: three c + 1, one 2 c, and 2 c of its normalisation.
    blocks = sum(n * (3 * (c + 1) + 2 * c + 2 * c) for n, c in ((2, 512), (3, 1024)))
    assert count(params["trunk"]) == 23_508_032 - stem + blocks
    assert count(params["neck"]) == 2 * 2048
    assert count(params["classifier"]) == 395 * 2048
    plain = EmbedNet(395, non_local=False)
    trunk = jax.eval_shape(lambda: initialize(plain, jax.random.key(0), image_size=(32, 32)))
    assert count(trunk["params"]["trunk"]) == 23_508_032 - stem


@pytest.fixture(scope="module")
def thin() -> tuple[EmbedNet, dict]:
    model = EmbedNet(7, backbone="thin")
    return model, initialize(model, jax.random.key(0), image_size=(32, 32))


def test_rows_are_stacked_visible_infrared_intermediate(thin: tuple[EmbedNet, dict]) -> None:
    model, variables = thin
    rng = np.random.default_rng(0)
    images = {m: jnp.asarray(rng.normal(size=(2, 32, 16, 3)), jnp.float32) for m in Modality}
    # Stems start equal; make them differ.
    for i, m in enumerate(Modality):
        stem = variables["params"][f"stem_{m}"]
        variables["params"][f"stem_{m}"] = jax.tree.map(lambda p, i=i: p * (1 + 0.1 * i), stem)
    shuffled = {m: images[m] for m in reversed(Modality)}
    stacked = model.apply(variables, shuffled)
    assert stacked.pooled.shape == (6, 256)
    assert stacked.logits.shape == (6, 7)
    for i, m in enumerate(Modality):
        alone = model.apply(variables, images[m], m)
        np.testing.assert_allclose(stacked.neck[2 * i : 2 * i + 2], alone.neck, rtol=2e-4)
    assert not np.allclose(stacked.neck[:2], stacked.neck[2:4], rtol=1e-2)


def test_only_the_stem_asked_for_is_needed(thin: tuple[EmbedNet, dict]) -> None:
    model, variables = thin
    images = jnp.ones((1, 32, 16, 3))
    kept = {
        collection: {
            k: v for k, v in tree.items() if "intermediate" not in k and "visible" not in k
        }
        for collection, tree in variables.items()
    }
    full = model.apply(variables, images, Modality.INFRARED)
    np.testing.assert_array_equal(model.apply(kept, images, Modality.INFRARED).neck, full.neck)


def test_stems_start_equal_and_follow_the_modalities_asked_for() -> None:
    model = EmbedNet(3, backbone="thin")
    modalities = (Modality.INFRARED, Modality.VISIBLE)
    params = initialize(model, jax.random.key(0), modalities, (32, 32))["params"]
    assert {k for k in params if k.startswith("stem")} == {"stem_infrared", "stem_visible"}
    for a, b in zip(
        jax.tree.leaves(params["stem_infrared"]),
        jax.tree.leaves(params["stem_visible"]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_an_array_needs_its_modality(thin: tuple[EmbedNet, dict]) -> None:
    model, variables = thin
    images = jnp.ones((1, 32, 16, 3))
    for arguments in ((images,), ({Modality.VISIBLE: images}, Modality.VISIBLE)):
        with pytest.raises(ValueError, match="one array and its modality"):
            model.apply(variables, *arguments)


def test_bfloat16_keeps_parameters_and_features_wide() -> None:
    model = EmbedNet(3, backbone="thin", dtype=jnp.bfloat16)
    variables = initialize(model, jax.random.key(0), image_size=(32, 32))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 32, 16, 3)), jnp.float32)
    narrow = model.apply(variables, images, Modality.VISIBLE)
    wide = EmbedNet(3, backbone="thin").apply(variables, images, Modality.VISIBLE)
    assert narrow.neck.dtype == narrow.logits.dtype == jnp.float32
    error = np.abs(narrow.pooled - wide.pooled).max() / np.abs(wide.pooled).max()
    assert 1e-5 < error < 0.03  # bfloat16 has 8 bits: neither float32 in disguise nor broken
