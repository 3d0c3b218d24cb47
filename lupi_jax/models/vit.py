"""A vision transformer with one patch embedding per modality and one shared trunk.

Sources: Dosovitskiy et al., An Image is Worth 16x16 Words, 2021. Arithmetic, names and first
weights are timm's (Wightman, PyTorch Image Models, 2019). He et al., TransReID, 2021, use such a
network for re-identification.
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array

from lupi_jax.models.backbone import Backbone
from lupi_jax.models.layers import Numerics, torch_bias, torch_default
from lupi_jax.models.operations import widened

# timm cuts this distribution off at 100 standard deviations, which nothing ever reaches.
_initial = nn.initializers.normal(0.02)


@dataclasses.dataclass(frozen=True)
class ViT(Backbone):
    """A vision transformer. Its feature is the class token after the last normalisation.

    Images of any size fit. The position embedding is resampled to their grid of patches, and zeros
    at the bottom and at the right fill up the last patches.

    Attributes:
      width: channels of a token, and length of the feature.
      depth: number of blocks.
      heads: number of attention heads. It divides `width`.
      patch: side of a patch in pixels.
      grid: side of the square grid of patches that the position embedding is stored for.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 16
    grid: int = 14

    @property
    def features(self) -> int:
        """Length of the feature."""
        return self.width

    def stem(self, numerics: Numerics, name: str) -> nn.Module:
        """The patch embedding of one modality."""
        return PatchEmbedding(self.width, self.patch, numerics, name=name)

    def trunk(self, numerics: Numerics, name: str) -> nn.Module:
        """The layers that all modalities share."""
        return Transformer(self, numerics, name=name)


VITS = {"vit_small": ViT()}


class PatchEmbedding(nn.Module):
    """A linear map of each patch: timm's convolution, whose stride is its size."""

    width: int
    patch: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to images [n, h, w, 3] -> [n, ceil(h / patch), ceil(w / patch), width]."""
        n, height, width, channels = x.shape
        p, shape = self.patch, (self.patch, self.patch, channels, self.width)
        kernel = self.param("kernel", torch_default, shape, jnp.float32)
        bias = self.param("bias", torch_bias(math.prod(shape[:3])), (self.width,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.numerics.dtype)
        x = jnp.pad(x, ((0, 0), (0, -height % p), (0, -width % p), (0, 0)))
        rows, columns = x.shape[1] // p, x.shape[2] // p
        patches = x.reshape(n, rows, p, columns, p, channels).swapaxes(2, 3)
        patches = patches.reshape(n, rows, columns, p * p * channels)
        return patches @ kernel.reshape(-1, self.width) + bias


class Transformer(nn.Module):
    """Class token, position embedding, blocks and a last normalisation."""

    shape: ViT
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, width] -> [n, width].

        The sum that the blocks add to stays in at least float32.
        """
        net = self.shape
        n, height, width, channels = x.shape
        token = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, channels), jnp.float32)
        places = (1, 1 + net.grid**2, channels)
        positions = self.param("pos_embed", _initial, places, jnp.float32)
        x = widened(x).reshape(n, height * width, channels)
        x = jnp.concatenate([jnp.broadcast_to(token, (n, 1, channels)), x], axis=1)
        x = x + resampled(positions, net.grid, (height, width))
        for i in range(net.depth):
            x = Block(net.heads, self.numerics, name=f"block{i}")(x)
        return _norm(self.numerics)(name="norm")(x[:, 0])


class Block(nn.Module):
    """Attention and a perceptron of four times the width, each after a normalisation."""

    heads: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply to tokens [n, t, c]."""
        channels = x.shape[-1]
        dense = partial(nn.Dense, dtype=self.numerics.dtype, kernel_init=_initial)
        norm = _norm(self.numerics)
        y = dense(3 * channels, name="qkv")(norm(name="norm1")(x))
        x = x + dense(channels, name="proj")(attend(y, self.heads))
        y = dense(4 * channels, name="fc1")(norm(name="norm2")(x))
        return x + dense(channels, name="fc2")(nn.gelu(y, approximate=False))


def attend(qkv: Array, heads: int) -> Array:
    """Mix the values of all tokens by scaled dot-product attention.

    Args:
      qkv: [n, t, 3 c], the queries, keys and values of t tokens, each with c channels that the
        heads divide among them.
      heads: number of heads.

    Returns:
      [n, t, c] in the dtype of `qkv`. The softmax is computed in at least float32.
    """
    n, tokens, channels = qkv.shape
    size = channels // (3 * heads)
    query, key, value = jnp.moveaxis(qkv.reshape(n, tokens, 3, heads, size), 2, 0)
    wide = jnp.promote_types(qkv.dtype, jnp.float32)
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key, preferred_element_type=wide)
    shares = jax.nn.softmax(scores * size**-0.5).astype(qkv.dtype)
    return jnp.einsum("nhqk,nkhd->nqhd", shares, value).reshape(n, tokens, heads * size)


def resampled(positions: Array, grid: int, size: tuple[int, int]) -> Array:
    """Resample a position embedding to another grid, as timm's `resample_abs_pos_embed` does.

    Args:
      positions: [1, 1 + grid^2, c], the class token's first.
      grid: side of the square grid of patches that `positions` is stored for.
      size: (height, width) of the grid to resample to.

    Returns:
      [1, 1 + height * width, c].
    """
    if size == (grid, grid):
        return positions
    channels = positions.shape[-1]
    places = positions[:, 1:].reshape(1, grid, grid, channels)
    places = jax.image.resize(places, (1, *size, channels), "cubic")
    return jnp.concatenate([positions[:, :1], places.reshape(1, -1, channels)], axis=1)


def _norm(numerics: Numerics) -> partial[nn.LayerNorm]:
    """Layer normalisation, computed in at least float32, with the variance in two passes."""
    return partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False, dtype=numerics.dtype)
