from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax.modality import Modality
from lupi_jax.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ViewSettings,
    luma,
    make_views,
    normalise,
    random_channel,
)

V, T, Z = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE
STILL = ViewSettings(pad=0, flip=0.0, erase=0.0)
KEY = jax.random.key(7)

views = jax.jit(make_views, static_argnames=("settings", "modalities"))


def batch(rows=8, height=12, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(1, 256, (rows, height, width, 3), np.uint8) for _ in range(2))


def pixels(view):
    """Undo the normalisation, independently of the code under test."""
    return np.asarray(view, np.float64) * IMAGENET_STD * np.full(3, 255.0) + np.multiply(
        IMAGENET_MEAN, 255.0
    )


# Normalisation


def test_normalise_by_hand():
    # Red 255: (1 - 0.485) / 0.229; green 0: -0.456 / 0.224; blue 51: (0.2 - 0.406) / 0.225.
    image = np.asarray([255, 0, 51], np.uint8).reshape(1, 1, 1, 3)
    expected = [0.515 / 0.229, -0.456 / 0.224, -0.206 / 0.225]
    for found in (normalise(image), normalise(image.astype(np.float32)), jax.jit(normalise)(image)):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-6)


def test_normalise_is_the_same_in_bits_compiled_or_not():
    visible, _ = batch()
    np.testing.assert_array_equal(normalise(visible), jax.jit(normalise)(visible))


# Grey


def test_luma_by_hand():
    # 0.299 * 100 + 0.587 * 200 + 0.114 * 50 = 29.9 + 117.4 + 5.7 = 153
    image = np.asarray([100, 200, 50], np.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(luma(image)[0, 0, 0], [153, 153, 153], rtol=1e-6)


def test_random_channel_is_the_weighted_mean_of_its_documented_draws():
    images, _ = batch()
    found = np.asarray(random_channel(KEY, images))
    assert found.dtype == np.float32
    for i, image in enumerate(images):
        a, b, c = np.asarray(jax.random.uniform(jax.random.fold_in(KEY, i), (3,)), np.float64)
        red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
        expected = (a * red + b * green + c * blue) / (a + b + c)
        np.testing.assert_allclose(found[i, ..., 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
    assert (found[..., 0] <= images.max(-1) + 1e-3).all()
    assert (found[..., 0] >= images.min(-1) - 1e-3).all()


@pytest.mark.parametrize("grey", [luma, lambda images: random_channel(KEY, images)])
def test_grey_keeps_floating_types(grey):
    images = jnp.ones((2, 3, 3, 3), jnp.bfloat16)
    found = grey(images)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, images)


def intermediate_weights(settings):
    """The channel weights of still intermediate views of pure red, green and blue pixels."""
    colours = np.zeros((64, 3, 3, 3), np.uint8)
    colours[:] = 255 * np.eye(3, dtype=np.uint8)
    made = pixels(views(KEY, colours, None, settings, (Z,))[Z])
    np.testing.assert_allclose(made, made[..., :1] * np.ones(3), atol=1e-3)
    return made[:, 0, :, 0] / 255


def test_intermediate_views_are_grey_with_one_draw_an_image():
    weights = intermediate_weights(STILL)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert len(np.unique(weights.round(4), axis=0)) == 64
    # Standard error of a mean weight: about 0.17 / 8 = 0.02.
    np.testing.assert_allclose(weights.mean(0), 1 / 3, atol=0.08)


def test_intermediate_views_can_be_luma():
    weights = intermediate_weights(ViewSettings(pad=0, flip=0.0, erase=0.0, intermediate="luma"))
    np.testing.assert_allclose(weights, [[0.299, 0.587, 0.114]] * 64, atol=1e-6)


def test_quantized_intermediate_is_truncated():
    visible, _ = batch()
    still = pixels(views(KEY, visible, None, STILL, (Z,))[Z])
    quantized = ViewSettings(pad=0, flip=0.0, erase=0.0, quantize_intermediate=True)
    found = pixels(views(KEY, visible, None, quantized, (Z,))[Z])
    np.testing.assert_allclose(found, np.floor(still), atol=1e-3)


# Crop and flip


def test_crops_are_shifted_copies_with_black_elsewhere():
    pad, rows = 2, 128
    visible, _ = batch(rows)
    found = np.asarray(
        views(KEY, visible, None, ViewSettings(pad=pad, flip=0.0, erase=0.0), (V,))[V]
    )
    padded = np.zeros((rows, 12 + 2 * pad, 6 + 2 * pad, 3), np.uint8)
    padded[:, pad:-pad, pad:-pad] = visible
    shifts = []
    for view, source in zip(found, padded, strict=True):
        matches = [
            (top, left)
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            if np.array_equal(view, normalise(source[top : top + 12, left : left + 6]))
        ]
        assert len(matches) == 1
        shifts += matches
    # 25 shifts in 128 rows: all of one row and all of one column of them appear.
    assert {top for top, _ in shifts} == {left for _, left in shifts} == set(range(2 * pad + 1))
    assert len(set(shifts)) > 20


def test_flips_mirror_the_columns_at_their_rate():
    visible, _ = batch(512)
    found = np.asarray(views(KEY, visible, None, ViewSettings(pad=0, flip=0.3, erase=0.0), (V,))[V])
    plain = np.asarray(normalise(visible))
    flipped = (found == plain[:, :, ::-1]).all((1, 2, 3))
    np.testing.assert_array_equal(flipped, ~(found == plain).all((1, 2, 3)))
    # Four standard errors of a rate of 0.3: 4 * sqrt(0.21 / 512) = 0.08.
    assert abs(flipped.mean() - 0.3) < 0.08


def placements(view, pad):
    """(top, left, flipped) [n, 3] of still grey views of `numbered` images."""
    padded = np.pad(numbered(1)[0, ..., 0].astype(int), pad)
    candidates = [(top, left, flip) for top in range(2 * pad + 1) for left in range(2 * pad + 1)
                  for flip in (0, 1)]  # fmt: skip
    looks = [padded[t : t + 12, s : s + 6][:, :: -1 if f else 1].ravel() for t, s, f in candidates]
    found = np.rint(pixels(view)[..., 0]).astype(int).reshape(len(view), -1)
    same = (found[:, None] == np.stack(looks)).all(-1)
    assert (same.sum(1) == 1).all()
    return np.asarray(candidates)[same.argmax(1)]


def numbered(rows):
    """Grey images whose pixels all differ; a grey image is its own intermediate one."""
    image = np.arange(1, 73, dtype=np.uint8).reshape(1, 12, 6, 1)
    return np.tile(image, (rows, 1, 1, 3))


def test_the_draws_of_the_default_are_those_of_the_first_release():
    image = numbered(3)
    found = views(KEY, image, image, ViewSettings(pad=2, erase=0.0))
    assert placements(found[V], 2).tolist() == [[3, 2, 0], [4, 1, 1], [3, 4, 0]]
    assert placements(found[T], 2).tolist() == [[2, 0, 1], [2, 1, 0], [0, 4, 0]]
    assert placements(found[Z], 2).tolist() == [[4, 4, 0], [0, 0, 1], [0, 3, 0]]


def test_erased_rectangles_and_mixes_are_those_of_the_first_release():
    white = np.full((3, 32, 16, 3), 255, np.uint8)
    found = views(KEY, white, white, ViewSettings(pad=0, flip=0.0, erase=1.0))
    boxes = {}
    for modality, view in found.items():
        erased = np.asarray(view)[..., 0] < 0
        edges = [[np.flatnonzero(e.any(1))[[0, -1]], np.flatnonzero(e.any(0))[[0, -1]]]
                 for e in erased]  # fmt: skip
        boxes[modality] = np.asarray(edges).reshape(3, 4).tolist()
    assert boxes == {  # first row, last row, first column, last column
        V: [[4, 22, 5, 15], [6, 8, 6, 10], [9, 19, 2, 5]],
        T: [[4, 28, 2, 9], [14, 30, 9, 13], [8, 12, 1, 9]],
        Z: [[5, 21, 8, 13], [18, 24, 11, 14], [18, 29, 9, 14]],
    }
    weights = intermediate_weights(STILL)[:2]
    np.testing.assert_allclose(
        weights, [[0.228389, 0.308481, 0.463130], [0.285190, 0.214788, 0.500022]], atol=2e-6
    )


def test_visible_and_intermediate_views_of_an_image_are_augmented_apart():
    rows = 4096
    found = views(KEY, numbered(rows), None, ViewSettings(pad=1, flip=0.3, erase=0.0), (V, Z))
    same = placements(found[V], 1) == placements(found[Z], 1)
    # 3 offsets each way, and flips that agree with probability 0.3^2 + 0.7^2 = 0.58.
    expected = np.array([1 / 3, 1 / 3, 0.58, 0.58 / 9])
    observed = [*same.mean(0), same.all(1).mean()]
    errors = np.sqrt(expected * (1 - expected) / rows)
    assert (np.abs(observed - expected) < 4 * errors).all()


def test_twins_that_share_crop_and_flip_match_pixel_by_pixel():
    rows = 64
    visible, _ = batch(rows)
    settings = ViewSettings(pad=3, erase=0.0, share_crop_and_flip=True)
    found = views(KEY, visible, None, settings, (V, Z))
    still = ViewSettings(pad=0, flip=0.0, erase=0.0, share_crop_and_flip=True)
    weights = intermediate_weights(still)  # the same key draws them
    mixed = np.einsum("nhwc,nc->nhw", pixels(found[V]), weights)
    np.testing.assert_allclose(pixels(found[Z])[..., 0], mixed, atol=0.02)
    plain = views(KEY, numbered(rows), None, ViewSettings(pad=3, erase=0.0), (V,))
    shared = views(KEY, numbered(rows), None, settings, (Z,))
    assert len(np.unique(placements(shared[Z], 3), axis=0)) > 32
    np.testing.assert_array_equal(placements(shared[Z], 3), placements(plain[V], 3))


def test_twins_that_share_crop_and_flip_are_erased_apart():
    settings = ViewSettings(pad=0, flip=0.0, erase=0.5, erase_fill="mean", share_crop_and_flip=True)
    white = np.full((1024, 32, 16, 3), 255, np.uint8)
    found = views(KEY, white, None, settings, (V, Z))
    erased = {m: np.asarray(found[m] == 0).all(-1) for m in (V, Z)}
    both = np.logical_and(*(some.any((1, 2)) for some in erased.values()))
    # Each is erased with probability 0.5; four standard errors are 4 * sqrt(0.1875 / 1024).
    assert abs(both.mean() - 0.25) < 0.055
    assert ((erased[V] != erased[Z]).any((1, 2)))[both].mean() > 0.98


# Erasing


def erased_rectangles(settings, rows=2000, height=64, width=32):
    """Heights, widths, tops and lefts of what is erased in white images, and how many are not."""
    white = np.full((rows, height, width, 3), 255, np.uint8)
    found = views(KEY, white, None, settings, (V,))[V]
    erased = np.asarray(np.not_equal(found, normalise(white)).all(-1))
    assert (np.asarray(found)[~erased] == np.asarray(normalise(white[0, 0, :1]))).all()
    some = erased.any((1, 2))
    in_rows, in_columns = erased[some].any(2), erased[some].any(1)
    heights, widths = in_rows.sum(1), in_columns.sum(1)
    tops, lefts = in_rows.argmax(1), in_columns.argmax(1)
    # Rectangles: as many pixels as the rows times the columns they touch, without a gap.
    np.testing.assert_array_equal(erased[some].sum((1, 2)), heights * widths)
    bottoms = height - np.flip(in_rows, 1).argmax(1)
    np.testing.assert_array_equal(tops + heights, bottoms)
    return heights, widths, tops, lefts, some


def reference_rectangles(settings, rows, height, width):
    """Sizes drawn one after the other until they fit, as Zhong et al. do."""
    rng, sizes = np.random.default_rng(0), []
    while len(sizes) < rows:
        area = rng.uniform(*settings.erase_area) * height * width
        aspect = rng.uniform(settings.erase_aspect, 1 / settings.erase_aspect)
        size = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if size[0] < height and size[1] < width:
            sizes.append(size)
    return np.asarray(sizes).T


def test_erased_sizes_and_places():
    settings = ViewSettings(pad=0, flip=0.0, erase=1.0, erase_fill="mean")
    heights, widths, tops, lefts, some = erased_rectangles(settings)
    assert some.all()
    # Sides are rounded: half a pixel each way.
    assert ((heights + 0.5) * (widths + 0.5) >= 0.02 * 64 * 32).all()
    assert ((heights - 0.5) * (widths - 0.5) <= 0.4 * 64 * 32).all()
    assert ((heights + 0.5) / (widths - 0.5) >= 0.3).all()
    assert ((heights - 0.5) / (widths + 0.5) <= 1 / 0.3).all()
    expected_heights, expected_widths = reference_rectangles(settings, 20_000, 64, 32)
    # Standard errors of both means are below 0.4 and 0.2; log-uniform aspects are 4 and 2 off.
    assert abs(heights.mean() - expected_heights.mean()) < 1.2
    assert abs(widths.mean() - expected_widths.mean()) < 0.7
    # Rectangles touch all four borders, and lie in the middle on average.
    assert tops.min() == lefts.min() == 0
    assert (tops + heights).max() == 64
    assert (lefts + widths).max() == 32
    assert abs((tops + heights / 2).mean() - 32) < 1.2
    assert abs((lefts + widths / 2).mean() - 16) < 0.6


def test_erasing_rate():
    settings = ViewSettings(pad=0, flip=0.0, erase=0.3, erase_fill="mean")
    *_, some = erased_rectangles(settings)
    # Four standard errors: 4 * sqrt(0.21 / 2000) = 0.041.
    assert abs(some.mean() - 0.3) < 0.041


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_rectangle_of_nothing_or_that_never_fits_is_not_erased(share):
    settings = ViewSettings(pad=0, flip=0.0, erase=1.0, erase_area=(share, share))
    *_, some = erased_rectangles(settings, rows=16)
    assert not some.any()


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("zero", np.divide(np.negative(IMAGENET_MEAN), IMAGENET_STD)),
        ("mean", np.zeros(3)),
        ("released", np.asarray([0.4914, 0.4822, 0.4465])),
    ],
)
def test_fills(fill, expected):
    settings = ViewSettings(pad=0, flip=0.0, erase=1.0, erase_fill=fill)
    white = np.full((4, 16, 8, 3), 255, np.uint8)
    view = np.asarray(views(KEY, white, None, settings, (V,))[V])
    erased = view[view[..., 0] < 2]
    assert len(erased) > 8
    np.testing.assert_allclose(erased, np.broadcast_to(expected, erased.shape), rtol=1e-6)


# Keys


ANY = (1.0, 1.0, 1.0, 1.0, 1.0)
EXCHANGED = ViewSettings(
    pad=3,
    intermediate="channel_exchange",
    exchange_visible=ANY,
    exchange_infrared=ANY,
    exchange_intermediate=ANY,
)


@pytest.mark.parametrize(
    "settings", [ViewSettings(pad=3), ViewSettings(pad=3, share_crop_and_flip=True), EXCHANGED]
)
def test_rows_alone_equal_rows_in_the_batch(settings):
    visible, infrared = batch()
    whole = views(KEY, visible, infrared, settings)
    part = views(KEY, visible[4:], infrared[4:], settings, first_row=4)
    for modality in (V, T, Z):
        np.testing.assert_array_equal(whole[modality][4:], part[modality])


@pytest.mark.parametrize("share", [False, True])
def test_a_modality_alone_equals_itself_among_others(share):
    visible, infrared = batch()
    settings = ViewSettings(pad=3, share_crop_and_flip=share)
    whole = views(KEY, visible, infrared, settings)
    assert set(whole) == {V, T, Z}
    alone = {
        T: views(KEY, None, infrared, settings, ("infrared",)),
        Z: views(KEY, visible, infrared, settings, (Z,)),
    }
    for modality, found in alone.items():
        assert list(found) == [modality]
        assert found[modality].dtype == jnp.float32
        np.testing.assert_array_equal(found[modality], whole[modality])


def test_keys_rows_and_modalities_draw_apart():
    image = np.repeat(batch(1)[0], 8, axis=0)
    settings = ViewSettings(pad=3)
    found = views(KEY, image, image, settings)
    other = views(jax.random.key(8), image, image, settings)
    drawn = np.concatenate([found[V], found[T], other[V], other[T]]).reshape(32, -1)
    # 49 crops, two flips and a rectangle: repeats are rare, and common only if a key is reused.
    assert len(np.unique(drawn, axis=0)) >= 28


def test_views_are_float32_under_x64():
    visible, infrared = batch(2)
    with jax.enable_x64(True):
        for fill in ("zero", "mean", "released"):
            made = jax.eval_shape(
                partial(make_views, settings=ViewSettings(erase_fill=fill)), KEY, visible, infrared
            )
            assert {view.dtype for view in made.values()} == {jnp.dtype("float32")}


def test_vmap_over_keys():
    visible, _ = batch(2)
    keys = jax.random.split(KEY, 3)
    settings = ViewSettings(pad=3, erase=0.0)
    many = jax.vmap(lambda key: views(key, visible, None, settings, (Z,))[Z])(keys)
    one = views(keys[1], visible, None, settings, (Z,))[Z]
    np.testing.assert_allclose(many[1], one, atol=1e-5)


# Mistakes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pad", -1),
        ("flip", 1.5),
        ("erase", -0.1),
        ("erase_area", (0.4, 0.02)),
        ("erase_area", (-0.1, 0.02)),
        ("erase_aspect", 0.0),
        ("erase_fill", "white"),
        ("intermediate", "gray"),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(ValueError, match=f"^ViewSettings: {field} = "):
        ViewSettings(**{field: value})


def test_bad_images_are_named():
    visible, infrared = batch(2)
    with pytest.raises(ValueError, match="no modality"):
        make_views(KEY, visible, infrared, STILL, ())
    with pytest.raises(ValueError, match="thermal"):
        make_views(KEY, visible, infrared, STILL, ("thermal",))
    with pytest.raises(ValueError, match="intermediate needs uint8"):
        make_views(KEY, None, infrared, STILL, (T, Z))
    with pytest.raises(ValueError, match="infrared needs uint8"):
        make_views(KEY, visible, infrared.astype(np.float32), STILL, (V, T))
    with pytest.raises(ValueError, match="expected images"):
        make_views(KEY, visible[..., :1], None, STILL, (V,))
    for grey in (normalise, luma, lambda images: random_channel(KEY, images)):
        with pytest.raises(ValueError, match="expected images"):
            grey(visible[..., :1])
