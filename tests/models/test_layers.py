"""Layers against hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lupi_jax.models import layers


def test_batch_norm_keeps_the_unbiased_variance() -> None:
    x = jnp.array([[1.0], [3.0], [5.0], [7.0]])
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=True)
    y, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    # Mean 4; squared deviations 9, 1, 1, 9: biased variance 5, unbiased 20 / 3.
    np.testing.assert_allclose(y[:, 0], np.array([-3, -1, 1, 3]) / np.sqrt(5 + 1e-5), rtol=1e-6)
    stats = updates["batch_stats"]
    np.testing.assert_allclose(stats["mean"], [0.1 * 4], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], [0.9 + 0.1 * 20 / 3], rtol=1e-6)


def test_frozen_bias_takes_no_gradient_but_counts() -> None:
    norm = layers.BatchNorm(frozen_bias=True)
    x = jnp.array([[1.0], [2.0]])
    variables = norm.init(jax.random.key(0), x, train=False)
    params = {"scale": jnp.ones(1), "bias": jnp.full(1, 5.0)}

    def total(params):
        return norm.apply({**variables, "params": params}, x, train=False).sum()

    assert float(total(params)) == pytest.approx(3.0 / np.sqrt(1 + 1e-5) + 10.0)
    gradient = jax.grad(total)(params)
    assert float(gradient["bias"][0]) == 0.0
    assert float(gradient["scale"][0]) == pytest.approx(3.0, rel=1e-4)


def test_non_local_block_is_the_full_matrix_product() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 2, 4)).astype(np.float32)
    block = layers.NonLocal()
    variables = block.init(jax.random.key(1), x, train=False)
    np.testing.assert_array_equal(block.apply(variables, x, train=False), x)  # starts as identity
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), variables["params"])
    out = block.apply({**variables, "params": params}, x, train=False)
    flat = x.reshape(2, 6, 4)

    def project(name: str) -> np.ndarray:
        kernel, bias = params[name]["kernel"][0, 0], params[name]["bias"]
        return flat @ np.asarray(kernel) + np.asarray(bias)

    affinity = project("theta") @ project("phi").transpose(0, 2, 1) / 6
    y = (affinity @ project("g")) @ np.asarray(params["out"]["kernel"][0, 0])
    y = y + np.asarray(params["out"]["bias"])
    scale, bias = (np.asarray(params["out_bn"][k]) for k in ("scale", "bias"))
    expected = x + (y / np.sqrt(1 + 1e-5) * scale + bias).reshape(x.shape)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_generalized_mean_pool_by_hand() -> None:
    x = jnp.array([0.0, 0.0, 0.0, 2.0]).reshape(1, 2, 2, 1)
    assert float(layers.generalized_mean_pool(x)[0, 0]) == pytest.approx(2.0 ** (1 / 3))  # (8/4)^⅓
    assert float(layers.average_pool(x)[0, 0]) == 0.5
    zero = jax.grad(lambda x: layers.generalized_mean_pool(x).sum())(jnp.zeros((1, 2, 2, 1)))
    assert np.all(np.isfinite(zero))
    assert layers.generalized_mean_pool(x.astype(jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("shape", [(8, 6), (7, 5), (1, 2)])
def test_max_pool_and_its_gradient_are_xla_s(shape: tuple[int, int]) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *shape, 3)), jnp.float32)

    def plain(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    np.testing.assert_array_equal(layers.max_pool(x), plain(x))
    ours, theirs = (jax.grad(lambda x, f=f: (f(x) ** 2).sum())(x) for f in (layers.max_pool, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_max_pool_pads_with_nothing() -> None:
    x = -jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(layers.max_pool(x)[0, :, :, 0], [[-1, -2], [-5, -6]])
