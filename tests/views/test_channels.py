"""The exchange of channels: CAJ's choices, how often each is made, and where it acts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from lupi_jax.modality import Modality
from lupi_jax.views import ViewSettings, exchange_channels, make_intermediate, make_views, normalise

V, T, Z = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE
KEY = jax.random.key(11)
STILL = {"pad": 0, "flip": 0.0, "erase": 0.0}
# The classes of CAJ's public code, by red, green, blue, grey and unchanged.
PUBLIC = {
    "ChannelExchange(gray=2)": ((1, 1, 1, 0, 0), (1 / 3, 1 / 3, 1 / 3, 0, 0)),
    "ChannelExchange(gray=3)": ((1, 1, 1, 1, 0), (1 / 4, 1 / 4, 1 / 4, 1 / 4, 0)),
    "ChannelAdap": ((1, 1, 1, 0, 1), (1 / 4, 1 / 4, 1 / 4, 0, 1 / 4)),
    "ChannelAdapGray(0.5)": ((2, 2, 2, 1, 1), (1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8)),
}
PIXEL = np.float32([100, 200, 50])
OUTCOMES = np.float32([[100] * 3, [200] * 3, [50] * 3, [153] * 3, PIXEL])  # 153 is its luma

views = jax.jit(make_views, static_argnames=("settings", "modalities"))


def one_hot(place: int) -> tuple[float, ...]:
    return tuple(np.eye(5)[place].tolist())


def counts(pixels: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """How many of `pixels` [n, 3] are each of `outcomes` [5, 3]; each must be one."""
    same = np.abs(pixels[:, None] - outcomes).max(-1) < 1e-3
    assert (same.sum(1) == 1).all()
    return same.sum(0)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, jnp.bfloat16])
def test_each_choice_by_hand(place, dtype):
    image = jnp.asarray(np.tile(PIXEL, (2, 3, 1)), dtype)
    found = exchange_channels(KEY, image, one_hot(place))
    assert found.dtype == (jnp.float32 if dtype is np.uint8 else dtype)
    np.testing.assert_allclose(found.astype(np.float32), np.tile(OUTCOMES[place], (2, 3, 1)))


@pytest.mark.parametrize("name", PUBLIC)
def test_choices_are_as_frequent_as_in_the_public_code(name):
    frequencies, expected = PUBLIC[name]
    keys = jax.random.split(KEY, 8000)
    image = PIXEL.reshape(1, 1, 3)
    made = jax.vmap(lambda key: exchange_channels(key, image, frequencies))(keys)
    found = counts(np.asarray(made).reshape(-1, 3), OUTCOMES)
    expected = np.multiply(expected, 8000)
    assert (found[expected == 0] == 0).all()
    assert chisquare(found[expected > 0], expected[expected > 0]).pvalue > 0.01


def test_an_image_is_exchanged_as_a_whole():
    image = np.random.default_rng(0).integers(0, 256, (8, 4, 3), np.uint8)
    for key in jax.random.split(KEY, 20):
        made = np.asarray(exchange_channels(key, image, (1, 1, 1, 0, 0)))
        assert any(np.array_equal(made, image[..., [c] * 3]) for c in range(3))


@pytest.mark.parametrize(("modality", "field"), [(V, "exchange_visible"), (T, "exchange_infrared")])
def test_views_are_exchanged_after_normalisation_as_in_the_public_code(modality, field):
    rows = 4000
    images = np.full((rows, 1, 1, 3), 80, np.uint8)  # grey, as infrared is
    settings = ViewSettings(**STILL, **{field: (2, 2, 2, 1, 1)})
    view = np.asarray(views(KEY, images, images, settings)[modality]).reshape(-1, 3)
    # (80 / 255 - mean) / std for red, green and blue
    red, green, blue = -0.747880, -0.635154, -0.410022
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    outcomes = np.float32([[red] * 3, [green] * 3, [blue] * 3, [grey] * 3, [red, green, blue]])
    found = counts(view, outcomes)
    assert chisquare(found, rows / 8 * np.array([2, 2, 2, 1, 1])).pvalue > 0.01


@pytest.mark.parametrize("field", ["exchange_visible", "exchange_infrared"])
def test_an_exchange_leaves_the_other_modalities_alone(field):
    rng = np.random.default_rng(1)
    visible, infrared = (rng.integers(0, 256, (8, 12, 6, 3), np.uint8) for _ in range(2))
    plain = views(KEY, visible, infrared, ViewSettings())
    found = views(KEY, visible, infrared, ViewSettings(**{field: (1, 1, 1, 1, 0)}))
    changed = V if field == "exchange_visible" else T
    for modality in (V, T, Z):
        same = np.array_equal(found[modality], plain[modality])
        assert same == (modality is not changed)


def test_erased_pixels_are_exchanged_in_views_but_not_in_intermediate_images():
    white = np.full((64, 16, 8, 3), 255, np.uint8)
    red = one_hot(0)
    settings = ViewSettings(
        pad=0, flip=0.0, erase=1.0, erase_fill="released", exchange_visible=red,
        exchange_infrared=red, intermediate="channel_exchange",
    )  # fmt: skip
    found = views(KEY, white, white, settings)
    fill = {V: [0.4914] * 3, T: [0.4914] * 3, Z: [0.4914, 0.4822, 0.4465]}
    for modality, expected in fill.items():
        view = np.asarray(found[modality])
        erased = view[view[..., 0] < 1]  # white is above 2
        assert len(erased) > 64
        np.testing.assert_allclose(erased, np.broadcast_to(expected, erased.shape), rtol=1e-6)


def test_intermediate_images_are_exchanged_before_normalisation():
    rows = 3000
    images = np.tile(PIXEL.astype(np.uint8), (rows, 2, 2, 1))
    settings = ViewSettings(**STILL, intermediate="channel_exchange")
    view = np.asarray(views(KEY, images, None, settings, (Z,))[Z])
    assert (view == view[:, :1, :1]).all()
    found = counts(view[:, 0, 0], np.asarray(normalise(OUTCOMES)))
    assert found[3:].tolist() == [0, 0]
    assert chisquare(found[:3]).pvalue > 0.01

    made = np.asarray(make_intermediate(KEY, images, settings))
    found = counts(made[:, 0, 0], OUTCOMES)
    assert found[3:].tolist() == [0, 0]
    assert chisquare(found[:3]).pvalue > 0.01


def test_intermediate_images_can_be_grey_and_cut_to_whole_levels():
    image = np.uint8([101, 200, 50]).reshape(1, 1, 1, 3)  # luma 153.299
    settings = ViewSettings(
        intermediate="channel_exchange",
        exchange_intermediate=one_hot(3),
        quantize_intermediate=True,
    )
    np.testing.assert_array_equal(make_intermediate(KEY, image, settings).ravel(), [153] * 3)


@pytest.mark.parametrize("five", [(0, 0, 0, 0, 0), (1, 1, 1, -1, 0), (1, 1, 1), "all"])
def test_bad_frequencies_are_named(five):
    with pytest.raises(ValueError, match=r"^ViewSettings: exchange_infrared = "):
        ViewSettings(exchange_infrared=five)
