"""Try a user's own views before they are needed."""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp

from lupi_jax.declared import is_part
from lupi_jax.settings import ViewSettings
from lupi_jax.views.adaptive import Adaptive, Generator
from lupi_jax.views.intermediate import make_intermediate
from lupi_jax.views.making import make_views


def check_views(
    settings: ViewSettings, modalities: Iterable[str], image_size: tuple[int, int]
) -> None:
    """Check that the user's own functions in `settings` can make views, without making any.

    Args:
        settings: how views are made.
        modalities: names of the views.
        image_size: (height, width) in pixels.

    Raises:
        InputError: a function's module is missing or fails, or the function has another signature,
            fails, or returns something else than an image.
    """
    if settings.extra or is_part(settings.intermediate):
        make = partial(make_views, settings=settings, modalities=tuple(modalities))
        key, images = _abstract(image_size)
        adaptive = None
        if settings.intermediate == "adaptive":
            generator = Generator(settings.adaptive_context)
            drawn = jax.eval_shape(generator.init, key, jnp.zeros((*image_size, 3)))
            adaptive = Adaptive(drawn["params"])
        jax.eval_shape(make, key, images, images, adaptive=adaptive)


def check_intermediate(settings: ViewSettings, image_size: tuple[int, int]) -> None:
    """Check like `check_views` what `make_intermediate` uses."""
    if is_part(settings.intermediate):
        jax.eval_shape(partial(make_intermediate, settings=settings), *_abstract(image_size))


def _abstract(image_size: tuple[int, int]) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The shapes and types of a key and of one image as a batch."""
    key = jax.eval_shape(jax.random.key, 0)
    return key, jax.ShapeDtypeStruct((1, *image_size, 3), jnp.uint8)
