import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import lupi_jax as lupi
from lupi_jax import (
    InputError,
    Modality,
    ViewSettings,
    extract_features,
    normalise,
    random_channel,
)
from lupi_jax.config import Config, SourceConfig
from lupi_jax.data import Index, read_image
from lupi_jax.evaluation import embed_images, embed_index, embedding
from lupi_jax.evaluation.embedding import with_intermediate
from lupi_jax.modality import stem_for

SIZE = (32, 32)
CONFIG = Config(data=SourceConfig(image_size=SIZE))
MODEL = lupi.EmbedNet(4, backbone="thin", non_local=False)


@pytest.fixture(scope="module")
def variables(draw_variables):
    return draw_variables(MODEL, SIZE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (7, *SIZE, 3), np.uint8)


def by_hand(variables, images: np.ndarray, modality: Modality) -> tuple[np.ndarray, np.ndarray]:
    embedding = MODEL.apply(variables, lupi.normalise(images), modality)
    assert isinstance(embedding, lupi.Embedding)
    pooled, neck = np.asarray(embedding.pooled), np.asarray(embedding.neck)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pooled, neck))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
def test_no_image_is_dropped_whatever_the_batch_size(variables, images, batch_size):
    pooled, neck = embed_images(MODEL, variables, images, Modality.INFRARED, batch_size)
    expected = by_hand(variables, images, Modality.INFRARED)
    assert pooled.shape == neck.shape == (7, MODEL.features)
    assert pooled.dtype == neck.dtype == np.float32
    np.testing.assert_allclose(pooled, expected[0], atol=2e-6)
    np.testing.assert_allclose(neck, expected[1], atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(neck, axis=1), 1, atol=1e-6)
    assert np.abs(pooled - neck).max() > 1e-3


def test_an_iterator_of_normalised_images_gives_the_same(variables, images):
    ready = (np.asarray(lupi.normalise(image[None]))[0] for image in images)
    given = embed_images(MODEL, variables, ready, Modality.VISIBLE, 3)
    expected = embed_images(MODEL, variables, images, Modality.VISIBLE, 3)
    np.testing.assert_allclose(given[1], expected[1], atol=2e-6)


def test_no_image_at_all_is_an_error(variables):
    with pytest.raises(ValueError, match="no images to embed"):
        embed_images(MODEL, variables, [], Modality.VISIBLE)


def test_extract_features_of_images_in_memory(variables, images):
    pooled, neck = by_hand(variables, images, Modality.VISIBLE)
    features = lupi.extract_features(MODEL, variables, images, Modality.VISIBLE)
    np.testing.assert_allclose(features, neck, atol=2e-6)
    features = lupi.extract_features(MODEL, variables, images, Modality.VISIBLE, feature="pooled")
    np.testing.assert_allclose(features, pooled, atol=2e-6)


@pytest.mark.parametrize("shape", [(32, 32, 3), (2, 32, 32), (2, 32, 32, 1), (0, 32, 32, 3)])
def test_extract_features_refuses_what_is_no_batch_of_images(variables, shape):
    with pytest.raises(ValueError, match=r"images must be \[n, h, w, 3\] with n > 0, not \("):
        lupi.extract_features(MODEL, variables, np.zeros(shape, np.uint8), Modality.VISIBLE)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((32, 32, 3), r"give one image as image\[None\]"),
        ((2, 32, 32), r"np\.stack\(\[images\] \* 3, axis=-1\).*lupi_jax\.extractor takes.*grey"),
        ((2, 32, 32, 1), r"np\.repeat\(images, 3, axis=-1\)"),
        ((2, 32, 32, 4), r"images\[\.\.\., :3\]"),
        ((2, 3, 32, 32), r"images\.transpose\(0, 2, 3, 1\)"),
        ((0, 32, 32, 3), "at least one image"),
    ],
)
def test_a_refused_shape_comes_with_its_remedy(variables, shape, remedy):
    with pytest.raises(ValueError, match=remedy):
        lupi.extract_features(MODEL, variables, np.zeros(shape, np.uint8), Modality.INFRARED)


def test_a_network_that_knows_its_size_refuses_others(variables, images):
    for size in ((24, 64), (32, 48), (48, 32)):
        knowing = MODEL.clone(image_size=size)
        message = f"images of 32 x 32 pixels: .* trained at {size[0]} x {size[1]}; resize"
        with pytest.raises(ValueError, match=message):
            extract_features(knowing, variables, images, Modality.VISIBLE)
        with pytest.raises(ValueError, match=message):
            embed_images(knowing, variables, iter(images), Modality.VISIBLE)
    knowing = MODEL.clone(image_size=SIZE)
    found = extract_features(knowing, variables, images, Modality.VISIBLE)
    expected = extract_features(MODEL, variables, images, Modality.VISIBLE)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda x: x.astype(np.int64), "images of int64: give uint8 from 0 to 255, or"),
        (lambda x: x.astype(np.uint16), "images of uint16: give uint8"),
        (lambda x: x > 127, "images of bool: give uint8"),
        (
            lambda x: x.astype(np.float32),
            r"as large as 25\d are .*normalise\(images",
        ),
        (lambda x: x / 255, r"from 0 to 1 are not normalised: .*normalise\(255 \* images\)"),
        (lambda x: x / 127.5 - 1, r"from -1 to 1 are not .*normalise\(127\.5 \* \(images \+ 1\)\)"),
        (lambda x: x / 128.0 - 1, "from -1 to 1 are not normalised: give uint8 from 0 to 255"),
        (lambda x: x.astype(object), "images of object: give uint8"),
        (lambda x: x + 0j, "images of complex128: give uint8"),
        (lambda x: np.where(x > 254, np.nan, normalise(x)), "NaN or infinite"),
        (lambda x: np.where(x > 254, -np.inf, normalise(x)), "NaN or infinite"),
    ],
)
def test_extract_features_refuses_pixels_that_are_not_what_it_takes(
    variables, images, change, remedy
):
    with pytest.raises(ValueError, match=remedy):
        extract_features(MODEL, variables, change(images), Modality.VISIBLE)


def test_every_normalised_image_is_taken(variables, images):
    """White and black are the largest and smallest there are; float16 is floating too."""
    pixels = np.concatenate([images, np.zeros_like(images[:1]), np.full_like(images[:1], 255)])
    expected = extract_features(MODEL, variables, pixels, Modality.VISIBLE)
    for ready in (normalise(pixels), np.asarray(normalise(pixels), np.float16)):
        found = extract_features(MODEL, variables, ready, Modality.VISIBLE)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_extract_features_refuses_unknown_names(variables, images):
    with pytest.raises(ValueError, match="feature must be neck or pooled, not 'logits'"):
        lupi.extract_features(MODEL, variables, images, Modality.VISIBLE, feature="logits")
    with pytest.raises(ValueError, match="thermal"):
        lupi.extract_features(MODEL, variables, images, "thermal")  # type: ignore[arg-type]


@pytest.fixture
def index(tmp_path, images) -> Index:
    """Seven files whose modalities alternate without a rhythm."""
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    modalities = ["infrared", "visible", "visible", "infrared", "visible", "infrared", "infrared"]
    return Index(
        tmp_path,
        np.array([f"{i}.png" for i in range(7)]),
        np.arange(10, 17, dtype=np.int32),
        np.arange(1, 8, dtype=np.int32),
        np.array(modalities),
    )


def test_an_index_of_mixed_modalities_keeps_its_order(variables, images, index):
    features = embed_index(CONFIG, MODEL, variables, index, batch_size=3)
    assert features.index is index
    for row, modality in enumerate(index.modalities):
        own = by_hand(variables, images[row : row + 1], Modality(modality))
        np.testing.assert_allclose(features.pooled[row], own[0][0], atol=2e-6)
        np.testing.assert_allclose(features.neck[row], own[1][0], atol=2e-6)
    part = features[index.modalities == "visible"]
    assert list(part.index.identities) == [11, 12, 14]
    np.testing.assert_array_equal(part.neck, features.neck[[1, 2, 4]])


def test_embedding_an_index_is_shown_image_by_image(variables, index):
    told = []

    def show(what: str):
        return lambda *counts: told.append((what, *counts))

    embed_index(CONFIG, MODEL, variables, index, batch_size=3, show=show)
    assert told == [("images", done, 7) for done in range(1, 8)]  # of both modalities


def test_an_unreadable_image_of_an_index_is_named(variables, index, tmp_path):
    (tmp_path / "5.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"5\.png: unreadable image"):
        embed_index(CONFIG, MODEL, variables, index)


def test_all_unreadable_images_of_an_index_are_named_at_once(variables, index, tmp_path):
    """One of the first batch, one of another modality, and one that is also made intermediate."""
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "6.png").unlink()
    (tmp_path / "4.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        embed_index(CONFIG, MODEL, variables, with_intermediate(index), batch_size=2)
    assert str(caught.value) == (
        f"{tmp_path}: 3 of 7 images cannot be read: 0.png, 4.png (unreadable image; replace or "
        "remove it), 6.png (no such file; replace or remove it)"
    )


def test_many_unreadable_images_are_counted(variables, index, tmp_path):
    rows = np.arange(12) % 7
    many = dataclasses.replace(index[rows], paths=np.array([f"gone{n}.png" for n in range(12)]))
    with pytest.raises(
        InputError, match=r"12 of 12 images cannot be read: gone0.*gone9\.png, \.\.\."
    ):
        embed_index(CONFIG, MODEL, variables, many)


def without(variables, *modalities):
    params = {k: v for k, v in variables["params"].items() if k not in modalities}
    return {**variables, "params": params}


def test_each_modality_has_a_stem_or_a_stand_in():
    v, t, z = Modality
    assert [stem_for(m, (v, t, z)) for m in Modality] == [v, t, z]
    assert [stem_for(m, (v, t)) for m in Modality] == [v, t, v]
    assert [stem_for(m, (t,)) for m in Modality] == [t, t, t]  # as in Table 3
    assert [stem_for(m, (t, z)) for m in Modality] == [z, t, z]
    assert stem_for(t, (v, z)) is None


def test_a_modality_without_stem_is_refused(variables, index):
    with pytest.raises(InputError, match="trained on visible and intermediate images and cannot"):
        embed_index(CONFIG, MODEL, without(variables, "stem_infrared"), index)


def test_intermediate_images_are_made_of_visible_ones(variables, index):
    """By hand: the luma or the drawn mix of each visible file through the intermediate stem."""
    visible = np.flatnonzero(index.modalities == "visible")
    both = with_intermediate(index)
    made = np.flatnonzero(both.modalities == "intermediate")
    assert len(both) == len(index) + len(visible)
    assert both.paths[made].tolist() == index.paths[visible].tolist()
    assert both.identities[made].tolist() == index.identities[visible].tolist()
    images = np.stack([read_image(index.root / p, SIZE) for p in index.paths[visible]])
    grey = images.astype(np.float64) @ (0.299, 0.587, 0.114)
    luma = dataclasses.replace(CONFIG, views=ViewSettings(intermediate="luma"))
    features = embed_index(luma, MODEL, variables, both, batch_size=2)
    expected = extract_features(
        MODEL, variables, normalise(np.repeat(grey[..., None], 3, -1)), Modality.INTERMEDIATE
    )
    np.testing.assert_allclose(features.neck[made], expected, atol=1e-5)
    drawn = random_channel(jax.random.key(3), images)
    seeded = dataclasses.replace(CONFIG, seed=3)
    features = embed_index(seeded, MODEL, variables, both, batch_size=2)
    expected = extract_features(MODEL, variables, normalise(drawn), Modality.INTERMEDIATE)
    np.testing.assert_allclose(features.neck[made], expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_features_of_a_ruined_network_are_refused(variables, index, value):
    params = jax.tree.map(lambda x: np.full_like(x, value), variables["params"])
    with pytest.raises(InputError, match="zero or not finite"):
        embed_index(CONFIG, MODEL, {**variables, "params": params}, index)


DEVICES = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import numpy as np
from lupi_jax import EmbedNet, extract_features
from lupi_jax.models import initialize
model = EmbedNet(3, backbone="thin")
variables = initialize(model, jax.random.key(0), image_size=(32, 32))
images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
np.save(sys.argv[2], extract_features(model, variables, images, "infrared"))
"""


def test_the_devices_of_a_process_share_the_images(tmp_path):
    for devices in (1, 4):
        command = [sys.executable, "-c", DEVICES, str(devices), str(tmp_path / f"{devices}.npy")]
        subprocess.run(command, check=True)
    one, four = (np.load(tmp_path / f"{devices}.npy") for devices in (1, 4))
    assert four.shape == (7, 256)
    np.testing.assert_allclose(four, one, atol=1e-6)


def test_one_program_embeds_every_modality(variables, images):
    program = embedding._embed
    before = program._cache_size()
    found = [embed_images(MODEL, variables, images, m, 6)[1] for m in Modality]
    assert program._cache_size() - before == 1
    for modality, neck in zip(Modality, found, strict=True):
        np.testing.assert_allclose(neck, by_hand(variables, images, modality)[1], atol=2e-6)


def test_a_modality_without_a_stem_is_refused(variables, images):
    with pytest.raises(ValueError, match="the network has no infrared stem"):
        extract_features(MODEL, without(variables, "stem_infrared"), images, Modality.INFRARED)
