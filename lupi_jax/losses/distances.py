"""Distances between embeddings, and the checks that all losses make of their arrays.

The checks cover shapes and types, which are also known under `jit`, but not values.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def at_least_float32(x: Array) -> Array:
    """Convert `x` to float32; float64 stays.

    Raises:
        ValueError: if `x` does not hold real numbers.
    """
    x = jnp.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise ValueError(f"expected embeddings and logits of real numbers, got {x.dtype}")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def checked_labels(what: str, rows: Array, labels: Array) -> Array:
    """Return the `labels` [n] of `rows` [n, d] as a JAX array.

    Args:
        what: name of the labels, for messages.
        rows: [n, d] array.
        labels: [n] whole numbers.

    Raises:
        ValueError: if shapes do not agree, the labels are not whole numbers, or one is too large
            for JAX's integer type and would wrap around.
    """
    given = labels if isinstance(labels, Array) else np.asarray(labels)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(f"{what}: expected whole numbers, got {given.dtype}")
    if jnp.ndim(rows) != 2 or given.shape != jnp.shape(rows)[:1]:
        raise ValueError(
            f"{what}: expected one label per row of [n, d], got {given.shape} for {jnp.shape(rows)}"
        )
    if isinstance(given, np.ndarray) and given.size:
        limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(given.dtype))
        if int(given.max()) > limits.max or int(given.min()) < limits.min:
            raise ValueError(f"{what}: expected numbers from {limits.min} to {limits.max}")
    return jnp.asarray(given)


def euclidean(x: Array, y: Array) -> Array:
    """Euclidean distance between every row of `x` and every row of `y`.

    The squared distance is clamped at 1e-12 before the root, as in the released code. Distances
    are therefore at least 1e-6, and the gradient of equal rows is finite.

    Args:
        x: [m, d] embeddings.
        y: [n, d] embeddings.

    Returns:
        [m, n] distances, at least 1e-6, in float32 or float64.

    Raises:
        ValueError: if `x` or `y` is not a matrix, or if their d differs.
    """
    x, y = at_least_float32(x), at_least_float32(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"euclidean: expected [m, d] and [n, d], got {x.shape} and {y.shape}")
    # TF32 or bfloat16 products would lose all digits of the difference of large numbers below.
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :] - 2 * products
    return jnp.sqrt(jnp.maximum(squares, 1e-12))
