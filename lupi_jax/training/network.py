"""Make the network of a configuration, and its variables before the first step."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from lupi_jax.config import Config
from lupi_jax.declared import is_part
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize, remarks_on
from lupi_jax.parts import calling
from lupi_jax.runtime.terminal import say

_COMPUTE = {"float32": None, "bfloat16": jnp.bfloat16, "float64": None}


def make_model(config: Config, num_classes: int, axis_name: str | None = None) -> EmbedNet:
    """Make the network of `config` for training.

    Raises:
      InputError: `config.dtype` is float64, but JAX is not in its 64-bit mode.
    """
    if config.dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise InputError(
            "dtype = float64 needs JAX's 64-bit mode: set JAX_ENABLE_X64=1 in the environment"
        )
    return EmbedNet(
        num_classes,
        **dataclasses.asdict(config.model),
        dtype=_COMPUTE[config.dtype],
        axis_name=axis_name,
        precision=None if config.precision == "default" else config.precision,
        image_size=config.data.image_size,
    )


def for_evaluation(config: Config, model: EmbedNet) -> EmbedNet:
    """`model` for test time, with the matrix precision of `config.evaluation`."""
    if config.dtype == "bfloat16":
        return model
    return model.clone(precision=config.evaluation.precision)


def trained_modalities(config: Config) -> tuple[Modality, ...]:
    """The modalities that the network has a stem for."""
    return tuple(Modality(m) for m in config.modalities)


def as_parameters(config: Config, variables: Any) -> Any:
    """Copy `variables` to the dtype of a run's parameters and statistics."""
    dtype = jnp.float64 if config.dtype == "float64" else jnp.float32
    return jax.tree.map(lambda x: jnp.array(x, dtype), variables)


def fresh_variables(config: Config, model: EmbedNet) -> dict[str, Any]:
    """Draw the network's variables from the run's seed.

    Raises:
      InputError: a backbone of the user's own fails or breaks its contract.
    """
    key = jax.random.key(config.seed)
    own = is_part(model.backbone)
    with calling("model.backbone", model.backbone) if own else nullcontext():
        variables = initialize(model, key, trained_modalities(config), config.data.image_size)
    if own:
        _check_variables(model.backbone, variables)
    return as_parameters(config, variables)


def _check_variables(backbone: str, variables: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a backbone of the user's own names its modules and collections as agreed.

    Raises:
      InputError: a collection or a module has another name.
    """
    others = sorted(variables.keys() - {"params", "batch_stats"})
    if others:
        raise InputError(
            f"model.backbone = {backbone} has the collection {others[0]}: keep variables in params "
            "and batch_stats"
        )
    known = {"trunk", "neck", "classifier", *(f"stem_{m}" for m in Modality)}
    for collection in variables.values():
        if wrong := sorted(collection.keys() - known):
            raise InputError(
                f"model.backbone = {backbone} makes a module named {wrong[0]}: give stem and trunk "
                "the name that they are called with"
            )


def say_remarks(source: str, tensors: Mapping[str, np.ndarray], model: EmbedNet) -> list[str]:
    """Print the remarks of `remarks_on` about weights from `source` on stderr, and return them."""
    remarks = remarks_on(tensors, model)
    for remark in remarks:
        say(f"{source}: {remark}")
    return remarks


def abstract(make: Callable[[], Any], sharding: Sharding) -> Any:
    """Shapes, dtypes and placement of the result of `make`, for restoring a checkpoint.

    The placement is set here, because a checkpoint's own may name devices that do not exist here.
    """
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), jax.eval_shape(make)
    )
