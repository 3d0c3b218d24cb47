"""Where in an image an embedding comes from.

GeM-weighted activations, not Grad-CAM: Grad-CAM explains a class's score, and people at test time
are of no class the network has. What is explained here is the pooled feature itself. Pooling by a
generalised mean is homogeneous of degree 1, so by Euler's theorem the pooled channel f_c is
sum_ij x_ijc df_c/dx_ijc, and the feature's squared length, sum_c f_c^2, falls apart without rest
into one share for each place. Of GeM with power p the share of a place is
sum_c f_c^2 x_ijc^p / sum_kl x_klc^p, over sum_c f_c^2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet
from lupi_jax.models.embed_net import POOLINGS
from lupi_jax.views import normalise


def place_shares(feature_map: Array, pool: Callable[[Array], Array]) -> Array:
    """Each place's share of the squared length of the pooled feature.

    Args:
      feature_map: [n, h, w, c], not negative, not all zero in any row.
      pool: [n, h, w, c] -> [n, c], homogeneous of degree 1, each channel of its own.

    Returns:
      [n, h, w] float32, not negative; each row sums to 1.
    """
    feature_map = feature_map.astype(jnp.float32)
    pooled, backward = jax.vjp(pool, feature_map)
    (gradient,) = backward(pooled)
    shares = (feature_map * gradient).sum(-1)
    return shares / shares.sum((1, 2), keepdims=True)


@partial(jax.jit, static_argnums=(0, 3))
def _shares(model: EmbedNet, variables: Any, images: Array, modality: Modality) -> Array:
    def is_trunk(module: Any, _: str) -> bool:
        return module.name == "trunk"

    _, captured = model.apply(
        variables,
        normalise(images),
        modality,
        capture_intermediates=is_trunk,
        mutable=["intermediates"],
    )
    (feature_map,) = cast(Any, captured)["intermediates"]["trunk"]["__call__"]
    return place_shares(feature_map, POOLINGS[model.pooling])


def activation_shares(
    model: EmbedNet, variables: Any, images: np.ndarray, stem: Modality
) -> np.ndarray:
    """`place_shares` of the last feature map before pooling.

    Args:
      model: the network.
      variables: its parameters and running statistics.
      images: [n, h, w, 3] uint8.
      stem: whose the images go through.

    Returns:
      [n, h / 16, w / 16] float32; each row sums to 1.
    """
    return np.asarray(_shares(model, variables, images, stem))


def heat(image: NDArray[np.uint8], shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A map laid over the grey image.

    Args:
      image: [h, w, 3] uint8.
      shares: [a, b], not negative; 0 is dark, the largest bright.

    Returns:
      [h, w, 3] uint8.
    """
    height, width = image.shape[:2]
    scaled = Image.fromarray((shares / max(shares.max(), 1e-12)).astype(np.float32))
    smooth = np.asarray(scaled.resize((width, height), Image.Resampling.BICUBIC))
    colours = colormaps["inferno"](np.clip(smooth, 0, 1))[..., :3] * 255
    grey = image.astype(np.float64).mean(-1, keepdims=True)
    return (0.35 * grey + 0.65 * colours).round().astype(np.uint8)
