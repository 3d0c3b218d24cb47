"""A run on disk: what it is built from, and how to get its network back."""

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lupi_jax.config import Config, differences, parse_config
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize
from lupi_jax.training.checkpoints import Checkpoints

# Fields that a run may be resumed with other values of: they do not change its numbers.
RESUMABLE = ("steps", "epochs", "parallel", "data.feed", "data.workers", "data.prefetch",
             "log.every", "log.checkpoint_every", "log.keep")  # fmt: skip


def make_model(config: Config, num_classes: int, axis_name: str | None = None) -> EmbedNet:
    """The network `config` describes."""
    return EmbedNet(
        num_classes,
        **dataclasses.asdict(config.model),
        dtype=jnp.bfloat16 if config.dtype == "bfloat16" else None,
        axis_name=axis_name,
    )


def fresh_variables(config: Config, model: EmbedNet) -> dict[str, Any]:
    """The network's variables before the first step, drawn from the run's seed."""
    modalities = tuple(Modality(m) for m in config.modalities)
    return initialize(model, jax.random.key(config.seed), modalities, config.data.image_size)


def run_record(config: Config, num_classes: int) -> dict[str, Any]:
    """What a checkpoint says of its run, plain values that survive JSON."""
    packages = ("lupi-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "config": dataclasses.asdict(config),
        "num_classes": num_classes,
        "versions": {name: version(name) for name in packages},
    }


def check_same_run(saved: dict[str, Any], config: Config, num_classes: int, workdir: Path) -> None:
    """Refuse to go on in a workdir with what would be another run.

    Raises:
      InputError: names the fields that differ.
    """
    changed = differences(parse_config(saved["config"]), config)
    changed = [name for name in changed if name not in RESUMABLE]
    if saved["num_classes"] != num_classes:
        changed.append(f"the number of training identities ({saved['num_classes']}, {num_classes})")
    if changed:
        raise InputError(
            f"{workdir} holds a run with another configuration; differing: {', '.join(changed)}. "
            "Give the same values, or another --workdir"
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
            return Run(model, fresh_variables(config, model), config, 0, record)
        like = jax.eval_shape(lambda: fresh_variables(config, model))
        return Run(model, checkpoints.variables(step, like), config, step, record)


def load(workdir: str | Path, checkpoint: str | int = "newest") -> tuple[EmbedNet, Any]:
    """The network of a run and its variables: (model, variables). See `load_run`."""
    run = load_run(workdir, checkpoint)
    return run.model, run.variables
