"""Load the network of a run, or of a file of weights, for evaluation."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lupi_jax.config import Config, parse_record
from lupi_jax.data import Index
from lupi_jax.data.contents import changed, parse_files
from lupi_jax.errors import InputError
from lupi_jax.models import EmbedNet, classes_of, from_torch, modalities_of, read_state_dict
from lupi_jax.runtime.terminal import say
from lupi_jax.training.beside import fresh_generator
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.network import (
    abstract,
    as_parameters,
    for_evaluation,
    make_model,
    say_remarks,
)
from lupi_jax.training.own import changed_network
from lupi_jax.training.parallel import everywhere, local_copy
from lupi_jax.training.pretrained import initial_variables, saved_network
from lupi_jax.training.run import same_numbers, versions
from lupi_jax.training.step import GENERATOR
from lupi_jax.views.adaptive import learnt_image
from lupi_jax.views.pixels import Images, check_channels


@dataclasses.dataclass(frozen=True)
class Run:
    """A network and its origin.

    Attributes:
      model: the network.
      variables: its parameters and running statistics.
      config: the run's configuration.
      name: its name in results, such as "step 600", "untrained" or "released.t".
      step: the checkpoint's step; 0 for an untrained network, None for one trained elsewhere.
      record: its description for results, a `run_record` or part of one.
      unfinished: number of steps that its training still has to take.
      generator: parameters of the `views.Generator` that training learnt, or None.
    """

    model: EmbedNet
    variables: Any
    config: Config
    name: str
    step: int | None
    record: dict[str, Any]
    unfinished: int = 0
    generator: Any = None

    @property
    def seen(self) -> tuple[int, ...] | None:
        """Training identities, as `config.data` numbers them; () for an untrained network.

        None means unknown. The network was trained elsewhere, or on another folder, in which the
        same number is another person.
        """
        if self.step == 0:
            return ()
        then, now = self.record["config"]["data"], dataclasses.asdict(self.config.data)
        same = self.step and same_numbers(then, now)
        return tuple(self.record["identities"]) if same else None

    def changed(self, index: Index) -> list[str]:
        """Paths of those images of `index` that training read and that have changed since.

        The sizes are compared, and the checksums if a file's time differs. The list is empty if
        the network was trained on another data set or by an older version.

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
        """The dtype and the precisions of matrix products, for results."""
        return {
            "dtype": self.config.dtype,
            "training": self.config.precision,
            "evaluation": self.model.precision or "default",
        }

    def learnt_images(self, images: Images) -> NDArray[np.float32]:
        """Make intermediate images by the learnt mix alone, without random mix or augmentation.

        Args:
          images: [n, h, w, 3] RGB of visible images, uint8 or floating point, 0 to 255.

        Returns:
          [n, h, w, 3], one grey channel repeated three times. The mix may leave the range 0 to 255
          by up to a quarter of it, as in training.

        Raises:
          InputError: the run has not learnt its intermediate images.
          ValueError: `images` has another shape or type.
        """
        if self.generator is None:
            kind = self.config.views.intermediate
            raise InputError(
                f"{self.name} has no learnt images (views.intermediate = {kind}): load a trained "
                "run with views.intermediate = adaptive"
            )
        check_channels(images, batch=True)
        views, params = self.config.views, self.generator
        # One image at a time, because the generator's hidden layers are larger than the images.
        made = jax.lax.map(lambda x: learnt_image(x, views, params), jnp.asarray(images))
        return np.asarray(made, np.float32)

    def under(self, config: Config) -> "Run":
        """The same network with the `MOVABLE` fields of another configuration."""
        return dataclasses.replace(self, config=config, model=for_evaluation(config, self.model))


def load_run(
    workdir: str | Path,
    checkpoint: str | int | None = None,
    untrained: bool = False,
    fetch: bool = False,
) -> Run:
    """Rebuild the network of a run from its checkpoint.

    A backbone of a user's own is imported, which executes its module.

    Args:
      workdir: directory of the run.
      checkpoint: "newest", "best" (by validation mAP) or a step; None is "newest".
      untrained: whether to return the network before its first step instead.
      fetch: with `untrained`, whether to download pre-trained weights, see `initial_variables`.

    Raises:
      InputError: the checkpoint does not exist or cannot be used.
    """
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.find("newest" if checkpoint is None else checkpoint)
        if untrained:
            record = checkpoints.run(step)
            config = parse_record(record["config"])
            model = for_evaluation(config, make_model(config, record["num_classes"]))
            variables = initial_variables(config, model, fetch)
            return Run(model, variables, config, "untrained", 0, record)
        model, variables, record = saved_network(checkpoints, step)
        config = parse_record(record["config"])
        for part in changed_network(record, config):
            say(f"note: {workdir} was trained with another version of {part}")
        model = for_evaluation(config, model)
        unfinished = max(0, record["steps"] - (checkpoints.newest or 0))
        generator = None
        if config.views.intermediate == "adaptive":
            like = abstract(lambda: fresh_generator(config), everywhere())
            generator = local_copy(checkpoints.beside(step, GENERATOR, like))
        name = f"step {step}"
        return Run(model, variables, config, name, step, record, unfinished, generator)


def load_weights(config: Config, checkpoint: str) -> Run:
    """Make the network of a configuration, with the weights of a PyTorch training checkpoint.

    The number of classes comes from the file. The network gets those configured modalities for
    which the file has a stem.

    Args:
      config: the network's configuration.
      checkpoint: file written by LUPI's or AGW's PyTorch code, see `models.read_state_dict`.

    Raises:
      InputError: the file cannot be read, does not hold a trained network, or does not fit
        `config`.
    """
    tensors = read_state_dict(checkpoint)
    classes = classes_of(tensors)
    if classes is None:
        raise InputError(
            f"{checkpoint} has no classifier, so it is not a trained re-ID network: to evaluate a "
            "pre-trained backbone, give --config.pretrained and --untrained instead"
        )
    foreign = [n for n in config.pretrained_fresh if n.startswith(("trunk", "neck", "stem_"))]
    if foreign:
        raise InputError(
            f"pretrained_fresh = {', '.join(foreign)}: an evaluation needs all trained weights, so "
            "set the configuration that the network was trained with"
        )
    try:
        modalities = tuple(m for m in modalities_of(tensors) if str(m) in config.modalities)
        if not modalities:
            raise InputError(
                f"these weights lack a stem for {' or '.join(config.modalities)}: change modalities"
            )
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
    """Make the network of a configuration before its first step.

    Args:
      config: the network's configuration.
      fetch: whether to download pre-trained weights, see `initial_variables`.

    Raises:
      InputError: the pre-trained weights are missing or do not fit.
    """
    classes = 1  # retrieval does not use the classifier
    model = for_evaluation(config, make_model(config, classes))
    record = {"config": dataclasses.asdict(config), "versions": versions()}
    return Run(model, initial_variables(config, model, fetch), config, "untrained", 0, record)


def load(workdir: str | Path, checkpoint: str | int | None = None) -> tuple[EmbedNet, Any]:
    """Load (model, variables) of a run, see `load_run`."""
    run = load_run(workdir, checkpoint)
    return run.model, run.variables
