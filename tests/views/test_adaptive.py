"""The learnt mix: its bounds, its blend with the random mix, and its schedule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lupi_jax.config import parse_config
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.settings import ViewSettings
from lupi_jax.views import Adaptive, Generator, check_views, make_views, share_at
from lupi_jax.views.adaptive import OFFSET, make_adaptive, mean_weights, mix_weights
from lupi_jax.views.channels import random_channel

ADAPTIVE = ViewSettings(intermediate="adaptive", pad=0, flip=0.0, erase=0.0)


def draw(scale: float, context: bool = True) -> Any:
    """Parameters of a generator, `scale` times a standard normal."""
    params = Generator(context).init(jax.random.key(0), jnp.zeros((4, 4, 3)))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: scale * rng.standard_normal(x.shape).astype(np.float32), params)


def images(n: int = 2) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (n, 8, 6, 3), np.uint8)


def constant(weights: list[float], offset: float) -> Any:
    """Parameters that give every pixel these weights."""
    params = jax.tree.map(jnp.zeros_like, draw(1.0))
    params["mix"]["bias"] = jnp.array([*np.log(weights), np.arctanh(offset / OFFSET)], jnp.float32)
    return params


def test_weights_by_hand() -> None:
    params = constant([0.5, 0.3, 0.2], -0.1)
    found = make_adaptive(jax.random.key(0), jnp.asarray(images()[0]), ADAPTIVE, Adaptive(params))
    expected = images()[0] @ [0.5, 0.3, 0.2] - 0.1 * 255
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 3, -1), rtol=1e-5, atol=1e-3)
    means = mean_weights(jnp.asarray(images()), ADAPTIVE, params)
    assert {name: round(float(mean), 5) for name, mean in means.items()} == {
        "red": 0.5,
        "green": 0.3,
        "blue": 0.2,
        "offset": -0.1,
    }


@given(scale=st.floats(0, 100), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_no_parameters_make_an_image_of_contrast_blank(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = jnp.asarray(rng.integers(0, 256, (6, 4, 3), np.uint8))
    image = image.at[0].set(0).at[1].set(255)
    weights = np.asarray(mix_weights(image, ADAPTIVE, draw(scale)))
    np.testing.assert_allclose(weights[..., :3].sum(-1), 1, atol=1e-5)
    assert weights[..., :3].min() >= 0
    assert np.abs(weights[..., 3]).max() <= OFFSET
    grey = np.asarray(make_adaptive(jax.random.key(0), image, ADAPTIVE, Adaptive(draw(scale))))
    assert grey[1].min() - grey[0].max() >= 255 * (1 - 2 * OFFSET) - 1e-2


def test_context_makes_the_weights_depend_on_the_rest_of_the_image() -> None:
    image = images()[0]
    other = image.copy()
    other[4:] = 255 - other[4:]
    for context in (True, False):
        kind = ViewSettings(intermediate="adaptive", adaptive_context=context)
        one, two = (mix_weights(jnp.asarray(x), kind, draw(1.0, context)) for x in (image, other))
        assert np.allclose(one[:4], two[:4]) != context


def test_the_mix_starts_near_the_mean_of_the_channels() -> None:
    params = Generator().init(jax.random.key(3), jnp.zeros((4, 4, 3)))["params"]
    found = make_adaptive(jax.random.key(0), jnp.asarray(images()[0]), ADAPTIVE, Adaptive(params))
    np.testing.assert_allclose(found[..., 0], images()[0].mean(-1), atol=5)


def test_the_rest_of_a_blend_is_the_random_mix_of_the_same_key() -> None:
    key, image = jax.random.key(5), jnp.asarray(images(1))
    params = constant([1.0, 1e-9, 1e-9], 0.0)
    random = random_channel(key, image)[0]
    found = make_adaptive(jax.random.fold_in(key, 0), image[0], ADAPTIVE, Adaptive(params, 0.25))
    np.testing.assert_allclose(found, 0.25 * image[0, ..., :1] + 0.75 * random, rtol=1e-5)


@pytest.mark.parametrize(
    ("step", "ramp", "share"),
    [(0, 0, 0.8), (0, 10, 0.0), (5, 10, 0.4), (10, 10, 0.8), (99, 10, 0.8)],
)
def test_the_share_grows_over_the_ramp(step: int, ramp: int, share: float) -> None:
    kind = ViewSettings(intermediate="adaptive", adaptive_share=0.8, adaptive_ramp=ramp)
    assert share_at(jnp.int32(step), kind) == pytest.approx(share)


def test_views_depend_on_the_row_and_not_on_its_batch() -> None:
    kind = ViewSettings(intermediate="adaptive", pad=2)
    adaptive = Adaptive(draw(1.0), 0.5)
    key, batch = jax.random.key(7), images(4)
    whole = make_views(key, batch, None, kind, ["intermediate"], adaptive=adaptive)
    half = make_views(key, batch[2:], None, kind, ["intermediate"], 2, adaptive)
    np.testing.assert_array_equal(whole["intermediate"][2:], half["intermediate"])
    with pytest.raises(ValueError, match="need the parameters of their generator"):
        make_views(key, batch, None, kind, ["intermediate"])


def test_a_view_of_one_s_own_is_tried_on_learnt_images_too() -> None:
    kind = ViewSettings(intermediate="adaptive", extra=f"{__name__}:negative")
    check_views(kind, tuple(Modality), (16, 8))
    wrong = ViewSettings(intermediate="adaptive", extra=f"{__name__}:only_learnt_is_wrong")
    with pytest.raises(InputError, match="must return a floating array"):
        check_views(wrong, tuple(Modality), (16, 8))


def negative(key: jax.Array, image: jax.Array, modality: Modality) -> jax.Array:
    return 255 - image


def only_learnt_is_wrong(key: jax.Array, image: jax.Array, modality: Modality) -> jax.Array:
    return image[:1] if modality is Modality.INTERMEDIATE else image


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modalities": "('visible', 'infrared')"}, "needs visible and intermediate in modalities"),
        ({"views.quantize_intermediate": "true"}, "views.quantize_intermediate must be false for"),
        ({"views.intermediate": "luma", "loss.modality": "mmd"}, "loss.modality needs views.inter"),
    ],
)
def test_fields_that_contradict(fields: dict[str, str], message: str) -> None:
    given = {"data.root": "x", "steps": "1", "views.intermediate": "adaptive"}
    with pytest.raises(InputError, match=message):
        parse_config({}, {**given, **fields})
    released = parse_config({}, {**given, "recipe": "released"})
    assert not released.views.quantize_intermediate
