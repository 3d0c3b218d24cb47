"""A discriminator of modalities whose gradient is reversed, so that features hide the modality.

It has parameters of its own, which the run trains and saves.

Source: Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 2016; for
visible-infrared re-ID see Dai et al., "Cross-Modality Person Re-Identification with Generative
Adversarial Training", IJCAI 2018.

    lupi train ... --config.loss.extra=modality_adversary:ModalityAdversary \\
        --config.loss.extra_settings.strength=0.1
"""

from collections.abc import Mapping

import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array, lax

import lupi_jax as lupi


class ModalityAdversary(nn.Module):
    """Two layers that guess each row's modality from its pooled feature.

    Attributes:
      width: number of hidden units.
      strength: factor of the reversed gradient that reaches the network.
    """

    width: int = 64
    strength: float = 0.1

    @nn.compact
    def __call__(
        self, embeddings: Mapping[lupi.Modality, lupi.Embedding], labels: Array
    ) -> dict[str, Array]:
        """The cross-entropy of the guesses."""
        x = jnp.concatenate([each.pooled for each in embeddings.values()])
        x = (1 + self.strength) * lax.stop_gradient(x) - self.strength * x  # x, gradient reversed
        hidden = nn.relu(nn.Dense(self.width)(x))
        guesses = nn.Dense(len(embeddings))(hidden)
        truth = jnp.repeat(jnp.arange(len(embeddings)), len(labels))
        loss = optax.softmax_cross_entropy_with_integer_labels(guesses, truth)
        return {"adversary": loss.mean()}
