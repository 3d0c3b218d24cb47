"""Make the network's inputs (views) from a uint8 batch, on the device and inside `jit`.

Visible and infrared images are augmented. The intermediate view is made from the visible images
(Eq. 4), with its own crop, flip and erased rectangle. The paper calls these "different distortions
for RGB and intermediate images". At test time images are only normalised (`normalise`).

Paper: Alehdaghi, Josi, Cruz, Granger, "Visible-Infrared Person Re-Identification Using Privileged
Intermediate Information", ECCV Workshops 2022.
"""

from lupi_jax.settings import ViewSettings
from lupi_jax.views.adaptive import Adaptive, Generator, mean_weights, share_at
from lupi_jax.views.channels import LUMA, exchange_channels, luma, random_channel
from lupi_jax.views.check import check_intermediate, check_views
from lupi_jax.views.intermediate import make_intermediate
from lupi_jax.views.making import make_views
from lupi_jax.views.pixels import IMAGENET_MEAN, IMAGENET_STD, normalise

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LUMA",
    "Adaptive",
    "Generator",
    "ViewSettings",
    "check_intermediate",
    "check_views",
    "exchange_channels",
    "luma",
    "make_intermediate",
    "make_views",
    "mean_weights",
    "normalise",
    "random_channel",
    "share_at",
]
