"""The fields of a configuration. What each is for, and may be, stands beside its default.

Those of the views and the losses are in `lupi_jax.settings`, rules between fields in
`lupi_jax.config.rules`.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from lupi_jax.modality import Modality
from lupi_jax.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    LossSettings,
    Occasion,
    Rule,
    Settings,
    ViewSettings,
    field,
)

PAIRS = tuple(f"{query}_to_{gallery}" for query in Modality for gallery in Modality)
"""Who may query whom, as `evaluation.pairs` names it."""

ANY_TIME: tuple[Occasion, ...] = ("resumed", "evaluated")


def _different(names: Collection[str]) -> Rule:
    return Rule(
        lambda given: 0 < len(given) == len(set(given)) and set(given) <= set(names),
        f"must be different names out of {', '.join(names)}",
    )


@dataclass(frozen=True)
class SourceConfig(Settings):
    """Where the images come from."""

    name: Literal["synthetic", "folder", "sysu", "regdb", "llcm"] = field(
        "folder",
        '"sysu" (SYSU-MM01), "regdb" or "llcm", each as its owners give it out; "folder" or '
        '"synthetic": `{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`.',
    )
    root: str = field("", "Directory of the data set.", may_change=ANY_TIME, path=True)
    index: str = field(
        "",
        "For a folder: a table of its images, as `lupi check-data --help` describes it.",
        may_change=ANY_TIME,
        path=True,
    )
    identity_zero: Literal["auto", "person", "distractor"] = field(
        "auto",
        'What identity 0 is in a folder or a table: a "person", or "distractor" as in Market-1501, '
        'never trained on or looked for, always wrong. "auto" is a person, but an error where '
        "there is junk (-1), which is passed over everywhere.",
        may_change=("evaluated",),
    )
    prepared: str = field(
        "", "Directory written by `lupi prepare`.", may_change=ANY_TIME, path=True
    )
    trial: int = field(
        1,
        "Split of RegDB. Each split trains its own network.",
        Rule(lambda trial: 1 <= trial <= 10, "must be from 1 to 10"),
        may_change=("evaluated",),
    )
    image_size: tuple[int, int] = field(
        (288, 144),
        "(height, width) in pixels that every image is resized to.",
        Rule(lambda size: min(size) >= 32, "must be at least (32, 32)"),
    )
    validation_identities: int = field(
        0,
        "Training identities held out for validation, to keep the best checkpoint. 0 keeps the "
        "newest.",
        NOT_NEGATIVE,
    )
    validation_split: bool = field(
        False,
        "Holds out the data set's own validation identities instead: the 99 of SYSU-MM01 (which "
        'leaves 296 of 395 to train on), or the split "val" of an index.',
    )
    feed: Literal["auto", "tfdata", "memmap", "device"] = field(
        "auto",
        '"tfdata" decodes files as it goes. "memmap" decodes them once into a memory-mapped array '
        'under the workdir, and needs no TensorFlow. "device" holds all training images in '
        "the memory of every device. "
        '"auto" is tfdata where TensorFlow works, else memmap. All give the same batches.',
        may_change=("resumed",),
    )
    workers: int = field(4, "Files decoded at once.", POSITIVE, may_change=ANY_TIME)
    prefetch: int = field(
        4,
        "Batches kept ready. The memory of a feed holds that many and one more, and an image for "
        "each of `workers`.",
        POSITIVE,
        may_change=("resumed",),
    )

    @property
    def validates(self) -> bool:
        """Whether training identities are held out."""
        return self.validation_split or self.validation_identities > 0


@dataclass(frozen=True)
class BatchConfig(Settings):
    """A batch has `identities` x `images` visible and as many infrared images."""

    identities: int = field(8, "Different people in a batch, P.", POSITIVE)
    images: int = field(
        4, "Images of each identity in each modality, K; repeated where there are fewer.", POSITIVE
    )


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network, `lupi_jax.EmbedNet`.

    The original's `agw` has the defaults, its `base` no `non_local` and `pooling` "average".
    """

    backbone: Literal["resnet50", "resnet34", "resnet18", "thin", "resnet18_non_local"] = field(
        "resnet50",
        'The residual network. "thin" is for demonstrations on a CPU. "resnet18_non_local" has '
        "non-local blocks in layer2 and layer3, which the original's ResNet-18 lacks.",
    )
    non_local: bool = field(
        True,
        'AGW\'s non-local blocks. "resnet18" never has them, like the original. "resnet34" has '
        "them only here, since the released code cannot run it.",
    )
    pooling: Literal["gem", "average"] = field(
        "gem", '"gem" is the generalised mean with p = 3, "average" the plain one.'
    )
    stem_relu: bool = field(
        False,
        "A ReLU after the stem's first normalisation, as in torchvision and AGW, not in LUPI.",
    )
    shared_from: Literal["layer2", "layer1"] = field(
        "layer2",
        'First layer that all modalities share: "layer2" in LUPI\'s code, "layer1" in AGW.',
    )


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """The optimiser: two learning-rate groups, warm-up and stages."""

    name: Literal["sgd", "adam"] = field(
        "sgd",
        '"sgd" is the original\'s: Nesterov momentum, coupled weight decay. "adam" (decoupled, '
        "Loshchilov & Hutter 2019) learns faster without pre-trained weights.",
    )
    rate: float = field(0.1, "Learning rate of neck and classifier after warm-up.", POSITIVE)
    trunk_factor: float = field(0.1, "Stems and trunk learn at `rate` times this.", NOT_NEGATIVE)
    momentum: float = field(
        0.9,
        "Nesterov momentum of SGD, or Adam's decay of the mean gradient.",
        Rule(lambda momentum: 0 <= momentum < 1, "must lie in [0, 1)"),
    )
    weight_decay: float = field(
        5e-4, "Added to SGD's gradient, or Adam's update, times the parameter.", NOT_NEGATIVE
    )
    clip: float = field(
        0.0, "Global norm above which the gradient is scaled down. 0: never.", NOT_NEGATIVE
    )
    warmup: float = field(10.0, "Length of the linear warm-up, in `unit`s.", NOT_NEGATIVE)
    milestones: tuple[float, ...] = field(
        (20.0, 50.0),
        "Ends of the stages of the rate, in `unit`s.",
        Rule(lambda ends: [0, *ends] == sorted([0, *ends]), "must not be negative, nor decrease"),
    )
    factors: tuple[float, ...] = field(
        (0.1, 0.01),
        "What `rate` is multiplied by after each milestone.",
        Rule(lambda factors: min(factors, default=0) >= 0, "must not be negative"),
    )
    unit: Literal["epochs", "steps"] = field("epochs", "Unit of `warmup` and `milestones`.")


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """Who queries whom at test time."""

    pairs: tuple[str, ...] = field(
        ("infrared_to_visible", "visible_to_infrared"),
        "Who queries whom, as in the paper's Table 3.",
        _different(PAIRS),
        may_change=ANY_TIME,
    )
    protocol: Literal["official", "agw", "released"] = field(
        "official",
        'For SYSU-MM01: "official" (the data set\'s own permutation file), "agw" (galleries drawn '
        'by seed) or "released" (the original code\'s deviations).',
        may_change=ANY_TIME,
    )
    same_modality: Literal["auto", "camera", "identity_and_camera"] = field(
        "auto",
        "What a query ignores if both sides of a pair have one modality (intermediate images "
        'count as visible). "camera": every image of its camera, like the paper\'s Table 3. '
        '"identity_and_camera": the images of its identity by its camera, like Market-1501. "auto" '
        'is "camera" for SYSU-MM01, else "identity_and_camera". If no two cameras saw the same '
        "person, as in RegDB, a query ignores only itself.",
        may_change=ANY_TIME,
    )
    trials: int = field(10, "Galleries drawn, where any are.", POSITIVE, may_change=ANY_TIME)
    reranking: Literal["none", "k_reciprocal"] = field(
        "none",
        '"k_reciprocal" (Zhong et al., CVPR 2017, with its k1 = 20, k2 = 6, lambda = 0.3) compares '
        "queries with each other too, which a search does not do.",
        may_change=ANY_TIME,
    )
    precision: Literal["default", "high", "highest"] = field(
        "highest",
        '`precision` at test time and in exports. "highest" is the same on every device. A '
        "bfloat16 network is not affected.",
        may_change=ANY_TIME,
    )


@dataclass(frozen=True)
class LogConfig(Settings):
    """What a run writes down."""

    every: int = field(
        20,
        "Steps between rows of the log; a row is the mean over these steps.",
        POSITIVE,
        may_change=("resumed",),
    )
    validate_every: int = field(
        0, "Steps between validations; the last is validated too. 0 never validates.", NOT_NEGATIVE
    )
    checkpoint_every: int = field(
        500, "Steps between checkpoints. 0: one at the end.", NOT_NEGATIVE, may_change=("resumed",)
    )
    keep: int = field(2, "Newest checkpoints that stay.", POSITIVE, may_change=("resumed",))


@dataclass(frozen=True)
class Config(Settings):
    """A run: how long, by which recipe, computed how.

    Exactly one of `steps` and `epochs` is positive. Without both, the recipe gives the epochs.
    """

    seed: int = field(
        0,
        "Seed of all that is drawn: initial weights, batches, views, held-out identities.",
        NOT_NEGATIVE,
        Rule(lambda seed: seed < 2**32, "must be below 2^32: JAX's random keys hold 32 bits"),
    )
    steps: int = field(0, "Training steps.", NOT_NEGATIVE, may_change=("resumed",))
    epochs: float = field(
        0.0,
        "Instead of `steps`: passes of floor(max(visible, infrared) / (P K)) + 1 steps each, "
        "counted over all training images, held-out identities excluded.",
        NOT_NEGATIVE,
        may_change=("resumed",),
    )
    recipe: Literal["paper", "released", "baseline", "agw"] = field(
        "paper", "Fills fields left out: the paper, its code, its two-modality baseline, or AGW."
    )
    setting: Literal[
        "recipe", "infrared_privileged", "visible_privileged", "intermediate_privileged"
    ] = field(
        "recipe",
        'Which modality is privileged, in the order of the paper\'s Fig. 1 (a) to (c); "recipe" '
        "leaves it to the recipe. It fills `modalities` and `evaluation.pairs` where they "
        "are left out.",
    )
    modalities: tuple[str, ...] = field(
        tuple(str(m) for m in Modality), "Modalities trained on.", _different(list(Modality))
    )
    pretrained: str = field(
        "",
        "Weights to start from: a file, `hf://owner/name`, or a run of `lupi train` (its newest "
        "checkpoint; DIR@best or DIR@STEP another). Empty: drawn at random.",
        path=True,
    )
    pretrained_fresh: tuple[str, ...] = field(
        (),
        'Modules that start anew instead, as ("neck",). A classifier does so by itself, unless a '
        "run has trained it on the same identities.",
    )
    parallel: Literal["shard_map", "pmap"] = field("shard_map", "What maps the step over devices.")
    batch_norm: Literal["global", "device"] = field(
        "global",
        '"global" takes statistics over the whole batch, so that any number of devices computes '
        "the same; \"device\" over each device's rows, as PyTorch's DataParallel.",
    )
    step_timeout: float = field(
        1800.0,
        "Seconds without a step after which a process takes another one, or its input, for hung, "
        "and ends itself. The first step counts its compilation. 0: never.",
        NOT_NEGATIVE,
        may_change=("resumed",),
    )
    dtype: Literal["float32", "bfloat16", "float64"] = field(
        "float32",
        'Type of the computation. With "bfloat16" parameters, statistics, distances and losses '
        'stay float32. "float64" is for checks and needs JAX_ENABLE_X64=1.',
    )
    precision: Literal["default", "high", "highest"] = field(
        "default",
        "Precision of the matrix products and convolutions in training where `dtype` is float32, "
        'by JAX\'s names. "default" is TensorFloat-32 on an NVIDIA GPU, one pass in bfloat16 on a '
        'TPU, float32 on a CPU; "high" TensorFloat-32 on a GPU and three passes in bfloat16 on a '
        'TPU; "highest" float32 everywhere.',
    )
    data: SourceConfig = SourceConfig()
    batch: BatchConfig = BatchConfig()
    model: ModelConfig = ModelConfig()
    views: ViewSettings = dataclasses.field(default_factory=ViewSettings)
    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    log: LogConfig = LogConfig()
