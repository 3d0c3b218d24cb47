"""Intermediate images by a mix of the channels that is learnt in training.

The paper leaves it as future work: "adaptive image generation based on images from the main
modalities, and an end-to-end learning process to find the one channel images as infrared version of
visible". Its authors' continuation (Alehdaghi, Josi, Shamsolmoali, Cruz, Granger, "Adaptive
Generation of Privileged Intermediate Information for Visible-Infrared Person Re-Identification",
arXiv 2307.03240) generates images by an encoder and a decoder. Here the generator sees one pixel
and a summary of the image, so that it can change what colours become and nothing else.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from lupi_jax.settings import ViewSettings
from lupi_jax.views.channels import draw_weights, mix

OFFSET = 0.25
"""The most that the offset of a pixel may be, as a share of the range from black to white."""


class Generator(nn.Module):
    """Computes the weights of a mix of the channels, a R + b G + c B + d, for every pixel.

    a, b and c are positive and add up to 1. d is at most `OFFSET` of the range, up or down. If all
    channels of one pixel exceed all channels of another by more than twice `OFFSET`, the mix
    therefore keeps their order, so that an image with such a contrast cannot become blank. Two
    hidden layers compute the weights from the pixel's colour and, with `context`, from the mean and
    the deviation of the image's channels. At first the mix is close to the mean of the channels.

    Attributes:
      context: whether the weights depend on the image as well as on the pixel.
      hidden: number of units per hidden layer.
    """

    context: bool = True
    hidden: int = 16

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Compute the weights of an image [h, w, 3], 0 to 255.

        Returns:
          [h, w, 4]: a, b, c, and d as a share of the range.
        """
        colour = image / 255
        x = nn.Dense(self.hidden, name="colour")(colour - 0.5)
        if self.context:
            summary = jnp.concatenate([colour.mean((0, 1)) - 0.5, colour.std((0, 1))])
            x = x + nn.Dense(self.hidden, use_bias=False, name="context")(summary)
        x = nn.relu(nn.Dense(self.hidden, name="hidden")(nn.relu(x)))
        small = nn.initializers.normal(0.01)
        x = nn.Dense(4, kernel_init=small, name="mix")(x)
        return jnp.concatenate([jax.nn.softmax(x[..., :3]), OFFSET * jnp.tanh(x[..., 3:])], -1)


class Adaptive(NamedTuple):
    """What makes the learnt images of a step.

    Attributes:
      params: parameters of the `Generator`.
      share: share of the learnt mix in an image, 0 to 1. The rest is the random mix of Eq. 4.
    """

    params: Any
    share: float | Array = 1.0


def make_adaptive(key: Array, image: Array, settings: ViewSettings, adaptive: Adaptive) -> Array:
    """Make the intermediate image [h, w, 3] of one visible image [h, w, 3], both 0 to 255."""
    learnt = learnt_image(image, settings, adaptive.params)
    random = mix(jnp.asarray(image, learnt.dtype), draw_weights(key))
    return adaptive.share * learnt + (1 - adaptive.share) * random


def learnt_image(image: Array, settings: ViewSettings, params: Any) -> Array:
    """Mix one visible image [h, w, 3], 0 to 255, as a generator with `params` has learnt."""
    weights = mix_weights(image, settings, params)
    image = jnp.asarray(image, weights.dtype)
    grey = jnp.sum(weights[..., :3] * image, axis=-1) + 255 * weights[..., 3]
    return jnp.broadcast_to(grey[..., None], image.shape)


def mix_weights(image: Array, settings: ViewSettings, params: Any) -> Array:
    """The weights [h, w, 4] that a generator with `params` gives an image [h, w, 3]."""
    dtype = jnp.promote_types(jnp.float32, jnp.result_type(*jax.tree.leaves(params)))
    image = jnp.asarray(image, dtype)
    weights = Generator(settings.adaptive_context).apply({"params": params}, image)
    assert isinstance(weights, Array)
    return weights


def mean_weights(images: Array, settings: ViewSettings, params: Any) -> dict[str, Array]:
    """The mean weights of images [n, h, w, 3], from every fourth pixel of each row and column."""
    make = jax.vmap(lambda image: mix_weights(image, settings, params))
    means = make(images[:, ::4, ::4]).mean((0, 1, 2))
    return dict(zip(("red", "green", "blue", "offset"), means, strict=True))


def share_at(step: Array, settings: ViewSettings) -> Array:
    """The share of the learnt mix at a step, which grows from 0 over `adaptive_ramp` steps."""
    grown = step / settings.adaptive_ramp if settings.adaptive_ramp else 1.0
    return jnp.asarray(settings.adaptive_share * jnp.minimum(1.0, grown), jnp.float32)
