"""How coloured an image is."""

import io

import numpy as np
import pytest
from PIL import Image

from lupi_jax.evaluation.readable import COLOURED, GREY, colour_spread


def test_the_spread_is_between_the_highest_and_the_lowest_channel():
    image = np.zeros((2, 1, 3), np.uint8)
    image[0, 0] = 10, 250, 40
    assert colour_spread(image) == 120  # (240 + 0) / 2


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_what_jpeg_makes_of_a_grey_picture_is_no_colour(quality):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (96, 48, 1), np.uint8).repeat(3, 2)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    assert colour_spread(np.asarray(Image.open(file))) < GREY


def test_noise_in_every_channel_of_a_grey_picture_is_no_colour():
    noise = np.random.default_rng(0).integers(-3, 4, (96, 48, 3))
    assert GREY < colour_spread((128 + noise).astype(np.uint8)) < COLOURED


def test_a_faint_tint_is_colour():
    assert colour_spread(np.full((4, 4, 3), (100, 104, 106), np.uint8)) > COLOURED
