"""Losses between learnt intermediate images and infrared ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax.losses import Discriminator, squared_mmd


def by_brute_force(x: np.ndarray, y: np.ndarray) -> float:
    rows = [*x, *y]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(rows) for b in rows[i + 1 :]]
    width = np.median(distances)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return np.exp(-np.sum((a - b) ** 2) / (2 * width**2))

    def mean(u: np.ndarray, v: np.ndarray) -> float:
        return float(np.mean([kernel(a, b) for a in u for b in v]))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_mmd_is_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)) + 1
    assert squared_mmd(jnp.asarray(x), jnp.asarray(y)) == pytest.approx(
        by_brute_force(x, y), rel=1e-4
    )
    assert abs(float(squared_mmd(jnp.asarray(x), jnp.asarray(x)))) < 1e-5
    far = float(squared_mmd(jnp.asarray(x), jnp.asarray(x) + 100))
    assert far > 0.5


def test_following_the_gradient_of_mmd_brings_the_sets_together() -> None:
    rng = np.random.default_rng(1)
    x, y = jnp.asarray(rng.normal(size=(8, 2))), jnp.asarray(rng.normal(size=(8, 2)) + 2)
    shift = jnp.zeros(2)
    for _ in range(50):
        shift -= 2.0 * jax.grad(lambda s: squared_mmd(x + s, y))(shift)
    np.testing.assert_allclose(shift, 2, atol=0.6)


def test_the_discriminator_learns_what_the_rows_unlearn() -> None:
    rng = np.random.default_rng(2)
    x, y = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.normal(size=(6, 3)) + 0.5)
    params = Discriminator().init(jax.random.key(0), x, y)
    assert Discriminator().apply(params, x, y) == pytest.approx(np.log(2), rel=0.5)

    def loss(params: object, x: jax.Array) -> jax.Array:
        return jnp.asarray(Discriminator().apply(params, x, y))

    (of_params, of_rows), step = jax.grad(loss, (0, 1))(params, x), 1e-2
    better = jax.tree.map(lambda p, g: p - step * g, params, of_params)
    assert loss(better, x) < loss(params, x)
    # Descending along what the rows get makes the guesses worse.
    assert loss(params, x - step * of_rows) > loss(params, x)
