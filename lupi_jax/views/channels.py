"""Mixes and exchanges of an image's three channels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from lupi_jax.views.pixels import Images, check_channels, row_keys

LUMA = (0.299, 0.587, 0.114)


def random_channel(key: Array, images: Images) -> Array:
    """Make intermediate images by Eq. 4, (aR + bG + cB) / (a + b + c) with a, b, c ~ U(0, 1).

    Each image has its own draw. Row i uses `jax.random.uniform(jax.random.fold_in(key, i), (3,))`.

    Args:
        key: a JAX random key.
        images: [n, h, w, 3] RGB, uint8 or floating point.

    Returns:
        [n, h, w, 3], one grey channel repeated three times, on the scale of `images`. float32 for
        uint8 images, else the type of `images`.

    Raises:
        ValueError: if `images` has another shape or type.
    """
    check_channels(images, batch=True)
    return jax.vmap(mix)(images, jax.vmap(draw_weights)(row_keys(key, len(images))))


def luma(images: Images) -> Array:
    """Make the fixed grey of the paper's ablation, 0.299 R + 0.587 G + 0.114 B.

    Args:
        images: [..., 3] RGB, uint8 or floating point.

    Returns:
        [..., 3], one grey channel repeated three times, on the scale of `images`. float32 for
        uint8 images, else the type of `images`.

    Raises:
        ValueError: if the last dimension is not 3, or the type is neither uint8 nor floating.
    """
    check_channels(images)
    return mix(images, jnp.asarray(LUMA))


def exchange_channels(key: Array, image: Images, frequencies: Sequence[float]) -> Array:
    """Replace all channels of an image by one of them or by their grey (CAJ).

    Paper: Ye, Ruan, Du, Shou, "Channel Augmented Joint Learning for Visible-Infrared Recognition",
    ICCV 2021. Its code replaces channels of normalised images, after erasing. It has several forms:
    second visible images have the frequencies (1, 1, 1, 0, 0), infrared images (2, 2, 2, 1, 1).
    Its weights of grey are `LUMA` to within 0.0001.

    Args:
        key: a JAX random key.
        image: [h, w, 3], uint8 or floating point.
        frequencies: relative frequencies of red, green, blue, grey, and the image as it is.

    Returns:
        [h, w, 3] on the scale of `image`. float32 for uint8 images, else the type of `image`.

    Raises:
        ValueError: if the last dimension is not 3, or the type is neither uint8 nor floating.
    """
    grey = luma(image)
    image = jnp.asarray(image, grey.dtype)
    weights = jnp.asarray(frequencies, jnp.float32)
    choice = jax.random.choice(key, len(frequencies), p=weights / weights.sum())
    candidates = jnp.concatenate([image, grey[..., :1]], -1)
    replaced = jnp.take(candidates, jnp.minimum(choice, 3), axis=-1)[..., None]
    return jnp.where(choice == 4, image, replaced)


def draw_weights(key: Array) -> Array:
    """Draw the weights a, b, c of Eq. 4 for one image, [3] float32."""
    return jax.random.uniform(key, (3,), jnp.float32)


def mix(images: Images, weights: Array) -> Array:
    """Weighted mean over the channels of [..., 3], repeated three times."""
    floats = jnp.asarray(images, jnp.promote_types(images.dtype, jnp.float32))
    a, b, c = weights / jnp.sum(weights)
    grey = a * floats[..., 0] + b * floats[..., 1] + c * floats[..., 2]
    kept = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else floats.dtype
    return jnp.broadcast_to(grey[..., None].astype(kept), images.shape)
