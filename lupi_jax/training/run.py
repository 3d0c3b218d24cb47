"""A run on disk: what it is built from, and how to get its network back."""

import dataclasses
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Sharding, SingleDeviceSharding

from lupi_jax.config import Config, differences, parse_config
from lupi_jax.data import Index
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, from_torch, initialize, read_state_dict
from lupi_jax.training.checkpoints import Checkpoints

# Fields that a run may be resumed with other values of: they do not change its numbers.
RESUMABLE = ("steps", "epochs", "data.root", "data.feed",
             "data.workers", "data.prefetch", "log.every", "log.checkpoint_every",
             "log.keep")  # fmt: skip


def make_model(config: Config, num_classes: int, axis_name: str | None = None) -> EmbedNet:
    """The network `config` describes."""
    return EmbedNet(
        num_classes,
        **dataclasses.asdict(config.model),
        dtype=jnp.bfloat16 if config.dtype == "bfloat16" else None,
        axis_name=axis_name,
    )


def fresh_variables(config: Config, model: EmbedNet) -> dict[str, Any]:
    """The network's variables drawn from the run's seed."""
    modalities = tuple(Modality(m) for m in config.modalities)
    return initialize(model, jax.random.key(config.seed), modalities, config.data.image_size)


def initial_variables(config: Config, model: EmbedNet) -> dict[str, Any]:
    """The network's variables before the first step: fresh, or with pre-trained weights.

    Raises:
      InputError: the pre-trained weights are missing or do not fit.
    """
    variables = fresh_variables(config, model)
    if not config.pretrained:
        return variables
    modalities = tuple(Modality(m) for m in config.modalities)
    tensors = read_state_dict(config.pretrained)
    variables = from_torch(tensors, model, modalities, initial=variables)
    return jax.tree.map(lambda x: jnp.array(x, jnp.float32), variables)


def run_record(config: Config, training: Index) -> dict[str, Any]:
    """What a checkpoint says of its run, plain values that survive JSON.

    Args:
      config: of the run.
      training: the images trained on; their fingerprint tells this data set from others.
    """
    packages = ("lupi-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "config": dataclasses.asdict(config),
        "num_classes": len(training.classes),
        "data": training.fingerprint,
        "versions": {name: version(name) for name in packages},
    }


def check_same_run(saved: dict[str, Any], record: dict[str, Any], workdir: Path) -> None:
    """Refuse to go on in a workdir with what would be another run.

    Args:
      saved: the `run_record` in the checkpoint.
      record: that of the run to come.
      workdir: where both live.

    Raises:
      InputError: names the fields that differ.
    """
    changed = differences(parse_config(saved["config"]), parse_config(record["config"]))
    changed = [name for name in changed if name not in RESUMABLE]
    if saved["data"] != record["data"]:
        changed.append("the training images")
    if changed:
        raise InputError(
            f"{workdir} holds a run with another configuration; differing: {', '.join(changed)}. "
            "Give the same values, or another --workdir"
        )


def abstract(make: Callable[[], Any], sharding: Sharding) -> Any:
    """Shapes, dtypes and placement of what `make` would make: what to restore a checkpoint as.

    The placement is said because a checkpoint's own may name devices that are not here.
    """
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), jax.eval_shape(make)
    )


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained network and where it came from.

    Attributes:
      model: the network.
      variables: its parameters and running statistics.
      config: of the run.
      step: of the checkpoint; 0 for the untrained network.
      record: what the checkpoint says of the run.
    """

    model: EmbedNet
    variables: Any
    config: Config
    step: int
    record: dict[str, Any]


def load_run(workdir: str | Path, checkpoint: str | int = "newest", untrained: bool = False) -> Run:
    """Rebuild the network of a run from its checkpoint alone.

    Args:
      workdir: of `lupi train`.
      checkpoint: "newest", "best" (by validation mAP) or a step.
      untrained: the network as it was before the first step instead.

    Raises:
      InputError: there is no such checkpoint.
    """
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.find(checkpoint)
        record = checkpoints.run(step)
        config = parse_config(record["config"])
        model = make_model(config, record["num_classes"])
        if untrained:
            return Run(model, initial_variables(config, model), config, 0, record)
        here = SingleDeviceSharding(jax.devices()[0])
        like = abstract(lambda: fresh_variables(config, model), here)
        return Run(model, checkpoints.variables(step, like), config, step, record)


def load(workdir: str | Path, checkpoint: str | int = "newest") -> tuple[EmbedNet, Any]:
    """The network of a run and its variables: (model, variables). See `load_run`."""
    run = load_run(workdir, checkpoint)
    return run.model, run.variables
