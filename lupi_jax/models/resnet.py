"""ResNet, cut where visible-infrared networks cut it: one stem per modality, one shared trunk.

He et al., Deep Residual Learning for Image Recognition, 2016, with the last stride set to 1 as
person re-identification does (Luo et al., Bag of Tricks, 2019).
"""

import dataclasses
from functools import partial

from flax import linen as nn
from jax import Array

from lupi_jax.models.layers import BatchNorm, Conv, Dtype, NonLocal, max_pool, relu


@dataclasses.dataclass(frozen=True)
class Backbone:
    """The shape of a ResNet.

    Attributes:
      blocks: residual blocks in layer1..layer4.
      width: channels of the stem's convolution; layer i has width * 2^(i-1), times four with
        bottlenecks.
      bottleneck: bottleneck blocks (ResNet-50) or basic ones.
      non_local: how many of the last blocks of layer1..layer4 are followed by a non-local block
        where a network has them (AGW: two in layer2, three in layer3; never more than blocks).
        ResNet-18 has none: the released code places them by ResNet-50's block numbers, which
        layers of two blocks never reach. With ResNet-34 the released code cannot run, as its
        blocks take ResNet-50's channels; ours take the layer's.
    """

    blocks: tuple[int, int, int, int]
    width: int = 64
    bottleneck: bool = False
    non_local: tuple[int, int, int, int] = (0, 2, 3, 0)

    @property
    def features(self) -> int:
        """Length of the embedding."""
        return self.width * 8 * (4 if self.bottleneck else 1)


BACKBONES = {
    "resnet50": Backbone((3, 4, 6, 3), bottleneck=True),
    "resnet34": Backbone((3, 4, 6, 3)),
    "resnet18": Backbone((2, 2, 2, 2), non_local=(0, 0, 0, 0)),
    # What `resnet18` was before it followed the released code: runs of that time are read as this.
    "resnet18_non_local": Backbone((2, 2, 2, 2)),
    # For a demonstration and tests on a CPU: one basic block a layer, half the channels.
    "thin": Backbone((1, 1, 1, 1), width=32),
}


class Block(nn.Module):
    """A residual block, basic (two 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1)."""

    width: int
    stride: int = 1
    bottleneck: bool = False
    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        conv = partial(Conv, dtype=self.dtype)
        norm = partial(BatchNorm, self.axis_name, dtype=self.dtype)
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


class Layer(nn.Module):
    """One of a ResNet's four layers: `blocks` blocks, the last `non_local` with a non-local one."""

    blocks: int
    width: int
    stride: int
    bottleneck: bool
    non_local: int = 0
    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        first = self.blocks - min(self.non_local, self.blocks)
        for i in range(self.blocks):
            stride = self.stride if i == 0 else 1
            x = Block(
                self.width, stride, self.bottleneck, self.axis_name, self.dtype, name=f"block{i}"
            )(x, train)
            if i >= first:
                x = NonLocal(self.axis_name, self.dtype, name=f"non_local{i - first}")(x, train)
        return x


SHARED_FROM = ("layer1", "layer2")
"""The first layer that all modalities share, where the trunk begins: what there is to choose."""


class Stem(nn.Module):
    """What one modality has to itself: conv1, bn1, max-pool and, unless that is shared, layer1.

    The released network has no ReLU after bn1; torchvision's ResNet and AGW have one (`relu`).
    """

    backbone: Backbone
    relu: bool = False
    shared_from: str = "layer2"
    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Images [n, h, w, 3] -> [n, h/4, w/4, c], c of the last layer the stem has."""
        net = self.backbone
        x = Conv(net.width, 7, 2, dtype=self.dtype, name="conv1")(x)
        x = BatchNorm(self.axis_name, dtype=self.dtype, name="bn1")(x, train)
        x = max_pool(relu(x) if self.relu else x)
        if self.shared_from == "layer1":
            return x
        return _layer(1, net, False, self.axis_name, self.dtype)(x, train)


class Trunk(nn.Module):
    """What all modalities share: layer2 (or layer1) to layer4, the last with stride 1."""

    backbone: Backbone
    non_local: bool = True
    shared_from: str = "layer2"
    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[n, h/4, w/4, c] -> [n, h/16, w/16, features]."""
        for number in range(1 if self.shared_from == "layer1" else 2, 5):
            layer = _layer(number, self.backbone, self.non_local, self.axis_name, self.dtype)
            x = layer(x, train)
        return x


def _layer(
    number: int, net: Backbone, non_local: bool, axis_name: str | None, dtype: Dtype
) -> Layer:
    """Layer 1 to 4 of a ResNet, a submodule of the one being built."""
    i = number - 1
    return Layer(
        net.blocks[i],
        net.width * 2**i,
        (1, 2, 2, 1)[i],
        net.bottleneck,
        net.non_local[i] if non_local else 0,
        axis_name,
        dtype,
        name=f"layer{number}",
    )
