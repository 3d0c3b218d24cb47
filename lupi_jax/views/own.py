"""Call a user's own function of one image."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from lupi_jax.errors import InputError
from lupi_jax.parts import calling, check_settings, load_part


def call_own(
    field: str, name: str, settings: Mapping[str, Any], key: Array, image: Array, *more: object
) -> Array:
    """Call a user's own function (key, image, *more, **settings) -> image, for one image.

    The function returns any floating type, because with JAX's 64 bits a default draw is float64.

    Args:
        field: dotted name of the field that names the function, for messages.
        name: MODULE:NAME of the function.
        settings: its settings.
        key: a JAX random key.
        image: [h, w, 3], 0 to 255. The function gets it as float32.
        more: what else it gets.

    Returns:
        [h, w, 3] float32.

    Raises:
        InputError: the module is missing or fails, or the function has another signature, fails,
            or returns something else.
    """
    part = load_part(name, field)
    with calling(field, name):
        check_settings(field, part, 2 + len(more), settings)
        made = part(key, jnp.asarray(image, jnp.float32), *more, **settings)
    got = type(made).__name__
    if isinstance(made, Array | np.ndarray):
        if made.shape == image.shape and jnp.issubdtype(made.dtype, jnp.floating):
            return jnp.asarray(made, jnp.float32)
        got = f"{made.dtype} {list(made.shape)}"
    wanted = list(image.shape)
    raise InputError(f"{field} = {name} must return a floating array {wanted}, not {got}")
