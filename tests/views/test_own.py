"""Views of a user's own: what they get, where they act, and how their faults are reported."""

import re
import sys

import jax
import numpy as np
import pytest

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.views import (
    ViewSettings,
    check_intermediate,
    check_views,
    luma,
    make_intermediate,
    make_views,
    normalise,
)

V, T, Z = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE
KEY = jax.random.key(13)
views = jax.jit(make_views, static_argnames=("settings", "modalities"))
STILL = {"pad": 0, "flip": 0.0, "erase": 0.0}
CODE = """
import jax, jax.numpy as jnp

def brighter(key, image, modality, **by):  # each modality by its own setting
    return image + by[modality]

def row_and_column(key, image, modality):
    assert image.dtype == jnp.float32
    height, width, _ = image.shape
    return image.at[0, 0].set(jnp.float32([height, width, 0]))

def noise(key, image, modality):
    return image + jax.random.uniform(key)

def red(key, image, scale=1.0):
    return scale * jnp.broadcast_to(image[..., :1], image.shape)

def drawn(key, image):
    return jnp.full_like(image, 255 * jax.random.uniform(key))

def halves(key, image, modality):
    return image[::2]

def whole(key, image, modality):
    return image.astype(jnp.uint8)

def nothing(key, image, modality):
    pass

def decides(key, image, modality):
    return image if image.max() > 9 else image + 1

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "views_of_a_test.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("views_of_a_test", None)


def own(name: str) -> str:
    return f"views_of_a_test:{name}"


def images(rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    visible, infrared = (rng.integers(0, 256, (rows, 8, 4, 3), np.uint8) for _ in range(2))
    return visible, infrared


def test_a_view_knows_its_modality_and_its_settings():
    visible, infrared = images()
    by = {"visible": 10.0, "infrared": 0.5, "intermediate": -300}
    settings = ViewSettings(**STILL, intermediate="luma", extra=own("brighter"), extra_settings=by)
    found = views(KEY, visible, infrared, settings)
    for modality, pixels in ((V, visible), (T, infrared), (Z, luma(visible))):
        expected = normalise(np.asarray(pixels, np.float32) + np.float32(by[modality]))
        np.testing.assert_allclose(found[modality], expected, atol=1e-6)


def test_a_view_comes_after_the_crop_and_before_the_erasing():
    visible, _ = images(64)
    more = {"pad": 3, "erase_fill": "released"}
    settings = ViewSettings(erase=0.0, **more, extra=own("row_and_column"))
    found = views(KEY, visible, None, settings, (V,))[V]
    corner = normalise(np.float32([8, 4, 0]))  # the size of the view, not of the padded image
    np.testing.assert_array_equal(found[:, 0, 0], np.tile(corner, (64, 1)))
    plain = views(KEY, visible, None, ViewSettings(erase=0.0, **more), (V,))[V]
    np.testing.assert_array_equal(found[:, 1:], plain[:, 1:])

    settings = ViewSettings(erase=1.0, **more, extra=own("row_and_column"))
    corners = np.asarray(views(KEY, visible, None, settings, (V,))[V][:, 0, 0])
    erased = np.isclose(corners, [0.4914, 0.4822, 0.4465]).all(-1)
    assert 0 < erased.sum() < 64
    np.testing.assert_array_equal(corners[~erased], np.tile(corner, (64 - erased.sum(), 1)))


def test_each_row_has_its_own_key_whatever_the_batch():
    grey = np.full((8, 4, 4, 3), 80, np.uint8)
    settings = ViewSettings(**STILL, extra=own("noise"))
    whole = views(KEY, grey, grey, settings, (V, T))
    part = views(KEY, grey[5:], grey[5:], settings, (V, T), first_row=5)
    for modality in (V, T):
        np.testing.assert_array_equal(whole[modality][5:], part[modality])
    drawn = np.concatenate([whole[V], whole[T]])[:, 0, 0, 0]
    assert len(np.unique(drawn)) == 16


def test_the_draws_of_a_view_leave_the_others_alone():
    visible, infrared = images()
    plain = views(KEY, visible, infrared, ViewSettings(pad=2))
    by = dict.fromkeys(("visible", "infrared", "intermediate"), 0.0)
    settings = ViewSettings(pad=2, extra=own("brighter"), extra_settings=by)
    found = views(KEY, visible, infrared, settings)
    for modality in (V, T, Z):
        np.testing.assert_array_equal(found[modality], plain[modality])


def test_intermediate_images_of_one_s_own_are_the_same_in_training_and_evaluation():
    visible, _ = images()
    settings = ViewSettings(
        **STILL,
        intermediate=own("red"),
        intermediate_settings={"scale": 0.5},
        quantize_intermediate=True,
    )
    expected = np.floor(visible[..., :1] / 2).repeat(3, -1)
    np.testing.assert_array_equal(make_intermediate(KEY, visible, settings), expected)
    view = views(KEY, visible, None, settings, (Z,))[Z]
    np.testing.assert_allclose(view, normalise(expected.astype(np.float32)), atol=1e-6)


def test_intermediate_images_of_one_s_own_share_crop_and_flip():
    visible, _ = images(32)
    settings = ViewSettings(pad=2, erase=0.0, share_crop_and_flip=True, intermediate=own("red"))
    found = views(KEY, visible, None, settings, (V, Z))
    np.testing.assert_array_equal(found[V][..., 0], found[Z][..., 0])


def test_intermediate_images_of_one_s_own_have_the_key_of_their_row():
    visible, _ = images()
    settings = ViewSettings(intermediate=own("drawn"))
    found = make_intermediate(KEY, visible, settings, first_row=3)
    for row in range(len(visible)):
        expected = 255 * jax.random.uniform(jax.random.fold_in(KEY, 3 + row))
        np.testing.assert_allclose(found[row], np.full((8, 4, 3), expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "absent_module:f",
            "views.extra = absent_module:f: no module absent_module",
        ),
        (own("absent"), "views_of_a_test.py does not define absent"),
        (own("number"), "views.extra names an object of type int: name a function or a class"),
        (
            own("drawn"),
            "takes (key, image): it must accept 3 inputs",
        ),
        (own("halves"), "must return a floating array [16, 8, 3], not float32 [8, 8, 3]"),
        (own("whole"), "must return a floating array [16, 8, 3], not uint8 [16, 8, 3]"),
        (own("nothing"), "must return a floating array [16, 8, 3], not NoneType"),
        (own("brighter"), "KeyError: "),
        (own("decides"), "TracerBoolConversionError: "),
        ("math:pi", "views.extra names an object of type float: name a function"),
        ("builtins:max", "views.extra = builtins:max: "),
    ],
)
def test_what_is_wrong_with_a_view_is_said_in_one_line(name, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        check_views(ViewSettings(extra=name), (V, T), (16, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"intermediate": "absent_module:f"}, "no module absent_module"),
        (
            {"intermediate": own("noise")},
            "takes (key, image, modality) and gets 2 inputs, missing a",
        ),
        (
            {"intermediate": own("red"), "intermediate_settings": {"factor": 2}},
            "takes (key, image, scale) and gets 2 inputs, got an unexpected",
        ),
    ],
)
def test_what_is_wrong_with_an_intermediate_image_is_said_in_one_line(fields, message):
    settings = ViewSettings(**fields)
    for check in (
        lambda: check_views(settings, (V, Z), (16, 8)),
        lambda: check_intermediate(settings, (16, 8)),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            check()
        assert "\n" not in str(caught.value)


def test_views_of_one_s_own_are_float32_under_x64():
    with jax.enable_x64(True):
        settings = ViewSettings(**STILL, extra=own("noise"), exchange_visible=(1, 1, 1, 1, 1))
        made = views(KEY, *images(2), settings, (V, T))
        assert {view.dtype for view in made.values()} == {np.dtype("float32")}


def test_a_check_asks_for_no_more_than_is_used():
    check_views(ViewSettings(), (V, T, Z), (16, 8))
    check_views(ViewSettings(intermediate="absent_module:f"), (V, T), (16, 8))
    check_intermediate(ViewSettings(extra="absent_module:f"), (16, 8))
    check_intermediate(ViewSettings(intermediate=own("red")), (16, 8))
