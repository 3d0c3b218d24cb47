"""The configuration of a run: a ConfigDict at the edge, frozen dataclasses inside.

A field left at None is filled from the setting and the recipe; whatever is written in a config
file or on the command line wins. Every mistake is found at once and named by its field.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from lupi_jax.config.recipes import RECIPES, SETTINGS
from lupi_jax.errors import InputError
from lupi_jax.losses import LossSettings
from lupi_jax.modality import Modality, stem_for
from lupi_jax.views import ViewSettings


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """Where the images come from.

    Attributes:
      name: "synthetic" (made by `lupi make-synthetic`) or "folder", which both read
        `{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`; or "sysu" (SYSU-MM01),
        "regdb" or "llcm", each as its owners give it out.
      root: the data set's directory.
      index: of "folder": a CSV or Parquet file that says of each image its path below `root`,
        identity, camera, modality and split, instead of directories' and files' names.
      prepared: a directory of `lupi prepare`: images are read from there, resized already; ""
        decodes the files.
      trial: RegDB's split, 1 to 10: one network each.
      image_size: (height, width) in pixels every image is resized to.
      validation_identities: training identities held out for validation figures and for keeping
        the best checkpoint; 0 trains on all and keeps the newest.
      validation_split: hold out the data set's own validation identities instead: SYSU-MM01's 99
        (trains on 296, not 395), or the split "val" of an index.
      feed: "tfdata" (decodes files as it goes), "memmap" (decodes once into a memory-mapped
        array under the workdir; needs no TensorFlow), "device" (holds all training images, as
        uint8, in the memory of every device, which then waits for none) or "auto": tfdata where
        TensorFlow is installed. All give the same batches bit for bit.
      workers: files decoded at once.
      prefetch: batches kept ready ahead of the step. With `workers` it bounds the memory of a
        feed, whatever the size of the data set: that many batches and one more, and an image a
        worker.
    """

    name: Literal["synthetic", "folder", "sysu", "regdb", "llcm"] = "folder"
    root: str = ""
    index: str = ""
    prepared: str = ""
    trial: int = 1
    image_size: tuple[int, int] = (288, 144)
    validation_identities: int = 0
    validation_split: bool = False
    feed: Literal["auto", "tfdata", "memmap", "device"] = "auto"
    workers: int = 4
    prefetch: int = 4

    @property
    def validates(self) -> bool:
        """Whether training identities are held out."""
        return self.validation_split or self.validation_identities > 0


@dataclasses.dataclass(frozen=True)
class BatchConfig:
    """A batch: `identities` x `images` visible and as many infrared images.

    Attributes:
      identities: different people in a batch, P.
      images: of each of them in each modality, K; who has fewer is repeated.
    """

    identities: int = 8
    images: int = 4


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network; see `lupi_jax.EmbedNet`.

    The original's `base` variant is `non_local` false and `pooling` "average"; `agw` the defaults.

    Attributes:
      backbone: the residual network; "thin" is for tests and demonstrations on a CPU.
        "resnet18_non_local" has non-local blocks in layer2 and layer3, which the original's
        ResNet-18 lacks.
      non_local: AGW's non-local blocks; "resnet18" has none either way, as in the original. Those
        of "resnet34" are ours: the released code cannot run it with them.
      pooling: "gem" (generalised mean, p = 3) or "average".
      stem_relu: a ReLU after the stem's first normalisation, as in torchvision and AGW; the
        released LUPI network has none.
      shared_from: the first layer that all modalities share. "layer2" (LUPI's code) leaves each
        modality its own layer1; "layer1" (AGW, and most likely the paper's baseline) shares it.
    """

    backbone: Literal["resnet50", "resnet34", "resnet18", "thin", "resnet18_non_local"] = "resnet50"
    non_local: bool = True
    pooling: Literal["gem", "average"] = "gem"
    stem_relu: bool = False
    shared_from: Literal["layer2", "layer1"] = "layer2"


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser: two learning-rate groups, warm-up and stages.

    Attributes:
      name: "sgd" (Nesterov momentum, coupled weight decay, as the original) or "adam" (decoupled
        weight decay, Loshchilov & Hutter 2019), which learns faster without pre-trained weights.
      rate: learning rate of the BN neck and the classifier after warm-up.
      trunk_factor: stems and trunk learn at `rate * trunk_factor`.
      momentum: Nesterov momentum of SGD, or Adam's decay of the mean gradient.
      weight_decay: `weight_decay * parameter` is added to SGD's gradient before the momentum, to
        Adam's update after it.
      clip: global gradient norm above which the gradient is scaled down; 0 never clips.
      warmup: length of the linear warm-up, in `unit`s.
      milestones: ends of the stages of the rate, in `unit`s.
      factors: multiple of `rate` after each milestone, as many as milestones.
      unit: "epochs" or "steps".
    """

    name: Literal["sgd", "adam"] = "sgd"
    rate: float = 0.1
    trunk_factor: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 0.0
    warmup: float = 10.0
    milestones: tuple[float, ...] = (20.0, 50.0)
    factors: tuple[float, ...] = (0.1, 0.01)
    unit: Literal["epochs", "steps"] = "epochs"


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Who queries whom at test time.

    Attributes:
      pairs: "<query>_to_<gallery>" of two modalities each (see `PAIRS`), the same one twice
        included: the test pairs of the paper's Table 3. Intermediate images are made of the
        visible ones as in training.
      protocol: of SYSU-MM01: "official" (the data set's own permutation file), "agw" (galleries
        drawn by seed) or "released" (the original code's deviations).
      same_modality: what a query ignores where a pair's sides are of one modality (intermediate
        images count as visible): "camera", every image of its own camera, as in the paper's Table
        3; "identity_and_camera", the images of its identity that its own camera took, as on
        Market-1501; or "auto", "camera" for SYSU-MM01 and "identity_and_camera" elsewhere. Results
        name the rule. Where no two cameras saw anybody, as on RegDB, a query ignores itself alone.
      trials: galleries drawn, where a protocol draws them.
      reranking: "k_reciprocal" (Zhong et al., CVPR 2017, with its k1 = 20, k2 = 6, lambda = 0.3)
        compares queries with the whole gallery and with each other, which a search does not do;
        results name it. "none" is the field's usual figure.
      precision: of the matrix products and convolutions of a float32 network at test time and in
        exports, by JAX's names; see `Config.precision`. "highest" gives the same features on
        every device, to rounding. A bfloat16 network is not affected.
    """

    pairs: tuple[str, ...] = ("infrared_to_visible", "visible_to_infrared")
    protocol: Literal["official", "agw", "released"] = "official"
    same_modality: Literal["auto", "camera", "identity_and_camera"] = "auto"
    trials: int = 10
    reranking: Literal["none", "k_reciprocal"] = "none"
    precision: Literal["default", "high", "highest"] = "highest"


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What a run writes down.

    Attributes:
      every: steps whose mean makes one row of the log.
      validate_every: steps between validations; 0 for none. The last step is validated too.
      checkpoint_every: steps between checkpoints; 0 for one at the end only.
      keep: how many of the newest checkpoints stay.
    """

    every: int = 20
    validate_every: int = 0
    checkpoint_every: int = 500
    keep: int = 2


@dataclasses.dataclass(frozen=True)
class Config:
    """A run. Exactly one of `steps` and `epochs` is positive; without both, the recipe says epochs.

    Attributes:
      seed: of everything drawn: initial weights, batches, views, held-out identities.
      steps: SGD steps.
      epochs: instead of steps: passes of floor(max(visible, infrared) / (P K)) + 1 steps, counted
        over all training images, as in the released code, whichever modalities are trained on.
        Images of held-out identities do not count.
      recipe: "paper", "released", "baseline" or "agw" (see `lupi_jax.config.recipes.RECIPES`).
      setting: which modality is privileged, in the paper's Fig. 1 (see `lupi_jax.config.recipes`):
        "infrared_privileged" (a), "visible_privileged" (b), "intermediate_privileged" (c), or
        "recipe" for what the recipe trains on.
      modalities: those trained on.
      pretrained: weights to start from: a file or `hf://owner/name`, as `models.read_state_dict`
        reads; "" for none.
      pretrained_fresh: modules that are not taken from there, but start anew: ("classifier",).
      parallel: "shard_map" or "pmap": how the step is mapped over devices.
      batch_norm: "global" takes its statistics over the whole batch, so that any number of devices
        computes the same; "device" over each device's rows, as PyTorch's data-parallel training
        does by default.
      step_timeout: seconds after which a process in which no step has ended ends itself, because
        another one or its input hangs; 0 for never. The first step counts its compilation.
      dtype: of the computation: "float32", "bfloat16" (parameters, statistics, distances and
        losses stay float32), or "float64" for checks (views and stored features stay float32;
        needs JAX_ENABLE_X64=1).
      precision: of the matrix products and convolutions in training where `dtype` is float32, by
        JAX's names. "default" is the device's fastest: TensorFloat-32 (10 bits of mantissa) on an
        NVIDIA GPU, one pass in bfloat16 (7 bits) on a TPU, float32 on a CPU. "high" is
        TensorFloat-32 on a GPU and three passes in bfloat16 on a TPU; "highest" is float32
        everywhere.
    """

    seed: int = 0
    steps: int = 0
    epochs: float = 0.0
    recipe: Literal["paper", "released", "baseline", "agw"] = "paper"
    setting: Literal[
        "recipe", "infrared_privileged", "visible_privileged", "intermediate_privileged"
    ] = "recipe"
    modalities: tuple[str, ...] = tuple(str(m) for m in Modality)
    pretrained: str = ""
    pretrained_fresh: tuple[str, ...] = ()
    parallel: Literal["shard_map", "pmap"] = "shard_map"
    batch_norm: Literal["global", "device"] = "global"
    step_timeout: float = 1800.0
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    precision: Literal["default", "high", "highest"] = "default"
    data: SourceConfig = SourceConfig()
    batch: BatchConfig = BatchConfig()
    model: ModelConfig = ModelConfig()
    views: ViewSettings = dataclasses.field(default_factory=ViewSettings)
    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    log: LogConfig = LogConfig()


PAIRS = tuple(f"{query}_to_{gallery}" for query in Modality for gallery in Modality)

_POSITIVE = ("batch.identities", "batch.images", "data.workers", "data.prefetch",
             "optimizer.rate", "evaluation.trials", "log.every", "log.keep")  # fmt: skip
_NOT_NEGATIVE = ("seed", "steps", "epochs", "data.validation_identities", "views.pad",
                 "loss.margin", "loss.color_free_weight", "loss.color_free_threshold",
                 "loss.color_free_alpha", "optimizer.trunk_factor", "optimizer.weight_decay",
                 "optimizer.clip", "optimizer.warmup", "step_timeout", "log.validate_every",
                 "log.checkpoint_every")  # fmt: skip
_FRACTIONS = ("views.flip", "views.erase")
_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (_POSITIVE, lambda v: v > 0, "must be positive"),
    (_NOT_NEGATIVE, lambda v: v >= 0, "must not be negative"),
    (_FRACTIONS, lambda v: 0 <= v <= 1, "must lie in [0, 1]"),
    (("optimizer.momentum",), lambda v: 0 <= v < 1, "must lie in [0, 1)"),
    (("seed",), lambda v: v < 2**32, "must be below 2^32: JAX's keys take no more of it"),
    (("data.trial",), lambda v: 1 <= v <= 10, "must be one of 1 to 10"),
    (("data.root",), bool, "is empty: name the data set's directory"),
    (("data.image_size",), lambda v: min(v) >= 32, "must be at least (32, 32)"),
    (("views.erase_area",), lambda v: 0 < v[0] <= v[1] <= 1, "must be 0 < low <= high <= 1"),
    (("views.erase_aspect",), lambda v: 0 < v <= 1, "must lie in (0, 1]"),
    (
        ("optimizer.milestones",),
        lambda v: list(v) == sorted(v) and min(v, default=0) >= 0,
        "must not be negative, nor decrease",
    ),
    (("optimizer.factors",), lambda v: min(v, default=0) >= 0, "must not be negative"),
    (
        ("modalities",),
        lambda v: bool(v) and len(set(v)) == len(v) and set(v) <= {str(m) for m in Modality},
        f"must be different names out of {', '.join(Modality)}",
    ),
    (
        ("evaluation.pairs",),
        lambda v: bool(v) and len(set(v)) == len(v) and set(v) <= set(PAIRS),
        f"must be different names out of {', '.join(PAIRS)}",
    ),
)


# The fields a rule is about come first: where one of them is wrong already, the rule is silent.
_CROSS_RULES: tuple[tuple[tuple[str, ...], Callable[..., bool], str], ...] = (
    (
        ("steps", "epochs"),
        lambda steps, epochs: (steps > 0) != (epochs > 0),
        "set one of steps and epochs and leave the other 0",
    ),
    (
        ("optimizer.milestones", "optimizer.factors"),
        lambda milestones, factors: len(milestones) == len(factors),
        "optimizer.factors must be as many as optimizer.milestones",
    ),
    (
        ("log.validate_every", "data.validation_identities", "data.validation_split"),
        lambda every, identities, split: bool(every) == bool(identities or split),
        "log.validate_every and data.validation_identities (or data.validation_split) need each "
        "other: set both or neither",
    ),
    (
        ("data.validation_identities", "data.validation_split"),
        lambda identities, split: not (identities and split),
        "set one of data.validation_identities and data.validation_split",
    ),
    (
        ("data.name", "data.index", "data.validation_split"),
        lambda name, index, split: not split or name == "sysu" or bool(index),
        "data.validation_split needs a data set that has one: data.name = sysu, or a data.index",
    ),
    (
        ("data.feed", "parallel"),
        lambda feed, parallel: feed != "device" or parallel == "shard_map",
        "data.feed = device needs parallel = shard_map",
    ),
    (
        ("data.name", "data.index"),
        lambda name, index: name == "folder" or not index,
        "data.index is a choice for data.name = folder alone: leave it out",
    ),
    (
        ("data.name", "evaluation.protocol"),
        lambda name, protocol: name == "sysu" or protocol == EvaluationConfig.protocol,
        "evaluation.protocol is a choice for data.name = sysu alone: leave it out",
    ),
    (
        ("evaluation.protocol", "evaluation.same_modality"),
        lambda protocol, same_modality: protocol != "released" or same_modality == "auto",
        "evaluation.protocol = released takes no evaluation.same_modality, for its queries and "
        "galleries are of different cameras: leave it out, or give "
        "--config.evaluation.same_modality=auto where an older run holds one",
    ),
    (
        ("data.name", "evaluation.trials"),
        lambda name, trials: name in ("sysu", "llcm") or trials == EvaluationConfig.trials,
        "evaluation.trials is a choice for data.name = sysu and llcm alone: leave it out",
    ),
    (
        ("data.name", "data.trial"),
        lambda name, trial: name == "regdb" or trial == SourceConfig.trial,
        "data.trial is a choice for data.name = regdb alone: leave it out",
    ),
    (
        ("evaluation.pairs", "evaluation.reranking"),
        lambda pairs, reranking: (
            reranking == "none" or all(pair.count("infrared") == 1 for pair in pairs)
        ),
        "evaluation.reranking is for pairs of infrared and visible (or intermediate) images: "
        "elsewhere a query is in the gallery itself",
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
        "a validation needs evaluation.pairs of modalities that are trained on",
    ),
    (
        ("modalities", "loss.color_free"),
        lambda modalities, color_free: (
            color_free == "none" or {"visible", "intermediate"} <= set(modalities)
        ),
        "loss.color_free must be none where modalities lack visible or intermediate",
    ),
)


def field_types(cls: type = Config, prefix: str = "") -> dict[str, Any]:
    """{dotted field name: type} of all leaves of the configuration."""
    result = {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            result.update(field_types(typing.cast(type, kind), f"{prefix}{name}."))
        else:
            result[prefix + name] = kind
    return result


def parse_config(values: Mapping[str, Any]) -> Config:
    """Check a nested mapping (a ConfigDict or what a checkpoint holds) and freeze it.

    Args:
      values: nested fields. One that is absent or None takes the recipe's value where the recipe
        has one, else its default.

    Raises:
      InputError: one line naming every unknown, mistyped or out-of-range field.
    """
    types = field_types()
    given = _flatten(values)
    problems = {
        name: f"is no field{_suggestion(name, types)}" for name in sorted(given.keys() - types)
    }
    fields: dict[str, Any] = {}
    for name, kind in types.items():
        if given.get(name) is None:
            continue
        try:
            fields[name] = _convert(given[name], kind)
        except (TypeError, ValueError):
            problems[name] = f"= {given[name]!r} is not {_describe(kind)}"
    recipe = fields.get("recipe", Config.recipe)
    setting = fields.get("setting", Config.setting)
    filled = {**to_fields(Config()), **RECIPES[recipe], **SETTINGS[setting]}
    if not fields.keys().isdisjoint(("steps", "epochs")):
        filled["epochs"] = Config.epochs
    fields = {**filled, **fields}
    pair = {Modality.VISIBLE, Modality.INTERMEDIATE}
    if given.get("loss.color_free") is None and not pair <= set(fields["modalities"]):
        fields["loss.color_free"] = "none"
    for names, holds, message in _RULES:
        for name in names:
            if name not in problems and not holds(fields[name]):
                problems[name] = f"= {fields[name]!r} {message}"
    lines = [f"{name} {problem}" for name, problem in problems.items()]
    lines += [
        message
        for names, holds, message in _CROSS_RULES
        if not problems.keys() & set(names) and not holds(*(fields[name] for name in names))
    ]
    if lines:
        raise InputError(f"config: {'; '.join(lines)}")
    return _build(Config, fields)


def parse_record(values: Mapping[str, Any]) -> Config:
    """`parse_config` of what a checkpoint says of its run, in which every field is filled.

    A field that it lacks is younger than the checkpoint. It takes the value that says what was done
    before there was the field, whatever the recipe says of it today. That value is its default, but
    for three: a ResNet-18 had non-local blocks, SYSU-MM01 was searched within a modality by
    Market-1501's rule, and a network was evaluated in the precision of the device
    (`evaluation.precision`, today "highest" for these checkpoints too, which changes rounding).

    Raises:
      InputError: as `parse_config`.
    """
    given = _flatten(values)
    if "model.shared_from" not in given and given.get("model.non_local"):
        old = {"resnet18": "resnet18_non_local"}
        given["model.backbone"] = old.get(given["model.backbone"], given["model.backbone"])
    # Elsewhere "auto" still says what was done, and "released" has no rule to choose.
    if given.get("data.name") == "sysu" and given.get("evaluation.protocol") != "released":
        given.setdefault("evaluation.same_modality", "identity_and_camera")
    return parse_config({**to_fields(Config()), **given})


def to_fields(config: Config) -> dict[str, Any]:
    """{dotted field name: value} of all leaves."""
    return _flatten(dataclasses.asdict(config))


def differences(a: Config, b: Config) -> list[str]:
    """The dotted fields in which two configurations differ."""
    before, after = to_fields(a), to_fields(b)
    return [name for name in before if before[name] != after[name]]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result.update(_flatten(value, f"{prefix}{name}."))
        else:
            result[prefix + name] = value
    return result


def _build(cls: type, fields: Mapping[str, Any], prefix: str = "") -> Any:
    arguments = {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            arguments[name] = _build(typing.cast(type, kind), fields, f"{prefix}{name}.")
        elif prefix + name in fields:
            arguments[name] = fields[prefix + name]
    return cls(**arguments)


def _convert(value: Any, kind: Any) -> Any:
    """`value` as `kind`; numbers are not made of strings, nor truncated."""
    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            raise ValueError
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        items = typing.get_args(kind)
        items = items[:1] * len(value) if items[-1] is Ellipsis else items
        return tuple(_convert(v, k) for v, k in zip(value, items, strict=True))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind and not (kind is str and isinstance(value, str)):
        raise TypeError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return kind(value)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(typing.get_args(kind))}"
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a tuple of {count}{_NOUNS[items[0]]}s"
    return f"a {_NOUNS[kind]}"


_NOUNS = {int: "whole number", float: "number", str: "text", bool: "truth value"}


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
