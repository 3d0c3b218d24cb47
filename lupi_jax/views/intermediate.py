"""Make intermediate images of visible ones."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from lupi_jax.declared import is_part
from lupi_jax.settings import ViewSettings
from lupi_jax.views.adaptive import Adaptive, make_adaptive
from lupi_jax.views.channels import draw_weights, exchange_channels, luma, mix
from lupi_jax.views.own import call_own
from lupi_jax.views.pixels import Images, check_channels, row_keys


def make_intermediate(
    key: Array,
    images: Images,
    settings: ViewSettings,
    first_row: int | Array = 0,
    adaptive: Adaptive | None = None,
) -> Array:
    """Make intermediate images as in training, but without augmentation.

    Args:
        key: a JAX random key; row i has the key `fold_in(key, first_row + i)`.
        images: [n, h, w, 3] RGB uint8.
        settings: only `intermediate` and the fields about it are used.
        first_row: the number of row 0 among all images.
        adaptive: what makes learnt images; only used for the kind "adaptive", which needs it.

    Returns:
        [n, h, w, 3] float32, 0 to 255.

    Raises:
        ValueError: if `images` has another shape or type, or `adaptive` is missing.
        InputError: if `settings.intermediate` is a function of a user's own that cannot be used.
    """
    check_channels(images, batch=True)
    keys = row_keys(key, len(images), first_row)
    make = partial(intermediate_of, settings=settings, adaptive=adaptive)
    return jax.vmap(make)(keys, jnp.asarray(images))


def intermediate_of(
    key: Array, image: Array, settings: ViewSettings, adaptive: Adaptive | None = None
) -> Array:
    """Make the intermediate image [h, w, 3] float32 of one visible image [h, w, 3]."""
    kind = settings.intermediate
    if is_part(kind):
        image = call_own("views.intermediate", kind, settings.intermediate_settings, key, image)
    elif kind == "adaptive":
        if adaptive is None:
            raise ValueError("adaptive intermediate images need the parameters of their generator")
        image = make_adaptive(key, image, settings, adaptive)
    elif kind == "channel_exchange":
        image = exchange_channels(key, image, settings.exchange_intermediate)
    else:
        image = mix(image, draw_weights(key)) if kind == "random_channel" else luma(image)
    return jnp.floor(image) if settings.quantize_intermediate else image
