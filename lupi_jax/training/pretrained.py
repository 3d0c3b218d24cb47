"""What a network starts from: weights drawn by the seed, of a file, or of another run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lupi_jax.config import Config, parse_record
from lupi_jax.errors import InputError
from lupi_jax.models import EmbedNet, classes_of, from_torch, read_state_dict
from lupi_jax.models.conversion import to_named
from lupi_jax.models.mismatches import begins
from lupi_jax.runtime.phases import phase
from lupi_jax.runtime.terminal import say
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.network import (
    abstract,
    as_parameters,
    fresh_variables,
    make_model,
    say_remarks,
    trained_modalities,
)
from lupi_jax.training.parallel import everywhere, local_copy
from lupi_jax.training.run import same_people


@dataclasses.dataclass(frozen=True)
class _Source:
    """Weights to start from: what messages call them, and the record of the run they are of."""

    name: str
    tensors: Mapping[str, np.ndarray]
    record: Mapping[str, Any] | None = None


def initial_variables(
    config: Config,
    model: EmbedNet,
    fetch: bool = False,
    record: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The network's variables before the first step: fresh, or with pre-trained weights.

    A classifier among those weights is reused where a run has trained it on the same identities.
    Else it starts anew. Both are said.

    Args:
      config: of the run to come.
      model: its network.
      fetch: whether the weights may come over the network. No configuration can say so: a
        checkpoint from elsewhere holds one.
      record: `run_record` of the run to come; None where nobody looks at the classifier.

    Raises:
      InputError: the pre-trained weights are missing or do not fit.
    """
    # The file first: what is wrong with it shows at once.
    source = _read(config.pretrained, fetch) if config.pretrained else None
    variables = fresh_variables(config, model)
    if source is None:
        return variables
    fresh = config.pretrained_fresh
    if classes_of(source.tensors) is not None and not begins("classifier", fresh, "/"):
        word = _word_on_classifier(source, record)
        if word:
            fresh = (*fresh, "classifier")
        if record is not None:
            word = word or "is reused: that run trained on the same identities"
            say(f"{source.name}: the classifier {word}")
    try:
        _check_stem(source, model)
        modalities = trained_modalities(config)
        variables = from_torch(source.tensors, model, modalities, variables, fresh)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error
    say_remarks(source.name, source.tensors, model)
    return as_parameters(config, variables)


def _word_on_classifier(source: _Source, record: Mapping[str, Any] | None) -> str:
    """Why the classifier starts anew; nothing where it does not."""
    if source.record is None:
        return "starts anew: a file does not say whose identities it tells apart"
    if record is None or not same_people(source.record, record):
        return "starts anew: that run is not known to have trained on the same identities"
    return ""


def _check_stem(source: _Source, model: EmbedNet) -> None:
    """Refuse a run's weights whose stem computes otherwise, which no tensor shows."""
    if source.record is None:
        return
    relu = parse_record(source.record["config"]).model.stem_relu
    if relu != model.stem_relu:
        raise InputError(
            f"that run's network has {'a' if relu else 'no'} ReLU after each stem's first "
            f"normalisation: set --config.model.stem_relu={relu}"
        )


def _read(place: str, fetch: bool) -> _Source:
    """The weights at `place`: a run, DIR, DIR@best or DIR@STEP; else a file or one of the hub."""
    before, at, which = place.rpartition("@")
    for workdir, checkpoint in ((place, "newest"), (before, which)) if at else ((place, "newest"),):
        if Path(workdir).is_dir():
            if not (Path(workdir) / "checkpoints").is_dir():
                raise InputError(
                    f"no weights at {place}: give the directory of a `lupi train` run, or a file"
                )
            with Checkpoints(workdir, read_only=True) as checkpoints:
                step = checkpoints.find(checkpoint)
                _, variables, record = saved_network(checkpoints, step)
            tensors = to_named(jax.device_get(variables))
            return _Source(f"{workdir}, step {step}", tensors, record)
    return _Source(place, read_state_dict(place, fetch))


def saved_network(checkpoints: Checkpoints, step: int) -> tuple[EmbedNet, Any, dict[str, Any]]:
    """The network of the checkpoint `step` as it was trained, its variables and its run's record.

    Raises:
      InputError: the checkpoint is damaged, or of another version of this package.
    """
    record = checkpoints.run(step)
    config = parse_record(record["config"])
    model = make_model(config, record["num_classes"])
    with phase("restoring"):
        like = abstract(lambda: fresh_variables(config, model), everywhere())
        return model, local_copy(checkpoints.variables(step, like)), record
