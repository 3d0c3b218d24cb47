"""A backbone of four convolutions, with one first convolution per modality.

    lupi train ... --config.model.backbone=small_net:SmallNet \\
        --config.model.backbone_settings.width=32
"""

import dataclasses

from flax import linen as nn
from jax import Array

from lupi_jax.models import Backbone, BatchNorm, Numerics


class Layers(nn.Module):
    """Convolutions of size 3 and stride 2, each with batch normalisation and a ReLU."""

    channels: tuple[int, ...]
    numerics: Numerics

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        for width in self.channels:
            x = nn.Conv(width, (3, 3), 2, use_bias=False, dtype=self.numerics.dtype)(x)
            x = nn.relu(BatchNorm(self.numerics)(x, train))
        return x


@dataclasses.dataclass(frozen=True)
class SmallNet(Backbone):
    """The backbone. `width` is the number of channels of the first convolution."""

    width: int = 32

    @property
    def features(self) -> int:
        """Length of the feature."""
        return 8 * self.width

    def stem(self, numerics: Numerics, name: str) -> nn.Module:
        """The layers of one modality."""
        return Layers((self.width,), numerics, name=name)

    def trunk(self, numerics: Numerics, name: str) -> nn.Module:
        """The layers that all modalities share."""
        return Layers((2 * self.width, 4 * self.width, 8 * self.width), numerics, name=name)
