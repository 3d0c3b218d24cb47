"""What all views share: images and their checks, normalisation, and a key for each row."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Images = Array | np.ndarray


def normalise(images: Images) -> Array:
    """Normalise images with the ImageNet statistics.

    Args:
        images: [..., 3] RGB, uint8 or floating point, 0 to 255.

    Returns:
        [..., 3] float32, (x / 255 - mean) / std per channel.

    Raises:
        ValueError: if the last dimension is not 3, or the type is neither uint8 nor floating.
    """
    return normalise_as(images, jnp.float32)


def normalise_as(images: Images, dtype: Any) -> Array:
    """`normalise` in float32 or float64."""
    check_channels(images)
    mean = np.asarray(IMAGENET_MEAN) * 255
    scale = 1 / (np.asarray(IMAGENET_STD) * 255)
    # Subtract first. The compiler could fuse x * scale + offset, which would change some bits.
    centred = jnp.asarray(images, dtype) - _per_channel(mean, images)
    return centred * _per_channel(scale, images)


def check_channels(images: Images, batch: bool = False) -> None:
    """Raise ValueError unless `images` are [..., 3] (`batch`: [n, h, w, 3]), uint8 or floating."""
    wanted = "[n, h, w, 3]" if batch else "[..., 3]"
    if images.ndim < 1 or images.shape[-1] != 3 or (batch and images.ndim != 4):
        raise ValueError(f"expected images {wanted}, got {images.shape}")
    if images.dtype != jnp.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"expected images of uint8 or a floating type, got {images.dtype}")


def row_keys(key: Array, rows: int, first_row: int | Array = 0) -> Array:
    """`fold_in(key, first_row + i)` for each row i, [rows] keys."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(first_row + jnp.arange(rows))


def _per_channel(values: np.ndarray, like: Images) -> Array:
    return jnp.asarray(values, jnp.float32).reshape((1,) * (like.ndim - 1) + (3,))
