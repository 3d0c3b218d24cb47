"""First parameters of what only training needs: a learnt mix, a discriminator, an own loss."""

from typing import Any

import jax
import jax.numpy as jnp

from lupi_jax.config import Config
from lupi_jax.losses import Discriminator, ExtraLoss
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, shallow_features
from lupi_jax.training.network import as_parameters, fresh_variables
from lupi_jax.training.own import parameters_of_loss
from lupi_jax.training.step import DISCRIMINATOR, EXTRA_LOSS, GENERATOR
from lupi_jax.views import Generator


def parameters_beside(config: Config, model: EmbedNet, extra: ExtraLoss | None) -> dict[str, Any]:
    """Draw the parameters for `TrainState.beside` from the run's seed.

    Args:
      config: the run's configuration.
      model: its network.
      extra: a loss of the user's own.

    Raises:
      InputError: the loss of the user's own fails, or returns something else than named scalars.
    """
    found: dict[str, Any] = {}
    if extra is not None:
        found[EXTRA_LOSS] = parameters_of_loss(config, model, extra)
    if config.views.intermediate == "adaptive":
        found[GENERATOR] = fresh_generator(config)
    if config.loss.modality == "adversarial":
        rows = jnp.zeros((2, _shallow_length(config, model)))
        key = jax.random.fold_in(jax.random.key(config.seed), 3)
        drawn = Discriminator().init(key, rows, rows)
        found[DISCRIMINATOR] = as_parameters(config, drawn["params"])
    return {name: params for name, params in found.items() if params}


def fresh_generator(config: Config) -> Any:
    """Draw the parameters of the generator of intermediate images."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    drawn = Generator(config.views.adaptive_context).init(key, jnp.zeros((4, 4, 3)))
    return as_parameters(config, drawn["params"])


def _shallow_length(config: Config, model: EmbedNet) -> int:
    """The length of the network's `shallow_features`."""
    variables = jax.eval_shape(lambda: fresh_variables(config, model))
    images = jax.ShapeDtypeStruct((2, *config.data.image_size, 3), jnp.float32)

    def shallow(variables: Any, images: jax.Array) -> jax.Array:
        return shallow_features(model, variables, images, Modality.INFRARED)

    return jax.eval_shape(shallow, variables, images).shape[-1]
