"""A ResNet cut into one stem per modality and one shared trunk.

Sources: He et al., Deep Residual Learning for Image Recognition, 2016. The last stride is 1, as in
Luo et al., Bag of Tricks, 2019.
"""

import dataclasses
from functools import partial

from flax import linen as nn
from jax import Array

from lupi_jax.models.backbone import Backbone
from lupi_jax.models.layers import BatchNorm, Conv, NonLocal, Numerics, max_pool
from lupi_jax.models.operations import relu


@dataclasses.dataclass(frozen=True)
class ResNetShape:
    """The shape of a ResNet.

    Attributes:
      blocks: numbers of residual blocks in layer1..layer4.
      width: channels of the stem's convolution. Layer i has width * 2^(i-1) channels, times four
        with bottlenecks.
      bottleneck: whether blocks are bottleneck blocks (ResNet-50) or basic ones.
      non_local: numbers of non-local blocks in layer1..layer4, if the network uses them. They
        follow the last blocks of a layer, at most one each. AGW has two in layer2 and three in
        layer3. "resnet18" stays without them, because the released code places them by
        ResNet-50's block numbers, which layers of two blocks never reach. With ResNet-34 the
        released code cannot run, because its non-local blocks take ResNet-50's channels; ours take
        the layer's.
    """

    blocks: tuple[int, int, int, int]
    width: int = 64
    bottleneck: bool = False
    non_local: tuple[int, int, int, int] = (0, 2, 3, 0)

    @property
    def features(self) -> int:
        """Length of the embedding, the channels of the last layer that has blocks."""
        last = max(i for i, blocks in enumerate(self.blocks) if blocks)
        return self.width * 2**last * (4 if self.bottleneck else 1)


RESNETS = {
    "resnet50": ResNetShape((3, 4, 6, 3), bottleneck=True),
    "resnet34": ResNetShape((3, 4, 6, 3)),
    "resnet18": ResNetShape((2, 2, 2, 2), non_local=(0, 0, 0, 0)),
    # `resnet18` was this before it followed the released code. Runs of that time are read as this.
    "resnet18_non_local": ResNetShape((2, 2, 2, 2)),
    # For a demonstration and tests on a CPU, with one basic block per layer and half the channels.
    "thin": ResNetShape((1, 1, 1, 1), width=32),
}

STRIDES = (1, 2, 2, 1)
"""The strides of layer1..layer4."""

SHARED_FROM = ("layer1", "layer2")
"""Choices for the first layer that all modalities share, where the trunk begins."""


@dataclasses.dataclass(frozen=True)
class ResNet(Backbone):
    """A ResNet, cut before layer1 or layer2.

    Attributes:
      shape: the numbers of blocks and channels.
      non_local: whether to use AGW's non-local blocks.
      stem_relu: whether a ReLU follows the stem's bn1, as in torchvision's ResNet and AGW.
      shared_from: the first layer of the trunk, one of `SHARED_FROM`.
    """

    shape: ResNetShape
    non_local: bool = True
    stem_relu: bool = False
    shared_from: str = "layer2"

    @property
    def features(self) -> int:
        """Length of the feature."""
        return self.shape.features

    def stem(self, numerics: Numerics, name: str) -> nn.Module:
        """The layers of one modality."""
        return Stem(self.shape, tuple(range(1, self._first)), self.stem_relu, numerics, name=name)

    def trunk(self, numerics: Numerics, name: str) -> nn.Module:
        """The layers that all modalities share."""
        layers = tuple(range(self._first, 5))
        return Trunk(self.shape, layers, self.non_local, numerics, name=name)

    @property
    def _first(self) -> int:
        return 1 + SHARED_FROM.index(self.shared_from)


class Stem(nn.Module):
    """The layers of one modality: conv1, bn1, max-pool, and layer1 if `layers` has it.

    With `relu` a ReLU follows bn1, as in torchvision's ResNet and AGW, but not in the released
    network.
    """

    shape: ResNetShape
    layers: tuple[int, ...] = (1,)
    relu: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to images [n, h, w, 3] -> [n, h/4, w/4, c], with the c of the stem's last layer."""
        x = Conv(self.shape.width, 7, 2, numerics=self.numerics, name="conv1")(x)
        x = BatchNorm(self.numerics, name="bn1")(x, train)
        x = max_pool(relu(x) if self.relu else x)
        for i in self.layers:
            x = Layer(self.shape, i, False, self.numerics, name=f"layer{i}")(x, train)
        return x


class Trunk(nn.Module):
    """The layers that all modalities share, from layer1 or layer2 to layer4."""

    shape: ResNetShape
    layers: tuple[int, ...] = (2, 3, 4)
    non_local: bool = True
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h/4, w/4, c] -> [n, h/16, w/16, features]."""
        for i in self.layers:
            x = Layer(self.shape, i, self.non_local, self.numerics, name=f"layer{i}")(x, train)
        return x


class Layer(nn.Module):
    """One of a ResNet's four layers. A non-local block may follow each of its last blocks."""

    shape: ResNetShape
    number: int
    non_local: bool
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        net, i = self.shape, self.number - 1
        blocks = net.blocks[i]
        first_non_local = max(0, blocks - net.non_local[i]) if self.non_local else blocks
        for b in range(blocks):
            stride = STRIDES[i] if b == 0 else 1
            block = Block(net.width * 2**i, stride, net.bottleneck, self.numerics, name=f"block{b}")
            x = block(x, train)
            if b >= first_non_local:
                name = f"non_local{b - first_non_local}"
                x = NonLocal(self.numerics, name=name)(x, train)
        return x


class Block(nn.Module):
    """A residual block, basic (two 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1)."""

    width: int
    stride: int = 1
    bottleneck: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        conv = partial(Conv, numerics=self.numerics)
        norm = partial(BatchNorm, self.numerics)
        out = self.width * 4 if self.bottleneck else self.width
        if self.bottleneck:
            plan = ((self.width, 1, 1), (self.width, 3, self.stride), (out, 1, 1))
        else:
            plan = ((self.width, 3, self.stride), (out, 3, 1))
        y = x
        for i, (features, size, stride) in enumerate(plan, 1):
            y = conv(features, size, stride, name=f"conv{i}")(y)
            y = norm(name=f"bn{i}")(y, train)
            y = relu(y) if i < len(plan) else y
        if self.stride != 1 or x.shape[-1] != out:
            x = conv(out, 1, self.stride, name="downsample_conv")(x)
            x = norm(name="downsample_bn")(x, train)
        return relu(x + y)
