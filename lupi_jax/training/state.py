"""What a training step changes."""

from typing import Any

import jax.numpy as jnp
import optax
from flax import struct
from jax import Array


class TrainState(struct.PyTreeNode):
    """Everything a checkpoint holds and a step replaces.

    Attributes:
      step: int32 scalar, steps taken; with the seed it fixes the next batch and its views.
      params: the network's parameters.
      batch_stats: running statistics of batch normalisation.
      opt_state: the optimiser's momentum.
    """

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @classmethod
    def create(cls, variables: dict[str, Any], tx: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        params = variables["params"]
        return cls(jnp.zeros((), jnp.int32), params, variables["batch_stats"], tx.init(params))

    @property
    def variables(self) -> dict[str, Any]:
        """What the network is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}
