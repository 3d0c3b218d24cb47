"""Losses that draw learnt intermediate images towards infrared ones."""

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array, lax

from lupi_jax.losses.distances import at_least_float32, euclidean


def squared_mmd(x: Array, y: Array) -> Array:
    """Squared maximum mean discrepancy of two sets of rows, with a Gaussian kernel.

    This is the biased estimate of Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Eq. 5,
    which is never negative. The bandwidth is the median distance between two different rows of x
    and y, and carries no gradient. `evaluation.maximum_mean_discrepancy` is the unbiased estimate.

    Args:
        x: [m, d].
        y: [n, d].

    Returns:
        Scalar, 0 to 2.

    Raises:
        ValueError: if `x` or `y` is not a matrix, or if their d differs.
    """
    rows = jnp.concatenate([at_least_float32(x), at_least_float32(y)])
    distances = euclidean(rows, rows)
    upper = jnp.triu_indices(len(rows), 1)
    bandwidth = lax.stop_gradient(jnp.median(distances[upper]))
    kernel = jnp.exp(-((distances / bandwidth) ** 2) / 2)
    m = len(x)
    return kernel[:m, :m].mean() + kernel[m:, m:].mean() - 2 * kernel[:m, m:].mean()


class Discriminator(nn.Module):
    """Guesses whether a row comes from a generated or an infrared image.

    The gradient that reaches the rows is reversed (Ganin et al., "Domain-Adversarial Training of
    Neural Networks", JMLR 2016). So the discriminator learns to tell them apart, and the generator
    learns to make that hard.

    Attributes:
      width: number of hidden units.
    """

    width: int = 32

    @nn.compact
    def __call__(self, generated: Array, infrared: Array) -> Array:
        """The mean cross-entropy of the guesses about rows [m, d] and [n, d]; log 2 by chance."""
        rows = jnp.concatenate([at_least_float32(generated), at_least_float32(infrared)])
        centre, spread = rows.mean(0), rows.std(0) + 1e-6
        rows = (rows - lax.stop_gradient(centre)) / lax.stop_gradient(spread)
        rows = 2 * lax.stop_gradient(rows) - rows
        guesses = nn.Dense(1)(nn.relu(nn.Dense(self.width, name="hidden")(rows)))[:, 0]
        truth = jnp.arange(len(rows)) < len(generated)
        return optax.sigmoid_binary_cross_entropy(guesses, truth.astype(guesses.dtype)).mean()
