"""Arrays of images that a network can take, and what to do about others."""

import jax.numpy as jnp
import numpy as np

from lupi_jax.models import EmbedNet

_LARGEST = 4.0
"""Of a normalised pixel, generously: black is -2.12 and white 2.64."""


_REACHED = 0.9
"""Of 1, by whatever is scaled to -1 to 1 and has dark and bright pixels. Normalised images that
reach it on both sides, and 1 on neither, would have no pixel below 65 or above 182 of 255."""


def check_feature(feature: str) -> None:
    """Raise ValueError where no feature has this name."""
    if feature not in ("neck", "pooled"):
        raise ValueError(f"feature must be neck or pooled, not {feature!r}")


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise ValueError, with what to do, where a shape is not [n, h, w, 3] with n > 0."""
    if len(shape) == 4 and shape[-1] == 3 and shape[0]:
        return
    advice = "of one image or more"
    match shape:
        case (0, *_):
            advice = "give at least one image"
        case (_, _, 3):
            advice = "give one image as image[None]"
        case (_, _, _):
            advice = "repeat the channel of grey images, np.stack([images] * 3, axis=-1)"
        case (_, _, _, 1):
            advice = "repeat the channel of grey images, np.repeat(images, 3, axis=-1)"
        case (_, _, _, 4):
            advice = "leave out the fourth channel, images[..., :3]"
        case (_, 3, _, _):
            advice = "put the channels last, images.transpose(0, 2, 3, 1)"
    raise ValueError(
        f"images must be [n, h, w, 3] with n > 0, not {shape}: {advice}; lupi_jax.extractor takes "
        "images of any size, and grey ones"
    )


def check_scale(images: np.ndarray) -> None:
    """Raise ValueError where floating images are from 0 to 1, or from -1 to 1, by their values.

    Normalised ones of a batch that has dark and bright pixels are in neither range.
    """
    if images.dtype == np.uint8:
        return
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        scale, mend = "0 to 1", "255 * images"
    elif -1 <= low <= -_REACHED and _REACHED <= high <= 1:
        scale, mend = "-1 to 1", "127.5 * (images + 1)"
    else:
        return
    raise ValueError(
        f"images from {scale} are not normalised: give uint8 from 0 to 255, or "
        f"lupi_jax.normalise({mend})"
    )


def check_pixels(model: EmbedNet, images: np.ndarray) -> None:
    """Check that images are what a network was trained on, as far as an array shows it.

    Args:
      images: [n, h, w, 3].

    Raises:
      ValueError: they are neither uint8 nor floating, of another size than `model.image_size`, not
        finite, or further from 0 than any normalised pixel.
    """
    size = images.shape[1:3]
    if model.image_size is not None and size != tuple(model.image_size):
        raise ValueError(
            f"images of {size[0]} x {size[1]} pixels: this network was trained at "
            f"{model.image_size[0]} x {model.image_size[1]}; resize them as lupi_jax.extractor does"
        )
    if images.dtype == np.uint8:
        return
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images of {images.dtype}: give uint8 from 0 to 255, or floating ones made by "
            "lupi_jax.normalise"
        )
    largest = float(np.abs(images).max(initial=0))
    if not np.isfinite(largest):
        raise ValueError("images hold NaN or infinite values: leave these out")
    if largest > _LARGEST:
        raise ValueError(
            f"images with values as large as {largest:.4g} are not normalised: give uint8 from 0 "
            "to 255, or lupi_jax.normalise(images)"
        )
