"""Checks that a network can take an array of images, and advice if it cannot."""

import jax.numpy as jnp
import numpy as np

from lupi_jax.models import EmbedNet

_LARGEST = 4.0
"""A generous bound for normalised pixels: black is -2.12 and white 2.64."""


_REACHED = 0.9
"""Images scaled to -1 to 1 with dark and bright pixels reach this value on both sides. Normalised
images that do so without exceeding 1 would lack pixels below 65 and above 182 of 255."""


def check_feature(feature: str) -> None:
    """Raise ValueError if this is not the name of a feature."""
    if feature not in ("neck", "pooled"):
        raise ValueError(f"feature must be neck or pooled, not {feature!r}")


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise ValueError, with advice, if a shape is not [n, h, w, 3] with n > 0."""
    if len(shape) == 4 and shape[-1] == 3 and shape[0]:
        return
    advice = "give such an array"
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
    """Raise ValueError if the values of floating images show a range of 0 to 1, or of -1 to 1.

    Normalised images with dark and bright pixels exceed both ranges.
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
    """Check that images have the size and range that a network was trained on.

    Args:
      model: the network.
      images: [n, h, w, 3].

    Raises:
      ValueError: the images are neither uint8 nor floating, have another size than
        `model.image_size`, are not finite, or exceed the range of normalised pixels.
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
