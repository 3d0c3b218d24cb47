"""Identity loss."""

import jax.numpy as jnp
import optax
from jax import Array

from lupi_jax.losses.distances import at_least_float32, checked_labels


def identity_cross_entropy(logits: Array, labels: Array) -> Array:
    """Softmax cross-entropy of the classifier, averaged over rows (L_id of Eq. 8).

    Args:
        logits: [n, c] classifier outputs, before the softmax.
        labels: [n] identities as class numbers, 0 to c - 1. A label outside that range gives NaN.

    Returns:
        Scalar, 0 or more.

    Raises:
        ValueError: if shapes do not agree, or labels are not whole numbers.
    """
    labels = checked_labels("identity_cross_entropy, labels", logits, labels)
    losses = optax.softmax_cross_entropy_with_integer_labels(at_least_float32(logits), labels)
    return jnp.mean(losses)
