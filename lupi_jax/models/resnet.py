"""ResNet, cut where visible-infrared networks cut it: a stem per modality, one shared trunk.

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
    "resnet18": Backbone((2, 2, 2, 2)),
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


class Stem(nn.Module):
    """What one modality has to itself: conv1, bn1, max-pool and layer1.

    The released network has no ReLU after bn1; torchvision's ResNet has one (`relu`).
    """

    backbone: Backbone
    relu: bool = False
    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Images [n, h, w, 3] -> [n, h/4, w/4, width or 4 width]."""
        net = self.backbone
        x = Conv(net.width, 7, 2, dtype=self.dtype, name="conv1")(x)
        x = BatchNorm(self.axis_name, dtype=self.dtype, name="bn1")(x, train)
        x = max_pool(relu(x) if self.relu else x)
        layer1 = Layer(
            net.blocks[0],
            net.width,
            1,
            net.bottleneck,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name="layer1",
        )
        return layer1(x, train)


class Trunk(nn.Module):
    """What all modalities share: layer2, layer3 and layer4, the last with stride 1."""

    backbone: Backbone
    non_local: bool = True
    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[n, h/4, w/4, c] -> [n, h/16, w/16, features]."""
        net = self.backbone
        for i, stride in ((1, 2), (2, 2), (3, 1)):
            x = Layer(
                net.blocks[i],
                net.width * 2**i,
                stride,
                net.bottleneck,
                net.non_local[i] if self.non_local else 0,
                self.axis_name,
                self.dtype,
                name=f"layer{i + 1}",
            )(x, train)
        return x
