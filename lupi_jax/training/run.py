"""A run on disk: what it is built from, and how to get its network back."""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from lupi_jax.config import Config, changeable, differences, parse_record
from lupi_jax.data import Index
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import (
    EmbedNet,
    classes_of,
    from_torch,
    initialize,
    modalities_of,
    read_state_dict,
    remarks_on,
)
from lupi_jax.runtime import hosts
from lupi_jax.runtime.phases import phase
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.parallel import everywhere, local_copy

# Fields that a run may be evaluated with other values of: they do not concern its network.
MOVABLE = changeable("evaluated")
# Fields that a run may be resumed with other values of: they do not change its numbers.
RESUMABLE = changeable("resumed")
# What a validation chooses by: with one, a run is resumed with the same only. It draws no trials.
JUDGING = tuple(n for n in MOVABLE if n.startswith("evaluation.") and n != "evaluation.trials")

_COMPUTE = {"float32": None, "bfloat16": jnp.bfloat16, "float64": None}


def make_model(config: Config, num_classes: int, axis_name: str | None = None) -> EmbedNet:
    """The network `config` describes, as it is trained.

    Raises:
      InputError: `config.dtype` is float64 and JAX is not in its 64-bit mode.
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
    )


def for_evaluation(config: Config, model: EmbedNet) -> EmbedNet:
    """`model` as it embeds images at test time: in the matrix precision of `config.evaluation`."""
    if config.dtype == "bfloat16":
        return model
    return model.clone(precision=config.evaluation.precision)


def _modalities(config: Config) -> tuple[Modality, ...]:
    return tuple(Modality(m) for m in config.modalities)


def _as_parameters(config: Config, variables: Any) -> Any:
    """`variables` in the dtype of a run's parameters and statistics, copied."""
    dtype = jnp.float64 if config.dtype == "float64" else jnp.float32
    return jax.tree.map(lambda x: jnp.array(x, dtype), variables)


def fresh_variables(config: Config, model: EmbedNet) -> dict[str, Any]:
    """The network's variables drawn from the run's seed."""
    key = jax.random.key(config.seed)
    variables = initialize(model, key, _modalities(config), config.data.image_size)
    return _as_parameters(config, variables)


def initial_variables(config: Config, model: EmbedNet, fetch: bool = False) -> dict[str, Any]:
    """The network's variables before the first step: fresh, or with pre-trained weights.

    Args:
      config: of the run.
      model: the network.
      fetch: whether pre-trained weights may come over the network; not because a configuration, or
        a checkpoint, which holds one, says so.

    Raises:
      InputError: the pre-trained weights are missing or do not fit.
    """
    # The file first: what is wrong with it shows at once.
    tensors = read_state_dict(config.pretrained, fetch) if config.pretrained else None
    variables = fresh_variables(config, model)
    if tensors is None:
        return variables
    try:
        variables = from_torch(
            tensors, model, _modalities(config), variables, config.pretrained_fresh
        )
    except InputError as error:
        raise InputError(f"{config.pretrained}: {error}") from error
    _say_remarks(config.pretrained, tensors, model)
    return _as_parameters(config, variables)


def _say_remarks(source: str, tensors: Mapping[str, np.ndarray], model: EmbedNet) -> list[str]:
    """What there is to say of weights, also said on stderr by the first of several processes."""
    remarks = remarks_on(tensors, model)
    for remark in remarks if hosts.is_first() else ():
        print(f"{source}: {remark}", file=sys.stderr)
    return remarks


def versions() -> dict[str, str]:
    """{package: version} of what a run's numbers depend on."""
    packages = ("lupi-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pillow")
    return {name: version(name) for name in packages}


def run_record(config: Config, training: Index, steps: int, steps_per_epoch: int) -> dict[str, Any]:
    """What a checkpoint says of its run, plain values that survive JSON.

    Args:
      config: of the run.
      training: the images trained on; their fingerprint tells this data set from others.
      steps: where the run ends.
      steps_per_epoch: the length of an epoch, on which schedule and end may depend.
    """
    return {
        "config": dataclasses.asdict(config),
        "steps": steps,
        "steps_per_epoch": steps_per_epoch,
        "num_classes": len(training.classes),
        "identities": training.classes.tolist(),
        "data": training.fingerprint,
        "versions": versions(),
    }


def check_same_run(saved: dict[str, Any], record: dict[str, Any], workdir: Path) -> None:
    """Refuse to go on in a workdir with what would be another run.

    Args:
      saved: the `run_record` in the checkpoint.
      record: the `run_record` of the run to come.
      workdir: where both live.

    Raises:
      InputError: names the fields that differ, or the two lengths of an epoch where the run
        counts epochs.
    """
    then, now = parse_record(saved["config"]), parse_record(record["config"])
    changed = differences(then, now)
    validated = now.data.validates
    fixed = set(JUDGING) if validated else set()
    changed = [name for name in changed if name not in RESUMABLE or name in fixed]
    if saved["data"] != record["data"]:
        changed.append("the training images")
    if changed:
        raise InputError(
            f"{workdir} holds a run with another configuration; differing: {', '.join(changed)}. "
            "Give the same values, or another --workdir"
        )
    before, after = saved["steps_per_epoch"], record["steps_per_epoch"]
    scheduled = now.optimizer.unit == "epochs"
    if before != after and (scheduled or now.epochs):
        remedy = (
            "Finish it with the version and the data set it began with"
            if scheduled
            else f"Give --config.steps={saved['steps']} to keep the planned number of steps"
        )
        raise InputError(
            f"{workdir} holds a run with {before} steps in an epoch, but an epoch now has {after} "
            f"steps. Going on would change its {'learning rates' if scheduled else 'length'}. "
            f"{remedy}, or train anew in another --workdir"
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
    """A network and where it came from.

    Attributes:
      model: the network.
      variables: its parameters and running statistics.
      config: of the run.
      name: what to call it: "step 600", "untrained", "released.t".
      step: of the checkpoint; 0 for an untrained network, None for one trained elsewhere.
      record: what results say of it.
      unfinished: steps its training has still to go.
    """

    model: EmbedNet
    variables: Any
    config: Config
    name: str
    step: int | None
    record: dict[str, Any]
    unfinished: int = 0

    @property
    def seen(self) -> tuple[int, ...] | None:
        """Identities it was trained on, as `config.data` numbers them; none of an untrained one.

        None where that is not known: of a network trained elsewhere, or on another folder, whose
        numbers are of other people.
        """
        if self.step == 0:
            return ()
        then, now = self.record["config"]["data"], self.config.data
        published = now.name in ("sysu", "regdb", "llcm")
        same = published or os.path.realpath(then["root"]) == os.path.realpath(now.root)
        return tuple(self.record["identities"]) if self.step and same else None

    @property
    def precision(self) -> dict[str, str]:
        """What results say of the dtype, and of the precision of products in it."""
        return {
            "dtype": self.config.dtype,
            "training": self.config.precision,
            "evaluation": self.model.precision or "default",
        }

    def under(self, config: Config) -> "Run":
        """The same network, to be evaluated with the fields `MOVABLE` of another configuration."""
        return dataclasses.replace(self, config=config, model=for_evaluation(config, self.model))


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
        config = parse_record(record["config"])
        model = for_evaluation(config, make_model(config, record["num_classes"]))
        if untrained:
            return Run(model, initial_variables(config, model), config, "untrained", 0, record)
        with phase("restoring"):
            like = abstract(lambda: fresh_variables(config, model), everywhere())
            variables = local_copy(checkpoints.variables(step, like))
        unfinished = record["steps"] - (checkpoints.newest or 0)
        return Run(model, variables, config, f"step {step}", step, record, max(0, unfinished))


def load_weights(config: Config, checkpoint: str) -> Run:
    """The network of a PyTorch training checkpoint (LUPI's, AGW's) and of a configuration.

    Args:
      config: describes the network; the number of classes is the file's, and of the configured
        modalities those are taken that it has a stem for.
      checkpoint: file or `hf://owner/name`, as `models.read_state_dict` reads.

    Raises:
      InputError: the file cannot be read, holds no trained network, or does not fit `config`.
    """
    tensors = read_state_dict(checkpoint)
    classes = classes_of(tensors)
    if classes is None:
        raise InputError(
            f"{checkpoint} holds no classifier, so no network trained to tell people apart: to "
            "evaluate a pre-trained backbone give --config.pretrained and --untrained instead"
        )
    foreign = [n for n in config.pretrained_fresh if n.startswith(("trunk", "neck", "stem_"))]
    if foreign:
        raise InputError(
            f"pretrained_fresh = {', '.join(foreign)}: a network without its trained weights is "
            "nothing to evaluate; set the configuration to the one it was trained with"
        )
    try:
        modalities = tuple(m for m in modalities_of(tensors) if str(m) in config.modalities)
        if not modalities:
            raise InputError(f"no stem for {' or '.join(config.modalities)} in these weights")
        config = dataclasses.replace(config, modalities=tuple(str(m) for m in modalities))
        model = for_evaluation(config, make_model(config, classes))
        variables = from_torch(tensors, model, modalities, fresh=config.pretrained_fresh)
        variables = _as_parameters(config, variables)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    record = {
        "config": dataclasses.asdict(config),
        "num_classes": classes,
        "checkpoint": str(checkpoint),
        "remarks": _say_remarks(checkpoint, tensors, model),
        "versions": versions(),
    }
    return Run(model, variables, config, Path(checkpoint).name, None, record)


def load_untrained(config: Config, fetch: bool = False) -> Run:
    """The network of a configuration before its first step; `fetch` as `initial_variables`.

    Raises:
      InputError: the pre-trained weights are missing or do not fit.
    """
    classes = 1  # retrieval does not see the classifier
    model = for_evaluation(config, make_model(config, classes))
    record = {"config": dataclasses.asdict(config), "versions": versions()}
    return Run(model, initial_variables(config, model, fetch), config, "untrained", 0, record)


def load(workdir: str | Path, checkpoint: str | int = "newest") -> tuple[EmbedNet, Any]:
    """The network of a run and its variables: (model, variables). See `load_run`."""
    run = load_run(workdir, checkpoint)
    return run.model, run.variables
