"""The layers of the network, with PyTorch's arithmetic where Flax's differs.

Parameters are drawn in float32, whatever JAX's mode, and keep the dtype they are given.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array, lax

from lupi_jax.models.operations import batch_normalize, conv2d, values_per_channel, widened

Dtype = Any
Initializer = Callable[..., Array]


@dataclasses.dataclass(frozen=True)
class Numerics:
    """The arithmetic of every layer of a network.

    Attributes:
      dtype: type of the computation (bfloat16, float32). None means the promoted dtype of a
        layer's input and parameters.
      axis_name: mapped axis of the devices whose rows batch normalisation averages over. None
        averages over the rows of one device.
    """

    dtype: Dtype = None
    axis_name: str | None = None


# torchvision's initialisation of a ResNet's convolutions.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's default (torch.nn.Conv2d), which AGW keeps for its non-local blocks. Weights and biases
# are U(-1, 1) / sqrt(fan-in).
torch_default = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_bias(fan_in: int) -> Initializer:
    """PyTorch's default for a bias, U(-1, 1) / sqrt(fan-in)."""
    bound = fan_in**-0.5
    return partial(jax.random.uniform, minval=-bound, maxval=bound)


class Conv(nn.Module):
    """Convolution of size `kernel_size` (odd) with PyTorch's padding, [n, h, w, c] -> features.

    A bias is drawn as in PyTorch, U(-1, 1) / sqrt(kernel_size^2 c).
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = False
    numerics: Numerics = Numerics()
    kernel_init: Initializer = kaiming_normal

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply to [n, h, w, c]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            start = torch_bias(math.prod(shape[:-1]))
            bias = self.param("bias", start, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.numerics.dtype)
        y = conv2d(x, kernel, self.stride)
        return y if bias is None else y + bias


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with PyTorch's running statistics.

    Flax keeps the biased running variance. PyTorch, and therefore every published re-ID
    checkpoint, keeps the unbiased one, as this layer does. Statistics are computed in at least
    float32.

    Attributes:
      numerics: arithmetic. With an `axis_name`, statistics cover the rows of all its devices.
      momentum: share of the old running statistic that one step keeps (PyTorch's 0.1 is 0.9 here).
      epsilon: number added to the variance.
      frozen_bias: whether the bias gets no gradient (the BN neck's "no shift").
      scale_init: initial scale.
    """

    numerics: Numerics = Numerics()
    momentum: float = 0.9
    epsilon: float = 1e-5
    frozen_bias: bool = False
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Normalise [..., c]; `train` uses and records the batch's statistics."""
        size = x.shape[-1]
        scale = self.param("scale", self.scale_init, (size,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (size,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (size,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (size,), jnp.float32)
        if self.frozen_bias:
            bias = lax.stop_gradient(bias)
        dtype = self.numerics.dtype
        dtype = dtype or jnp.promote_types(jnp.result_type(x, scale, bias), jnp.float32)
        if not train:
            mean, var = running_mean.value, running_var.value
            factor = lax.rsqrt(var + self.epsilon) * scale
            return ((widened(x) - mean) * factor + bias).astype(dtype)
        # During initialisation no axis is mapped.
        axis_name = None if self.is_initializing() else self.numerics.axis_name
        normalized: Any = batch_normalize(x, scale, bias, self.epsilon, axis_name)
        y, mean, var = normalized
        if not self.is_initializing():
            keep, add = self.momentum, 1.0 - self.momentum
            running_mean.value = keep * running_mean.value + add * mean
            count = values_per_channel(x, axis_name)
            unbiased = var * (count / max(count - 1, 1))
            running_var.value = keep * running_var.value + add * unbiased
        return y.astype(dtype)


class NonLocal(nn.Module):
    """AGW's non-local block, with one inner channel, products divided by n, and no softmax.

    Source: Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook, 2021
    (after Wang et al., 2018). The last normalisation starts at scale zero, so the block starts as
    identity.
    """

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        project = partial(
            Conv, kernel_size=1, use_bias=True, numerics=self.numerics, kernel_init=torch_default
        )
        n, h, w, c = x.shape
        g, theta, phi = (
            project(1, name=name)(x).reshape(n, h * w) for name in ("g", "theta", "phi")
        )
        # With one inner channel the [hw, hw] product theta phi^T g is theta times a scalar.
        y = theta * (jnp.sum(phi * g, axis=-1, keepdims=True) / (h * w))
        y = project(c, name="out")(y.reshape(n, h, w, 1))
        norm = BatchNorm(self.numerics, scale_init=nn.initializers.zeros, name="out_bn")
        return norm(y, train) + x


def max_pool(x: Array) -> Array:
    """Max-pool [n, h, w, c] as a ResNet's stem does, 3x3 with stride 2 and a padding of one.

    This takes maxima of slices, because the gradient of XLA's `reduce_window` takes 17 times as
    long on a CPU. Equal maxima share the gradient.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, pads, constant_values=-jnp.inf)
        first, second, third = (
            lax.slice_in_dim(padded, tap, min(tap + size, size + 2), 2, axis) for tap in range(3)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def generalized_mean_pool(x: Array, p: float = 3.0) -> Array:
    """Pool [n, h, w, c] -> [n, c] by the generalised mean (GeM), (mean(x^p) + 1e-12)^(1/p).

    Source: Radenović et al., 2018. `x` must not be negative; here it follows a ReLU. The result is
    at least float32.
    """
    x = widened(x)
    power = x * x * x if p == 3.0 else x**p
    return (power.mean((1, 2)) + 1e-12) ** (1.0 / p)


def average_pool(x: Array) -> Array:
    """Pool [n, h, w, c] -> [n, c] by the mean, in at least float32."""
    return widened(x).mean((1, 2))
