"""The contract of a backbone, which a user's own backbone follows as well."""

import abc

from flax import linen as nn

from lupi_jax.models.layers import Numerics


class Backbone(abc.ABC):
    """A network from images to a map of features, with one stem per modality and a shared trunk.

    A backbone of your own is a frozen dataclass that extends this class. Its fields are its
    settings (`model.backbone_settings`). `model.backbone` names it as MODULE:NAME.

    Stem and trunk are Flax modules that are called as `module(x, train)`:

    - The stem takes normalised images [n, h, w, 3] and may return an array of any shape [n, ...].
      Every modality has a stem of the same architecture.
    - The trunk takes the stems' outputs, stacked along the first axis. It returns a map
      [n, h', w', features], which `model.pooling` pools, or the pooled feature [n, features]. For
      the pooling "gem" the map must not be negative.

    Both get a `Numerics`. Compute in its `dtype`, where None means the type of the input. In
    training each device sees its own rows; a layer that averages over the batch averages over the
    mapped axis `axis_name` as well, unless that is None. `lupi_jax.models.layers.BatchNorm` does
    so, and so does `flax.linen.BatchNorm(axis_name=...)`. Running statistics belong to the
    collection "batch_stats". Random layers such as dropout are not supported.
    """

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """Length of the feature."""

    @abc.abstractmethod
    def stem(self, numerics: Numerics, name: str) -> nn.Module:
        """Make the layers of one modality, as a module with this name."""

    @abc.abstractmethod
    def trunk(self, numerics: Numerics, name: str) -> nn.Module:
        """Make the layers that all modalities share, as a module with this name."""
