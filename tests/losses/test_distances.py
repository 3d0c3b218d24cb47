import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax.losses import euclidean


def test_hand_values():
    # (0, 0)-(3, 4): 5; (0, 0)-(0, 1): 1; (1, 1)-(3, 4): sqrt(4 + 9); (1, 1)-(0, 1): 1.
    x = jnp.asarray([[0.0, 0.0], [1.0, 1.0]])
    y = jnp.asarray([[3.0, 4.0], [0.0, 1.0]])
    np.testing.assert_allclose(euclidean(x, y), [[5, 1], [13**0.5, 1]], rtol=1e-6)


def test_matches_differences_in_float64():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 7)), rng.normal(size=(4, 7))
    expected = np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))
    with jax.enable_x64(True):
        found = euclidean(jnp.asarray(x), jnp.asarray(y))
        assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_coincident_rows_are_clamped_with_zero_gradient():
    x = jnp.asarray([[1.0, 2.0]])
    distance, gradient = jax.value_and_grad(lambda x, y: euclidean(x, y).sum(), (0, 1))(x, x)
    np.testing.assert_allclose(distance, 1e-6, rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.zeros((2, 1, 2)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_short_types_are_promoted(dtype):
    # 2048 + 1 does not exist in bfloat16 or float16: the root of 1^2 + 2048 needs float32.
    x, y = jnp.asarray([[1, 32, 32]], dtype), jnp.asarray([[0, 0, 0]], dtype)
    found = euclidean(x, y)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [[2049**0.5]], rtol=1e-6)


def test_nan_is_not_hidden():
    x = jnp.asarray([[jnp.nan, 0.0]])
    assert jnp.isnan(euclidean(x, jnp.zeros((1, 2)))).all()


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (2, 3)), ((2, 3), (1, 2, 3))])
def test_shapes_are_checked(shapes):
    with pytest.raises(ValueError, match="euclidean"):
        euclidean(jnp.zeros(shapes[0]), jnp.zeros(shapes[1]))
