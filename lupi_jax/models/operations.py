"""Convolution, ReLU and batch normalisation, in forms that XLA compiles to fast programs.

Each gives the result of its plain form, up to rounding. XLA's CPU backend often chooses badly which
intermediate results to keep in memory. experiments/benchmarks/README.md measures every form.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax


def conv2d(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolve [n, h, w, c_in] with [k, k, c_in, c_out], k odd.

    The padding is PyTorch's symmetric "same" padding.

    Returns:
      [n, ceil(h / stride), ceil(w / stride), c_out].
    """
    if jax.default_backend() == "cpu":
        return _conv2d_cpu(x, kernel, stride)
    return _conv2d(x, kernel, stride)


def _conv2d(x: Array, kernel: Array, stride: int) -> Array:
    size, pad = kernel.shape[0], (kernel.shape[0] - 1) // 2
    if size == 1:
        # XLA's CPU backend does not recognise that this convolution is a product of matrices.
        return _dot(x[:, ::stride, ::stride], kernel[0, 0])
    if -(-x.shape[1] // stride) * -(-x.shape[2] // stride) < size * size:
        # XLA takes the smaller of activations and kernel for the kernel, here or in the gradient.
        # Its CPU backend then computes element by element, and a training step at 64 x 32 pixels
        # took four times as long. All devices use this form, because an exported network is one
        # program for all of them.
        taps = jnp.concatenate([tap for row in _taps(x, size, stride) for tap in row], axis=-1)
        return _dot(taps, kernel.reshape(-1, kernel.shape[-1]))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_cpu(x: Array, kernel: Array, stride: int) -> Array:
    """`_conv2d` with its weight gradient as one product of matrices, or one per row if strided.

    By default XLA's CPU backend computes the transpose of one factor element by element, together
    with everything that this factor is computed from.
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
        # Shifting x gives the kernel's columns, and shifting g the other way its rows. One product
        # then gives all taps, with half the copies that shifting only x would need.
        size = kernel.shape[0]
        by_column = _in_memory(jnp.concatenate(_shifts(x, size, axis=2), axis=-1))
        by_row = _in_memory(jnp.concatenate(_shifts(g, size, axis=1)[::-1], axis=-1))
        taps = _sum_of_products(by_column, by_row).reshape(size, x.shape[-1], size, g.shape[-1])
        return x_gradient, taps.transpose(2, 0, 1, 3)
    g_in_memory = _in_memory(g)
    rows = [
        _sum_of_products(_in_memory(jnp.concatenate(row, axis=-1)), g_in_memory)
        for row in _taps(x, kernel.shape[0], stride)
    ]
    return x_gradient, jnp.stack(rows).reshape(kernel.shape)


_conv2d_cpu.defvjp(_conv2d_cpu_forward, _conv2d_cpu_backward)


def _taps(x: Array, size: int, stride: int) -> list[list[Array]]:
    """Inputs [n, h, w, c] of each tap of the kernel, by row and column, h and w as the output's."""
    height, width = (-(-length // stride) * stride for length in x.shape[1:3])
    pad = (size - 1) // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad + stride), (pad, pad + stride), (0, 0)))
    rows = [padded[:, row : row + height : stride] for row in range(size)]
    return [[row[:, :, column : column + width : stride] for column in range(size)] for row in rows]


def _shifts(x: Array, size: int, axis: int) -> list[Array]:
    """`x` as each of the `size` taps of a kernel sees it along `axis`, zeros outside."""
    pad = (size - 1) // 2
    padded = jnp.pad(x, [(pad, pad) if i == axis else (0, 0) for i in range(x.ndim)])
    length = x.shape[axis]
    return [lax.slice_in_dim(padded, k, k + length, axis=axis) for k in range(size)]


def _dot(x: Array, y: Array) -> Array:
    """Multiply [..., a] by [a, b] -> [..., b]."""
    return lax.dot_general(x, y, (((x.ndim - 1,), (0,)), ((), ())))


def _sum_of_products(x: Array, y: Array) -> Array:
    """Compute x^T y, [n, a], [n, b] -> [a, b], by transposing the narrower of the two."""
    if x.shape[1] <= y.shape[1]:
        return x.T @ y
    # Without the barrier XLA would go back to transposing the wider one.
    return lax.optimization_barrier(y.T @ x).T


def _in_memory(x: Array) -> Array:
    """Reshape [n, h, w, c] to a matrix [n h w, c] that XLA computes before any product uses it."""
    return lax.optimization_barrier(x.reshape(-1, x.shape[-1]))


def relu(x: Array) -> Array:
    """max(x, 0), with gradient 0 at 0."""
    return _relu_cpu(x) if jax.default_backend() == "cpu" else nn.relu(x)


@jax.custom_vjp
def _relu_cpu(x: Array) -> Array:
    """`nn.relu` as a selection, with a gradient masked by the result.

    XLA's CPU backend computes a maximum again for each of its uses, but a selection only once. A
    residual block adds to the result of the block before, so that with maxima each block summed
    its whole layer again.
    """
    return nn.relu(x)


def _relu_cpu_forward(x: Array) -> tuple[Array, Array]:
    y = jnp.where(x <= 0, 0, x)  # NaN stays NaN
    return y, y


def _relu_cpu_backward(y: Array, g: Array) -> tuple[Array]:
    return (jnp.where(y > 0, g, 0),)


_relu_cpu.defvjp(_relu_cpu_forward, _relu_cpu_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_normalize(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None = None
) -> tuple[Array, Array, Array]:
    """Normalise by the batch's own statistics.

    The gradient is written out (Ioffe and Szegedy, 2015, section 3). It needs two sums, which
    devices exchange together.

    Args:
      x: activations [..., c].
      scale: [c] factors of the normalised activations.
      bias: [c] summands of the scaled activations.
      epsilon: number added to the variance.
      axis_name: mapped axis whose devices share the statistics, or None.

    Returns:
      The normalised activations in the shape of `x`, and the mean and the biased variance of `x`
      [c], all in at least float32. No gradient flows through mean and variance.
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

    # Two passes, because E[x^2] - E[x]^2 cancels if the mean is large. It left the training
    # features of a ResNet-50 in float32 four times further from float64 than PyTorch's are.
    mean = global_mean(widened(x))
    mean, mean_of_var = _apart(mean)
    var = global_mean(jnp.square(widened(x) - mean_of_var))
    deviation = lax.rsqrt(var + epsilon)
    y = (widened(x) - mean) * (deviation * scale) + bias
    return (y, mean, var), (x, scale, bias, mean, deviation)


def _batch_normalize_backward(
    epsilon: float, axis_name: str | None, residuals: _Residuals, gradients: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    x, scale, bias, mean, deviation = residuals
    g = gradients[0]
    axes = tuple(range(x.ndim - 1))
    mean, mean_of_sum = _apart(mean)
    sums = jnp.stack([g.sum(axes), (g * (widened(x) - mean_of_sum)).sum(axes) * deviation])
    own_bias, own_scale = sums
    if not _alone(axis_name):
        sums = lax.psum(sums, axis_name)
    of_mean, of_scale = sums / values_per_channel(x, axis_name)
    # The input's gradient is g without its mean and its part along the normalised input.
    factor = deviation * scale
    x_gradient = factor * (g - of_mean) - (widened(x) - mean) * (factor * deviation * of_scale)
    return (
        x_gradient.astype(x.dtype),
        own_scale.astype(scale.dtype),
        own_bias.astype(bias.dtype),
    )


batch_normalize.defvjp(_batch_normalize_forward, _batch_normalize_backward)


def widened(x: Array) -> Array:
    """`x` in at least float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def values_per_channel(x: Array, axis_name: str | None) -> int:
    """Number of values per channel of [..., c], on all devices of `axis_name` together."""
    return x.size // x.shape[-1] * (1 if axis_name is None else lax.axis_size(axis_name))


def _alone(axis_name: str | None) -> bool:
    """Whether this is the only device, so that XLA's CPU backend would exchange with itself."""
    return axis_name is None or lax.axis_size(axis_name) == 1


def _apart(mean: Array) -> list[Array]:
    """The mean [c] twice, for two passes over the activations.

    If both passes subtracted the same array, XLA's CPU backend would write the difference to
    memory.
    """
    return lax.optimization_barrier([mean] * 2) if jax.default_backend() == "cpu" else [mean] * 2
