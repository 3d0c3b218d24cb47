"""Distances between embeddings."""

import jax
import jax.numpy as jnp
from jax import Array


def at_least_float32(x: Array) -> Array:
    """`x` in float64 if it is, else in float32."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def euclidean(x: Array, y: Array) -> Array:
    """Euclidean distance between every row of `x` and every row of `y`.

    The square is clamped at 1e-12 before the root, so that no distance is below 1e-6 and the
    gradient at coincident rows is finite. Same form as the released code.

    Args:
        x: [m, d] embeddings.
        y: [n, d] embeddings.

    Returns:
        [m, n] distances, at least 1e-6, in float32 or float64.

    Raises:
        ValueError: if `x` or `y` is not a matrix, or they differ in d.
    """
    x, y = at_least_float32(x), at_least_float32(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"euclidean: want [m, d] and [n, d], got {x.shape} and {y.shape}")
    # The difference of large numbers below loses everything in TF32 or bfloat16 products.
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :] - 2 * products
    return jnp.sqrt(jnp.maximum(squares, 1e-12))
