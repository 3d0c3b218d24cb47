"""A network's first weights, drawn by the seed or read from a file or another run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lupi_jax.config import Config, parse_record
from lupi_jax.config.fields import ModelConfig
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality, stem_for
from lupi_jax.models import (
    BACKBONES,
    EmbedNet,
    classes_of,
    from_torch,
    modalities_of,
    read_state_dict,
)
from lupi_jax.models.conversion import to_named
from lupi_jax.models.mismatches import begins
from lupi_jax.models.resnet import RESNETS, ResNet
from lupi_jax.models.torch_names import Weights
from lupi_jax.models.vit import VITS
from lupi_jax.runtime.phases import phase
from lupi_jax.runtime.terminal import say
from lupi_jax.training.checkpoints import Checkpoints, DamagedError
from lupi_jax.training.network import (
    abstract,
    as_parameters,
    fresh_variables,
    make_model,
    say_remarks,
    trained_modalities,
)
from lupi_jax.training.own import changed_network
from lupi_jax.training.parallel import everywhere, local_copy
from lupi_jax.training.run import same_people


@dataclasses.dataclass(frozen=True)
class _Source:
    """Weights to start from, with their name in messages and the record of their run, if any."""

    name: str
    tensors: Mapping[str, np.ndarray]
    record: Mapping[str, Any] | None = None


def initial_variables(
    config: Config,
    model: EmbedNet,
    fetch: bool = False,
    record: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The network's variables before the first step, random or with pre-trained weights.

    A classifier among those weights is reused if a run trained it on the same identities.
    Otherwise it is initialised at random. A line on stderr says which.

    Args:
      config: the new run's configuration.
      model: its network.
      fetch: whether the weights may be downloaded. This is not a field of the configuration,
        because a checkpoint from elsewhere contains a configuration.
      record: `run_record` of the new run; None if the classifier is not used.

    Raises:
      InputError: the pre-trained weights are missing or do not fit.
    """
    # Read the file first, so that its faults show at once.
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
        variables = _filled(source, model, trained_modalities(config), variables, fresh)
    except InputError as error:
        raise InputError(f"{source.name}: {_own_backbone(source, model) or error}") from error
    _say_pooling(source, model)
    say_remarks(source.name, source.tensors, model)
    return as_parameters(config, variables)


def _filled(
    source: _Source,
    model: EmbedNet,
    trained: tuple[Modality, ...],
    initial: dict[str, Any],
    fresh: tuple[str, ...],
) -> dict[str, Any]:
    """`from_torch`, with a copy of another stem for each trained modality whose stem is missing."""
    weights = Weights.of(source.tensors)
    given = modalities_of(source.tensors)
    copies = _stems_to_copy(given, trained, fresh)
    needed = {copies.get(m, m) for m in trained}
    modalities = tuple(m for m in Modality if m in needed)
    found = from_torch(source.tensors, model, modalities, initial, fresh)
    for m, other in copies.items():
        say(
            f"{source.name}: there is no {m} stem, so the {m} stem starts as a copy of the {other} "
            f"stem; --config.pretrained_fresh=\"('stem_{m}',)\" draws it at random"
        )
    for m in given:
        if m not in needed and not weights.family.one_stem:
            say(f"{source.name}: the {m} stem is left out: {m} is not in --config.modalities")
    stems = {f"stem_{m}": f"stem_{copies.get(m, m)}" for m in trained}
    return {
        collection: {
            **{name: part for name, part in parts.items() if not name.startswith("stem_")},
            **{name: parts[its] for name, its in stems.items() if its in parts},
        }
        for collection, parts in found.items()
    }


def _stems_to_copy(
    given: tuple[Modality, ...], trained: tuple[Modality, ...], fresh: tuple[str, ...]
) -> dict[Modality, Modality]:
    """{modality: modality whose stem it takes}, for the trained ones that are not given.

    Stems that `fresh` names are neither filled nor copied.
    """
    named = {name.split("/")[0] for name in fresh}
    if not given:
        return {}
    missing = {m: stem_for(m, given) or given[0] for m in trained if m not in given}
    return {m: other for m, other in missing.items() if not named & {f"stem_{m}", f"stem_{other}"}}


def _word_on_classifier(source: _Source, record: Mapping[str, Any] | None) -> str:
    """Why the classifier is initialised at random; "" if it is reused."""
    if source.record is None:
        return "is re-initialised: a file does not say which identities it was trained on"
    if record is None or not same_people(source.record, record):
        return "is re-initialised: that run is not known to have trained on the same identities"
    return ""


def _check_stem(source: _Source, model: EmbedNet) -> None:
    """Refuse a run's weights if their stem computes something else, which no tensor shows."""
    theirs = _settings_of(source)
    if theirs is None or theirs.backbone not in RESNETS or not isinstance(model.net, ResNet):
        return  # a mismatch of the backbones is reported with the tensors
    if theirs.stem_relu != model.stem_relu:
        raise InputError(
            f"that run's network has {'a' if theirs.stem_relu else 'no'} ReLU after each stem's "
            f"first normalisation: set --config.model.stem_relu={theirs.stem_relu}"
        )


def _own_backbone(source: _Source, model: EmbedNet) -> str:
    """What to set if a run has a backbone of the user's own that `model` lacks; else ""."""
    theirs = _settings_of(source)
    if theirs is None or theirs.backbone in BACKBONES:
        return ""
    if theirs.backbone != model.backbone:
        name = theirs.backbone
        return f"that run's backbone is {name}: set --config.model.backbone={name}"
    settings = dict(theirs.backbone_settings)
    if settings == dict(model.backbone_settings):
        return ""
    return f"that run's model.backbone_settings are {settings}: set the same ones"


def _say_pooling(source: _Source, model: EmbedNet) -> None:
    """Say that a run's neck and classifier have learnt features of another pooling."""
    theirs = _settings_of(source)
    if theirs and theirs.pooling != model.pooling and model.backbone not in VITS:
        say(
            f"{source.name}: that run has model.pooling = {theirs.pooling}, so its neck and "
            f"classifier do not know the features of {model.pooling}: "
            f"--config.model.pooling={theirs.pooling} keeps them"
        )


def _settings_of(source: _Source) -> ModelConfig | None:
    """The network's fields of the run that the weights come from; None for a file."""
    return parse_record(source.record["config"]).model if source.record else None


def _read(place: str, fetch: bool) -> _Source:
    """Read weights from a run (DIR, DIR@best or DIR@STEP), a file or the Hugging Face hub."""
    before, at, which = place.rpartition("@")
    for workdir, checkpoint in ((place, "newest"), (before, which)) if at else ((place, "newest"),):
        if Path(workdir).is_dir():
            if not (Path(workdir) / "checkpoints").is_dir():
                raise InputError(
                    f"no weights at {place}: give the --workdir of a `lupi train` run, or a file"
                )
            with Checkpoints(workdir, read_only=True) as checkpoints:
                step = checkpoints.find(checkpoint)
                _, variables, record = saved_network(checkpoints, step)
            tensors = to_named(jax.device_get(variables))
            return _Source(f"{workdir}, step {step}", tensors, record)
    return _Source(place, read_state_dict(place, fetch))


def saved_network(checkpoints: Checkpoints, step: int) -> tuple[EmbedNet, Any, dict[str, Any]]:
    """Restore a checkpoint's network for training, its variables and its run's record.

    Raises:
      InputError: the checkpoint is damaged, or another version of this package made it.
    """
    record = checkpoints.run(step)
    config = parse_record(record["config"])
    model = make_model(config, record["num_classes"])
    with phase("restoring"):
        like = abstract(lambda: fresh_variables(config, model), everywhere())
        try:
            variables = checkpoints.variables(step, like)
        except DamagedError as error:
            for part in changed_network(record, config):
                raise InputError(
                    f"{checkpoints.directory} holds a network that does not fit {part}, which has "
                    "changed since: bring its file back"
                ) from error
            raise
        return model, local_copy(variables), record
