"""The network of a run, or of a file of weights, as evaluation takes it."""

import dataclasses
from pathlib import Path
from typing import Any

from lupi_jax.config import Config, parse_record
from lupi_jax.data import Index
from lupi_jax.data.contents import changed, parse_files
from lupi_jax.errors import InputError
from lupi_jax.models import EmbedNet, classes_of, from_torch, modalities_of, read_state_dict
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.network import (
    as_parameters,
    for_evaluation,
    make_model,
    say_remarks,
)
from lupi_jax.training.pretrained import initial_variables, saved_network
from lupi_jax.training.run import same_numbers, versions


@dataclasses.dataclass(frozen=True)
class Run:
    """A network and where it came from.

    Attributes:
      model: the network.
      variables: its parameters and running statistics.
      config: of the run.
      name: what to call it: "step 600", "untrained", "released.t".
      step: of the checkpoint; 0 for an untrained network, None for one trained elsewhere.
      record: what results say of it, a `run_record` or part of one.
      unfinished: steps that its training still has to go.
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
        """Identities it was trained on, as `config.data` numbers them; () for an untrained network.

        None where that is not known: the network was trained elsewhere, or on another folder, where
        the same number is another person.
        """
        if self.step == 0:
            return ()
        then, now = self.record["config"]["data"], dataclasses.asdict(self.config.data)
        same = self.step and same_numbers(then, now)
        return tuple(self.record["identities"]) if same else None

    def changed(self, index: Index) -> list[str]:
        """The paths of images of `index` that training read, and that have changed since.

        Sizes are compared, and checksums where the time of a file is another. Where the network was
        trained on another data set, or an older version trained it, there are none.

        Raises:
          InputError: an image cannot be read.
        """
        if not self.step or self.seen is None:
            return []
        here = set(index.paths.tolist())
        files = [f for f in parse_files(self.record.get("files", [])) if f.path in here]
        return changed(index.root, files, self.config.data.workers)

    @property
    def precision(self) -> dict[str, str]:
        """What results say of the dtype, and of the precision of products in it."""
        return {
            "dtype": self.config.dtype,
            "training": self.config.precision,
            "evaluation": self.model.precision or "default",
        }

    def under(self, config: Config) -> "Run":
        """The same network, evaluated with the `MOVABLE` fields of another configuration."""
        return dataclasses.replace(self, config=config, model=for_evaluation(config, self.model))


def load_run(workdir: str | Path, checkpoint: str | int = "newest", untrained: bool = False) -> Run:
    """Rebuild the network of a run from its checkpoint alone.

    Args:
      workdir: of `lupi train`.
      checkpoint: "newest", "best" (by validation mAP) or a step.
      untrained: whether to take the network as it was before the first step instead.

    Raises:
      InputError: there is no such checkpoint.
    """
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.find(checkpoint)
        if untrained:
            record = checkpoints.run(step)
            config = parse_record(record["config"])
            model = for_evaluation(config, make_model(config, record["num_classes"]))
            return Run(model, initial_variables(config, model), config, "untrained", 0, record)
        model, variables, record = saved_network(checkpoints, step)
        config = parse_record(record["config"])
        model = for_evaluation(config, model)
        unfinished = record["steps"] - (checkpoints.newest or 0)
        return Run(model, variables, config, f"step {step}", step, record, max(0, unfinished))


def load_weights(config: Config, checkpoint: str) -> Run:
    """The network of a configuration with the weights of a PyTorch training checkpoint.

    The number of classes comes from the file, and only those of the configured modalities count
    for which the file has a stem.

    Args:
      config: describes the network.
      checkpoint: of LUPI's or AGW's PyTorch code, as `models.read_state_dict` reads it.

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
        variables = as_parameters(config, variables)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    record = {
        "config": dataclasses.asdict(config),
        "num_classes": classes,
        "checkpoint": str(checkpoint),
        "remarks": say_remarks(checkpoint, tensors, model),
        "versions": versions(),
    }
    return Run(model, variables, config, Path(checkpoint).name, None, record)


def load_untrained(config: Config, fetch: bool = False) -> Run:
    """The network of a configuration before its first step.

    `fetch` allows to fetch pre-trained weights, as in `initial_variables`.

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
