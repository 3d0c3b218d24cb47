"""The operations and their gradients against their plain forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lupi_jax.models import operations


def brute_force_conv(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    size = kernel.shape[0]
    pad = (size - 1) // 2
    n, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = np.zeros((n, -(-h // stride), -(-w // stride), kernel.shape[3]))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = np.tensordot(window, kernel, 3)
    return out


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
# The last two are computed by products of matrices.
@pytest.mark.parametrize("shape", [(16, 14), (15, 13), (4, 2), (1, 3)])
def test_convolution_and_its_gradients(size: int, stride: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, *shape, 3))
    kernel = rng.normal(size=(size, size, 3, 4))
    with jax.enable_x64(True):
        y = jax.jit(operations.conv2d, static_argnums=2)(x, kernel, stride)
        np.testing.assert_allclose(y, brute_force_conv(x, kernel, stride), atol=1e-12)
        weights = jnp.asarray(rng.normal(size=y.shape))

        def xla(x, kernel, stride):
            pad, names = 2 * [((size - 1) // 2,) * 2], ("NHWC", "HWIO", "NHWC")
            return lax.conv_general_dilated(x, kernel, 2 * [stride], pad, dimension_numbers=names)

        def total(conv, x, kernel):
            return jnp.sum(conv(x, kernel, stride) * weights)

        gradients = jax.jit(jax.grad(total, (1, 2)), static_argnums=0)
        plain = gradients(xla, x, kernel)
        for conv in (
            operations.conv2d,
            operations._conv2d,
        ):  # a CPU's, and the other devices'
            for ours, theirs in zip(gradients(conv, x, kernel), plain, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_batch_norm_has_the_gradient_of_its_definition() -> None:
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        x, weights = jnp.asarray(rng.normal(2.0, 3.0, size=(2, 4, 3, 2, 5)))
        scale, bias = jnp.asarray(rng.normal(size=(2, 5)))

        def plain(x, scale, bias):
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            return (x - mean) / jnp.sqrt(var + 0.1) * scale + bias, mean, var

        def total(normalize, *arguments):
            return jnp.sum(normalize(*arguments)[0] * weights)

        def ours(x, scale, bias):
            return operations.batch_normalize(x, scale, bias, 0.1)

        for mine, expected in zip(ours(x, scale, bias), plain(x, scale, bias), strict=True):
            np.testing.assert_allclose(mine, expected, atol=1e-13)
        mine, expected = (jax.grad(total, (1, 2, 3))(f, x, scale, bias) for f in (ours, plain))
        for found, true in zip(mine, expected, strict=True):
            np.testing.assert_allclose(found, true, atol=1e-12)
        half = jax.grad(total, 1)(ours, x.astype(jnp.bfloat16), scale, bias)
    assert half.dtype == jnp.bfloat16


def test_relu_and_its_gradient() -> None:
    x = jnp.array([-2.0, -0.0, 0.0, 3.0, jnp.nan, jnp.inf])
    y, gradient_of = jax.vjp(operations.relu, x)  # as training computes it
    for found in (y, operations.relu(x)):
        np.testing.assert_array_equal(found, [0, 0, 0, 3, np.nan, np.inf])
    np.testing.assert_array_equal(gradient_of(jnp.arange(1.0, 7.0))[0], [0, 0, 0, 4, 0, 6])
