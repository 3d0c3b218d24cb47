"""Maps of where in an image an embedding comes from.

Grad-CAM does not fit, because it explains the score of a class, and people at test time have no
class.
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

    By Euler's theorem the pooled channel f_c is sum_ij x_ijc df_c/dx_ijc. With GeM of power p the
    share of a place is sum_c f_c^2 x_ijc^p / sum_kl x_klc^p, divided by sum_c f_c^2.

    Args:
      feature_map: [n, h, w, c], not negative; each image has an entry above 0.
      pool: function [n, h, w, c] -> [n, c], homogeneous of degree 1, that pools each channel
        separately.

    Returns:
      [n, h, w] float32, not negative; the shares of each image sum to 1.
    """
    feature_map = feature_map.astype(jnp.float32)
    pooled, backward = jax.vjp(pool, feature_map)
    (gradient,) = backward(pooled)
    shares = (feature_map * gradient).sum(-1)
    return shares / shares.sum((1, 2), keepdims=True)


@partial(jax.jit, static_argnums=(0, 3))
def activation_shares(
    model: EmbedNet, variables: Any, images: Array, modality: Modality
) -> Array | None:
    """`place_shares` [n, h / 16, w / 16] of the last feature map of uint8 images [n, h, w, 3].

    None if the trunk gives a feature without a map, as a ViT does.
    """

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
    return place_shares(feature_map, POOLINGS[model.pooling]) if feature_map.ndim == 4 else None


def heat(image: NDArray[np.uint8], shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Shares [a, b] over the image [h, w, 3] uint8 in grey; 0 is dark, the largest share bright."""
    height, width = image.shape[:2]
    scaled = Image.fromarray((shares / max(shares.max(), 1e-12)).astype(np.float32))
    smooth = np.asarray(scaled.resize((width, height), Image.Resampling.BICUBIC))
    colours = colormaps["inferno"](np.clip(smooth, 0, 1))[..., :3] * 255
    grey = image.astype(np.float64).mean(-1, keepdims=True)
    return (0.35 * grey + 0.65 * colours).round().astype(np.uint8)
