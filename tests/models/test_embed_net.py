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


def shapes_of(model: EmbedNet) -> dict:
    return jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=(32, 32)))


def test_a_shared_layer1_is_the_trunks() -> None:
    own, shared = (
        shapes_of(EmbedNet(3, "thin", shared_from=name))["params"] for name in ("layer2", "layer1")
    )
    assert set(shared["stem_visible"]) == {"conv1", "bn1"}
    assert own["stem_visible"].keys() - shared["stem_visible"].keys() == {"layer1"}
    assert shared["trunk"].keys() - own["trunk"].keys() == {"layer1"}
    assert jax.tree.map(jnp.shape, shared["trunk"]["layer1"]) == jax.tree.map(
        jnp.shape, own["stem_visible"]["layer1"]
    )
    with pytest.raises(ValueError, match=r"shared_from: expected one of .*, got 'layer3'"):
        EmbedNet(3, "thin", shared_from="layer3")


def test_a_shared_layer1_computes_as_copies_of_it_but_for_its_statistics() -> None:
    model = EmbedNet(3, "thin", stem_relu=True, shared_from="layer1")
    variables = initialize(model, jax.random.key(0), image_size=(32, 32))
    apart = {}
    for name, tree in variables.items():
        layer1 = tree["trunk"]["layer1"]
        apart[name] = {**tree, "trunk": {k: v for k, v in tree["trunk"].items() if k != "layer1"}}
        apart[name].update({f"stem_{m}": {**tree[f"stem_{m}"], "layer1": layer1} for m in Modality})
    rng = np.random.default_rng(0)
    # The modalities differ in brightness, so that their statistics do.
    images = {
        m: jnp.asarray(rng.normal(size=(2, 32, 16, 3)) * (1 + i), jnp.float32)
        for i, m in enumerate(Modality)
    }
    other = EmbedNet(3, "thin", stem_relu=True)
    for name in ("pooled", "neck", "logits"):
        a, b = (getattr(m.apply(v, images), name) for m, v in ((model, variables), (other, apart)))
        np.testing.assert_array_equal(a, b)
    together, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
    separate, _ = other.apply(apart, images, train=True, mutable=["batch_stats"])
    assert np.abs(together.pooled - separate.pooled).max() > 0.01


@pytest.mark.parametrize(
    ("backbone", "blocks"),
    [
        ("resnet18", 0),  # the released code's own never run
        ("resnet18_non_local", 4),
        ("resnet34", 5),
        ("resnet50", 5),
        ("thin", 2),
    ],
)
def test_non_local_blocks_of_each_backbone(backbone: str, blocks: int) -> None:
    trunk = shapes_of(EmbedNet(3, backbone))["params"]["trunk"]
    found = [name for layer in trunk.values() for name in layer if name.startswith("non_local")]
    assert len(found) == blocks
