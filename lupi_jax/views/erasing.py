"""Random erasing of a rectangle."""

import jax
import jax.numpy as jnp
from jax import Array

from lupi_jax.settings import ViewSettings
from lupi_jax.views.pixels import normalise

# The released code writes these values, the means of CIFAR-10, into normalised images.
_RELEASED_FILL = (0.4914, 0.4822, 0.4465)

# At the default area and aspect, an attempt fails with probability 0.06 on 2:1 images and 0.12 on
# 3:1 ones. All ten fail once in 10^12 or 10^9 times. The released code tries 100 times.
_ERASE_ATTEMPTS = 10


def erase(key: Array, view: Array, settings: ViewSettings) -> Array:
    """Fill a random rectangle. If no attempt fits, fill nothing, as the released code does."""
    full_height, full_width, _ = view.shape
    size_key, place_key = jax.random.split(key)
    shares, ratios = jax.random.uniform(size_key, (2, _ERASE_ATTEMPTS), jnp.float32)
    decide, vertical, horizontal = jax.random.uniform(place_key, (3,), jnp.float32)

    low, high = settings.erase_area
    area = (low + (high - low) * shares) * (full_height * full_width)
    flattest, tallest = settings.erase_aspect, 1 / settings.erase_aspect
    aspect = flattest + (tallest - flattest) * ratios
    heights = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (heights < full_height) & (widths < full_width)
    first = jnp.argmax(fits)
    height, width = heights[first], widths[first]
    top = jnp.floor(vertical * (full_height - height + 1))
    left = jnp.floor(horizontal * (full_width - width + 1))

    rows, columns = jnp.arange(full_height), jnp.arange(full_width)
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    erased = (decide < settings.erase) & fits[first]
    inside = (in_rows & erased)[:, None, None] & in_columns[None, :, None]
    fill = {
        "zero": normalise(jnp.zeros((1, 1, 3))),
        "mean": jnp.zeros((1, 1, 3)),
        "released": jnp.reshape(jnp.asarray(_RELEASED_FILL), (1, 1, 3)),
    }[settings.erase_fill]
    return jnp.where(inside, fill.astype(view.dtype), view)
