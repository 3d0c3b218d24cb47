"""A view that bends the grey levels of infrared images, as other cameras and lamps would.

lupi train ... --config.views.extra=infrared_gamma:bend_infrared \\
    --config.views.extra_settings.strength=0.5
"""

import jax
import jax.numpy as jnp
from jax import Array

import lupi_jax as lupi


def bend_infrared(
    key: Array, image: Array, modality: lupi.Modality, strength: float = 0.5
) -> Array:
    """Raise infrared grey levels to a random power between exp(-strength) and exp(strength)."""
    if modality != "infrared":
        return image
    power = jnp.exp(jax.random.uniform(key, minval=-strength, maxval=strength))
    return 255 * (image / 255) ** power
