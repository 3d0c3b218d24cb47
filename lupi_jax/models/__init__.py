"""The network, which maps images to embeddings, and its weights."""

from lupi_jax.models.backbone import Backbone
from lupi_jax.models.backbones import BACKBONES
from lupi_jax.models.conversion import (
    classes_of,
    from_torch,
    modalities_of,
    remarks_on,
    to_torch,
)
from lupi_jax.models.embed_net import Embedding, EmbedNet, initialize, shallow_features
from lupi_jax.models.layers import BatchNorm, Numerics
from lupi_jax.models.resnet import ResNetShape
from lupi_jax.models.state_dicts import read_state_dict

__all__ = [
    "BACKBONES",
    "Backbone",
    "BatchNorm",
    "EmbedNet",
    "Embedding",
    "Numerics",
    "ResNetShape",
    "classes_of",
    "from_torch",
    "initialize",
    "modalities_of",
    "read_state_dict",
    "remarks_on",
    "shallow_features",
    "to_torch",
]
