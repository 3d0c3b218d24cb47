"""Pixels to embeddings: the network and its weights."""

from lupi_jax.models.embed_net import Embedding, EmbedNet, initialize
from lupi_jax.models.pretrained import from_torch, read_state_dict, to_torch
from lupi_jax.models.resnet import BACKBONES, Backbone

__all__ = [
    "BACKBONES",
    "Backbone",
    "EmbedNet",
    "Embedding",
    "from_torch",
    "initialize",
    "read_state_dict",
    "to_torch",
]
