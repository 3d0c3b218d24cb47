"""The layers of the network, with PyTorch's arithmetic where Flax's differs.

Parameters are drawn in float32, whatever JAX's mode, and keep the dtype they are given; a layer
computes in `dtype`, or where that is None in the promoted dtype of its input and parameters, so the
same modules serve bfloat16 training, float32, and float64 parity checks.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array, lax

Dtype = Any
Initializer = Callable[..., Array]

# torchvision's initialisation of a ResNet's convolutions.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's own, which AGW leaves the non-local blocks with: U(-1, 1) / sqrt(fan-in) for weights and
# biases alike (torch.nn.Conv2d).
torch_default = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_default_bias(fan_in: int) -> Initializer:
    """PyTorch's initial biases of a layer whose outputs sum `fan_in` products."""

    def draw(key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def conv2d(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolve with PyTorch's symmetric "same" padding, (k - 1) // 2 on every side.

    Args:
      x: images or activations [n, h, w, c_in].
      kernel: weights [k, k, c_in, c_out], k odd.
      stride: step in both directions.

    Returns:
      [n, ceil(h / stride), ceil(w / stride), c_out].
    """
    if jax.default_backend() == "cpu":
        return _conv2d_cpu(x, kernel, stride)
    return _conv2d(x, kernel, stride)


def _conv2d(x: Array, kernel: Array, stride: int) -> Array:
    if kernel.shape[0] == 1:
        # A 1x1 convolution is a matrix product, and XLA's CPU backend only knows that when told.
        return _dot(x[:, ::stride, ::stride], kernel[0, 0])
    size, pad = kernel.shape[0], (kernel.shape[0] - 1) // 2
    if -(-x.shape[1] // stride) * -(-x.shape[2] // stride) < size * size:
        # XLA takes the smaller of activations and kernel for the kernel, here or in the gradient,
        # and its CPU backend then computes element by element: a training step at 64 x 32 pixels
        # took four times as long. On all devices, as an exported network is one program for all.
        taps = jnp.concatenate([tap for row in _taps(x, size, stride) for tap in row], axis=-1)
        return _dot(taps, kernel.reshape(-1, kernel.shape[-1]))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_cpu(x: Array, kernel: Array, stride: int) -> Array:
    """`_conv2d` with the weight gradient as matrix products: one, or one per row if strided.

    Left to itself, XLA's CPU backend computes the transpose of the one factor element by element,
    together with whatever that is computed from: a ResNet-50's training step took 1.6 times as long
    (experiments/benchmarks/README.md).
    """
    return _conv2d(x, kernel, stride)


def _conv2d_cpu_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _conv2d(x, kernel, stride), (x, kernel)


def _conv2d_cpu_backward(
    stride: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    (x_gradient,) = jax.vjp(lambda x: _conv2d(x, kernel, stride), x)[1](g)
    if stride == 1:
        # Columns of the kernel by shifting x, rows by shifting g the other way. One product gives
        # all places, from half the copies that shifting x alone would take.
        size = kernel.shape[0]
        by_column = _in_memory(jnp.concatenate(_shifts(x, size, axis=2), axis=-1))
        by_row = _in_memory(jnp.concatenate(_shifts(g, size, axis=1)[::-1], axis=-1))
        places = _sum_of_products(by_column, by_row).reshape(size, x.shape[-1], size, g.shape[-1])
        return x_gradient, places.transpose(2, 0, 1, 3)
    by_place = _in_memory(g)
    rows = [
        _sum_of_products(_in_memory(jnp.concatenate(row, axis=-1)), by_place)
        for row in _taps(x, kernel.shape[0], stride)
    ]
    return x_gradient, jnp.stack(rows).reshape(kernel.shape)


def _taps(x: Array, size: int, stride: int) -> list[list[Array]]:
    """What each place of the kernel sees, by row and column: [n, h, w, c], h and w the output's."""
    height, width = (-(-length // stride) * stride for length in x.shape[1:3])
    pad = (size - 1) // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad + stride), (pad, pad + stride), (0, 0)))
    rows = [padded[:, row : row + height : stride] for row in range(size)]
    return [[row[:, :, column : column + width : stride] for column in range(size)] for row in rows]


def _shifts(x: Array, size: int, axis: int) -> list[Array]:
    """`x` as each of the `size` places of a kernel sees it along `axis`, zeros outside."""
    pad = (size - 1) // 2
    padded = jnp.pad(x, [(pad, pad) if i == axis else (0, 0) for i in range(x.ndim)])
    length = x.shape[axis]
    return [lax.slice_in_dim(padded, k, k + length, axis=axis) for k in range(size)]


def _dot(x: Array, y: Array) -> Array:
    """[..., a], [a, b] -> [..., b]."""
    return lax.dot_general(x, y, (((x.ndim - 1,), (0,)), ((), ())))


def _sum_of_products(x: Array, y: Array) -> Array:
    """[n, a], [n, b] -> [a, b], x^T y by transposing the narrower of the two."""
    if x.shape[1] <= y.shape[1]:
        return x.T @ y
    # Without the barrier XLA would turn it round again.
    return lax.optimization_barrier(y.T @ x).T


def _in_memory(x: Array) -> Array:
    """[n, h, w, c] as a matrix [n h w, c] that is computed before what it is used for."""
    return lax.optimization_barrier(x.reshape(-1, x.shape[-1]))


_conv2d_cpu.defvjp(_conv2d_cpu_forward, _conv2d_cpu_backward)


def relu(x: Array) -> Array:
    """max(x, 0), its gradient 0 at 0."""
    return _relu_cpu(x) if jax.default_backend() == "cpu" else nn.relu(x)


@jax.custom_vjp
def _relu_cpu(x: Array) -> Array:
    """`nn.relu`, whose result training reads again rather than what it came from.

    XLA's CPU backend computes a maximum anew for each of its uses, and a selection once. A residual
    block adds to the result of the block before, so with maxima each block summed its whole layer
    again. The gradient's mask comes from the result for the same reason
    (experiments/benchmarks/README.md).
    """
    return nn.relu(x)


def _relu_cpu_forward(x: Array) -> tuple[Array, Array]:
    y = jnp.where(x <= 0, 0, x)  # NaN stays NaN
    return y, y


def _relu_cpu_backward(y: Array, g: Array) -> tuple[Array]:
    return (jnp.where(y > 0, g, 0),)


_relu_cpu.defvjp(_relu_cpu_forward, _relu_cpu_backward)


class Conv(nn.Module):
    """Convolution of size `kernel_size` (odd) with PyTorch's padding, [n, h, w, c] -> features.

    A bias starts as PyTorch's does, U(-1, 1) / sqrt(kernel_size^2 c).
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = False
    dtype: Dtype = None
    kernel_init: Initializer = kaiming_normal

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply to [n, h, w, c]."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = 0.0
        if self.use_bias:
            start = torch_default_bias(math.prod(shape[:-1]))
            bias = self.param("bias", start, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return (
            conv2d(x, kernel, self.stride) + bias
            if self.use_bias
            else conv2d(x, kernel, self.stride)
        )


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with PyTorch's running statistics.

    Flax keeps the biased running variance; PyTorch, and so every checkpoint of this field, the
    unbiased one. Statistics are computed in at least float32 and, where `axis_name` is given,
    over the batch of all devices of that mapped axis.

    Attributes:
      axis_name: mapped axis to average the statistics over, or None.
      momentum: share of the old running statistic kept by one step (PyTorch's 0.1 is 0.9 here).
      frozen_bias: the bias takes no gradient (the BN neck's "no shift").
      scale_init: initial scale.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    frozen_bias: bool = False
    dtype: Dtype = None
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
        dtype = self.dtype or jnp.promote_types(jnp.result_type(x, scale, bias), jnp.float32)
        if not train:
            mean, var = running_mean.value, running_var.value
            factor = lax.rsqrt(var + self.epsilon) * scale
            return ((_wide(x) - mean) * factor + bias).astype(dtype)
        axis_name = None if self.is_initializing() else self.axis_name
        normalized: Any = batch_normalize(x, scale, bias, self.epsilon, axis_name)
        y, mean, var = normalized
        if not self.is_initializing():
            keep, add = self.momentum, 1.0 - self.momentum
            running_mean.value = keep * running_mean.value + add * mean
            count = _count(x, axis_name)
            unbiased = var * (count / max(count - 1, 1))
            running_var.value = keep * running_var.value + add * unbiased
        return y.astype(dtype)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _alone(axis_name: str | None) -> bool:
    """Whether there is no other device; XLA's CPU backend would exchange with itself."""
    return axis_name is None or lax.axis_size(axis_name) == 1


def _apart(mean: Array) -> list[Array]:
    """The mean [c] twice, for two passes over the activations.

    Of two passes that subtract the same mean, XLA's CPU backend writes the difference to memory.
    """
    return lax.optimization_barrier([mean] * 2) if jax.default_backend() == "cpu" else [mean] * 2


def _count(x: Array, axis_name: str | None) -> int:
    """How many values a channel of [..., c] has, on all devices together."""
    return x.size // x.shape[-1] * (1 if axis_name is None else lax.axis_size(axis_name))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_normalize(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None = None
) -> tuple[Array, Array, Array]:
    """Normalise by the batch's own statistics.

    Its gradient is written out (Ioffe and Szegedy, 2015, section 3): two sums, and one exchange
    between devices, where that of the forward computation has twice as many.

    Args:
      x: activations [..., c].
      scale: [c].
      bias: [c].
      epsilon: added to the variance.
      axis_name: mapped axis whose devices share the statistics, or None.

    Returns:
      Activations of the shape of `x`, their mean and biased variance [c], in at least float32. The
      two latter are for the record: no gradient flows through them.
    """
    return _batch_normalize_forward(x, scale, bias, epsilon, axis_name)[0]


_Residuals = tuple[Array, Array, Array, Array, Array]


def _batch_normalize_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> tuple[tuple[Array, Array, Array], _Residuals]:
    axes = tuple(range(x.ndim - 1))

    def global_mean(values: Array) -> Array:
        local = values.mean(axes)
        return local if _alone(axis_name) else lax.pmean(local, axis_name)

    # Two passes: E[x^2] - E[x]^2 cancels where the mean is large, and left training features
    # of a ResNet-50 in float32 four times further from float64 than PyTorch's are.
    mean = global_mean(_wide(x))
    mean, mean_of_var = _apart(mean)
    var = global_mean(jnp.square(_wide(x) - mean_of_var))
    deviation = lax.rsqrt(var + epsilon)
    y = (_wide(x) - mean) * (deviation * scale) + bias
    return (y, mean, var), (x, scale, bias, mean, deviation)


def _batch_normalize_backward(
    epsilon: float, axis_name: str | None, residuals: _Residuals, gradients: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    x, scale, bias, mean, deviation = residuals
    g = gradients[0]
    axes = tuple(range(x.ndim - 1))
    mean, mean_of_sum = _apart(mean)
    sums = jnp.stack([g.sum(axes), (g * (_wide(x) - mean_of_sum)).sum(axes) * deviation])
    own_bias, own_scale = sums
    if not _alone(axis_name):
        sums = lax.psum(sums, axis_name)
    of_mean, of_scale = sums / _count(x, axis_name)
    # Of the input: what is left of g without its mean and its part along the normalised input.
    factor = deviation * scale
    x_gradient = factor * (g - of_mean) - (_wide(x) - mean) * (factor * deviation * of_scale)
    return (
        x_gradient.astype(x.dtype),
        own_scale.astype(scale.dtype),
        own_bias.astype(bias.dtype),
    )


batch_normalize.defvjp(_batch_normalize_forward, _batch_normalize_backward)


class NonLocal(nn.Module):
    """Non-local block as AGW uses it: one inner channel, products divided by n, no softmax.

    Ye et al., Deep Learning for Person Re-identification: A Survey and Outlook, 2021 (after Wang
    et al., 2018). The last normalisation starts at scale zero, so the block starts as identity.
    """

    axis_name: str | None = None
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Apply to [n, h, w, c]."""
        project = partial(
            Conv, kernel_size=1, use_bias=True, dtype=self.dtype, kernel_init=torch_default
        )
        n, h, w, c = x.shape
        g, theta, phi = (
            project(1, name=name)(x).reshape(n, h * w) for name in ("g", "theta", "phi")
        )
        # With one inner channel the [hw, hw] product theta phi^T g is theta times a scalar.
        y = theta * (jnp.sum(phi * g, axis=-1, keepdims=True) / (h * w))
        y = project(c, name="out")(y.reshape(n, h, w, 1))
        norm = BatchNorm(
            self.axis_name, dtype=self.dtype, scale_init=nn.initializers.zeros, name="out_bn"
        )
        return norm(y, train) + x


def max_pool(x: Array) -> Array:
    """The ResNet stem's max-pooling: 3x3, stride 2, padded by one, [n, h, w, c].

    Two maxima of three strided slices, not XLA's reduce_window: the gradient of that
    (select-and-scatter) took 35 ms on [32, 48, 24, 32] float32 on a CPU where this takes 2. Equal
    maxima share the gradient.
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

    Radenović et al., 2018. `x` must not be negative (it follows a ReLU). At least float32.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    power = x * x * x if p == 3.0 else x**p
    return (power.mean((1, 2)) + 1e-12) ** (1.0 / p)


def average_pool(x: Array) -> Array:
    """Pool [n, h, w, c] -> [n, c] by the mean, in at least float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))
