"""Rules between fields of a configuration. A rule about a single field is declared on it."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from lupi_jax.config.fields import Config, EvaluationConfig, SourceConfig
from lupi_jax.declared import is_part
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality, has_twins, stem_for

_Rule = tuple[tuple[str, ...], Callable[..., bool], str]
"""The fields of a rule, a check of their values, and the message if the check fails."""


def _only_for(*sources: str, name: str, left_out: Any) -> _Rule:
    return (
        ("data.name", name),
        lambda source, value: source in sources or value == left_out,
        f"{name} applies only to data.name = {' or '.join(sources)}: leave it out",
    )


_RULES: tuple[_Rule, ...] = (
    (("data.root",), bool, "data.root = '' is empty: name the data set's directory"),
    (
        ("steps", "epochs"),
        lambda steps, epochs: (steps > 0) != (epochs > 0),
        "set one of steps and epochs and leave the other 0",
    ),
    *(
        (
            (part, f"{part}_settings"),
            lambda name, settings: is_part(name) or not settings,
            f"{part}_settings needs a part of your own in {part}",
        )
        for part in ("model.backbone", "views.extra", "views.intermediate")
    ),
    (
        ("optimizer.milestones", "optimizer.factors"),
        lambda milestones, factors: len(milestones) == len(factors),
        "optimizer.factors must have the same length as optimizer.milestones",
    ),
    (
        ("log.validate_every", "data.validation_identities", "data.validation_split"),
        lambda every, identities, split: bool(every) == bool(identities) + split,
        "log.validate_every and one of data.validation_identities and data.validation_split need "
        "each other: set both or neither",
    ),
    (
        ("data.name", "data.index", "data.validation_split"),
        lambda name, index, split: not split or name == "sysu" or bool(index),
        "data.validation_split needs data.name = sysu or a data.index",
    ),
    (
        ("data.feed", "parallel"),
        lambda feed, parallel: feed != "device" or parallel == "shard_map",
        "data.feed = device needs parallel = shard_map",
    ),
    _only_for("folder", name="data.index", left_out=SourceConfig.index),
    _only_for("folder", name="data.identity_zero", left_out=SourceConfig.identity_zero),
    _only_for("sysu", name="evaluation.protocol", left_out=EvaluationConfig.protocol),
    _only_for("sysu", "llcm", name="evaluation.trials", left_out=EvaluationConfig.trials),
    _only_for("regdb", name="data.trial", left_out=SourceConfig.trial),
    (
        ("evaluation.protocol", "evaluation.same_modality"),
        lambda protocol, same_modality: protocol != "released" or same_modality == "auto",
        "evaluation.protocol = released needs evaluation.same_modality = auto",
    ),
    (
        ("evaluation.pairs", "evaluation.reranking"),
        lambda pairs, way: way == "none" or all(pair.count("infrared") == 1 for pair in pairs),
        "evaluation.reranking needs infrared on exactly one side of every pair",
    ),
    (
        ("modalities", "evaluation.pairs", "data.validation_identities", "data.validation_split"),
        lambda trained, pairs, identities, split: (
            not (identities or split)
            or all(
                stem_for(Modality(m), [Modality(t) for t in trained])
                for pair in pairs
                for m in pair.split("_to_")
            )
        ),
        "a validation can only use evaluation.pairs of modalities that are trained on",
    ),
    (
        ("modalities", "views.intermediate"),
        lambda trained, kind: kind != "adaptive" or has_twins(trained),
        "views.intermediate = adaptive needs visible and intermediate in modalities",
    ),
    (
        ("evaluation.pairs", "views.intermediate"),
        lambda pairs, kind: kind != "adaptive" or not any("intermediate" in p for p in pairs),
        "evaluation.pairs may not name intermediate for views.intermediate = adaptive, whose "
        "images exist only in training",
    ),
    (
        ("views.intermediate", "views.quantize_intermediate"),
        lambda kind, whole: kind != "adaptive" or not whole,
        "views.quantize_intermediate must be false for views.intermediate = adaptive, whose "
        "gradient would end there",
    ),
    (
        ("loss.modality", "views.intermediate", "modalities"),
        lambda loss, kind, trained: (
            loss == "none" or (kind == "adaptive" and Modality.INFRARED in trained)
        ),
        "loss.modality needs views.intermediate = adaptive and infrared in modalities",
    ),
    (
        ("modalities", "loss.direct_weight"),
        lambda trained, weight: weight == 0 or {Modality.VISIBLE, Modality.INFRARED} <= {*trained},
        "loss.direct_weight needs visible and infrared in modalities: set it to 0",
    ),
    (
        ("modalities", "loss.color_free"),
        lambda trained, kind: kind == "none" or has_twins(trained),
        "loss.color_free needs visible and intermediate in modalities: set it to none",
    ),
)


def contradictions(fields: Mapping[str, Any], wrong: Collection[str]) -> list[str]:
    """Messages about fields that contradict each other, skipping rules on a `wrong` field."""
    return [
        message
        for names, holds, message in _RULES
        if not any(name in wrong for name in names) and not holds(*(fields[n] for n in names))
    ]


def require_triplets(config: Config) -> None:
    """Check that the batches have the positives and negatives that the triplet loss compares.

    Only a run that is about to train needs this. An older run without them can still be read.

    Raises:
      InputError: the batches have no negatives, so that the loss is always 0, or no positives.
    """
    if config.loss.triplet == "none" and not config.loss.direct_weight:
        return
    lacking = ""
    if config.batch.identities == 1:
        lacking = "batch.identities = 1: the triplet loss has no negative and is always 0"
    elif config.batch.images == 1 and len(config.modalities) == 1:
        lacking = "batch.images = 1 with one modality: the triplet loss has no positive"
    if lacking:
        raise InputError(f"config: {lacking}: use 2 or more, or leave the triplet losses out")
