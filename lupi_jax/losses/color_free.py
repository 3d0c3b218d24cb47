"""Colour-free losses, which pull the features of a visible and its intermediate image together."""

import jax
import jax.numpy as jnp
from jax import Array

from lupi_jax.losses.distances import at_least_float32


def _check_pairs(what: str, first: Array, second: Array) -> None:
    shapes = jnp.shape(first), jnp.shape(second)
    if len(shapes[0]) != 2 or shapes[0] != shapes[1]:
        raise ValueError(f"{what}: expected two arrays [n, d], got {shapes[0]} and {shapes[1]}")


def color_free(
    visible: Array,
    intermediate: Array,
    visible_logits: Array,
    intermediate_logits: Array,
    threshold: float = 0.5,
    alpha: float = 0.5,
    norm: str = "l2",
) -> Array:
    """Colour-free loss of the paper (Eq. 6).

    A pair is a visible image and its intermediate image. Its loss is the distance `|f_v - f_z|` of
    its features if that exceeds `threshold`, else `alpha * KL(C(f_v) || C(f_z))`, where C are the
    classifier's probabilities. The result is the mean over pairs. The paper does not name the norm
    of the distance. The released code has neither the threshold nor the divergence (see
    `color_free_mse`).

    Args:
        visible: [n, d] embeddings of visible images.
        intermediate: [n, d] embeddings of the intermediate images made from the same images.
        visible_logits: [n, c] classifier outputs, before the softmax.
        intermediate_logits: [n, c] classifier outputs, before the softmax.
        threshold: distance above which the distance itself is minimised; 0 or more.
        alpha: weight of the divergence; 0 or more.
        norm: "l2", the Euclidean distance, or "l1_mean", the mean absolute difference.

    Returns:
        Scalar, 0 or more. Equal features and logits give 0, with gradient 0.

    Raises:
        ValueError: if shapes do not agree or `norm` is neither "l2" nor "l1_mean".
    """
    _check_pairs("color_free, features", visible, intermediate)
    _check_pairs("color_free, logits", visible_logits, intermediate_logits)
    if len(visible) != len(visible_logits):
        raise ValueError(f"color_free: {len(visible)} features, {len(visible_logits)} logits")
    difference = at_least_float32(visible) - at_least_float32(intermediate)
    if norm == "l2":
        square = jnp.sum(difference * difference, axis=1)
        # The root's gradient at 0 is infinite, and times the 0 of an unused branch it is NaN.
        equal = square == 0
        distance = jnp.where(equal, 0, jnp.sqrt(jnp.where(equal, 1, square)))
    elif norm == "l1_mean":
        distance = jnp.mean(jnp.abs(difference), axis=1)
    else:
        raise ValueError(f'norm: expected "l2" or "l1_mean", got {norm!r}')

    log_p = jax.nn.log_softmax(at_least_float32(visible_logits), axis=1)
    log_q = jax.nn.log_softmax(at_least_float32(intermediate_logits), axis=1)
    divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1)
    # NaN <= threshold is false. Written this way round, a NaN distance reaches the loss.
    return jnp.mean(jnp.where(distance <= threshold, alpha * divergence, distance))


def color_free_mse(visible: Array, intermediate: Array) -> Array:
    """Colour-free loss of the released code, the mean squared error over all n * d values.

    The released code multiplies this by 10, the weight lambda of Eq. 7.

    Args:
        visible: [n, d] embeddings of visible images.
        intermediate: [n, d] embeddings of the intermediate images made from the same images.

    Returns:
        Scalar, 0 or more; its gradient reaches both arguments.

    Raises:
        ValueError: if shapes do not agree.
    """
    _check_pairs("color_free_mse", visible, intermediate)
    return jnp.mean(jnp.square(at_least_float32(visible) - at_least_float32(intermediate)))
