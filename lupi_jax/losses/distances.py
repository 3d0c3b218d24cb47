"""Distances between embeddings, and what all losses check of the arrays they are given.

Shapes and types are checked, which are known under `jit` as well; values are not.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def at_least_float32(x: Array) -> Array:
    """`x` in float64 if it is, else in float32.

    Raises:
        ValueError: if `x` does not hold real numbers.
    """
    x = jnp.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
        raise ValueError(f"want embeddings and logits of real numbers, got {x.dtype}")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def checked_labels(what: str, rows: Array, labels: Array) -> Array:
    """`labels` [n] of `rows` [n, d], as an array of JAX.

    Raises:
        ValueError: if shapes do not agree, the labels are not whole numbers, or one is too large
            for JAX's type, which would make it another one.
    """
    labels = labels if isinstance(labels, Array) else np.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{what}: want whole numbers, got {labels.dtype}")
    if jnp.ndim(rows) != 2 or labels.shape != jnp.shape(rows)[:1]:
        raise ValueError(
            f"{what}: want one label a row of [n, d], got {labels.shape} for {jnp.shape(rows)}"
        )
    if isinstance(labels, np.ndarray) and labels.size:
        limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(labels.dtype))
        if int(labels.max()) > limits.max or int(labels.min()) < limits.min:
            raise ValueError(f"{what}: want numbers from {limits.min} to {limits.max}")
    return jnp.asarray(labels)


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
