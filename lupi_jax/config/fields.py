"""The fields of a configuration, each with its default, help text and rules.

The fields of the views and the losses are in `lupi_jax.settings`, and rules between fields in
`lupi_jax.config.rules`.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from lupi_jax.declared import (
    NOT_NEGATIVE,
    POSITIVE,
    Occasion,
    Options,
    Rule,
    Settings,
    field,
    is_part,
)
from lupi_jax.modality import Modality
from lupi_jax.settings import LossSettings, ViewSettings

PAIRS = tuple(f"{query}_to_{gallery}" for query in Modality for gallery in Modality)
"""The pairs of query and gallery modality that `evaluation.pairs` may name."""

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
        'Kind of data set. "sysu" (SYSU-MM01), "regdb" and "llcm" are read as their owners publish '
        'them. "folder" and "synthetic" hold '
        "`{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`.",
    )
    root: str = field("", "Directory of the data set.", may_change=ANY_TIME, path=True)
    index: str = field(
        "",
        "Table of a folder's images, in the format that `lupi check-data --help` describes.",
        may_change=ANY_TIME,
        path=True,
    )
    identity_zero: Literal["auto", "person", "distractor"] = field(
        "auto",
        'Meaning of identity 0 in a folder or a table. "person" is a person like any other. '
        '"distractor", as in Market-1501, is a wrong match for every query, and is neither trained '
        'on nor used as a query. "auto" means "person", but is an error if the data also have junk '
        "(identity -1), which is always ignored.",
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
        "Height and width in pixels that every image is resized to.",
        Rule(lambda size: min(size) >= 32, "must be at least 32 on each side"),
    )
    validation_identities: int = field(
        0,
        "Number of training identities held out for validation, which finds the best checkpoint. "
        "0 holds out nobody; then the newest checkpoint counts.",
        NOT_NEGATIVE,
    )
    validation_split: bool = field(
        False,
        "Whether to hold out the data set's own validation identities instead: 99 of the 395 "
        'training identities of SYSU-MM01, or the split "val" of an index.',
    )
    feed: Literal["auto", "tfdata", "memmap", "device"] = field(
        "auto",
        'How training reads its images. "tfdata" decodes files during training. "memmap" decodes '
        "them once into a memory-mapped array in the workdir, and works without TensorFlow. "
        '"device" keeps all training images in the memory of every device. "auto" is "tfdata" if '
        'TensorFlow works, else "memmap". All give the same batches.',
        may_change=("resumed",),
    )
    workers: int = field(4, "Number of files decoded at once.", POSITIVE, may_change=ANY_TIME)
    prefetch: int = field(
        4,
        "Number of batches kept ready. Peak memory of the feed: `prefetch` + 1 batches plus one "
        "image per worker.",
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

    identities: int = field(8, "Identities per batch, P.", POSITIVE)
    images: int = field(
        4,
        "Images per identity and modality, K. If an identity has fewer, images are repeated.",
        POSITIVE,
    )


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network, `lupi_jax.EmbedNet`.

    The defaults correspond to the original code's `--method agw`. For its `--method base`, set
    `non_local` to False and `pooling` to "average".
    """

    backbone: (
        Literal["resnet50", "resnet34", "resnet18", "vit_small", "thin", "resnet18_non_local"] | str
    ) = field(
        "resnet50",
        'Network between image and pooling: a ResNet, or "vit_small", the vision transformer '
        'ViT-S/16. "thin" is a small ResNet for demonstrations on a CPU. "resnet18_non_local" has '
        "non-local blocks in layer2 and layer3, which the original code's ResNet-18 lacks.",
    )
    backbone_settings: Options = field(
        Options(), "Settings of your own backbone, each as `model.backbone_settings.NAME`."
    )
    non_local: bool = field(
        True,
        'Whether to use AGW\'s non-local blocks. "resnet18" never has them, as in the original '
        'code. "resnet34" has them here, although the original code cannot run it. "vit_small" has '
        "other blocks and ignores this.",
    )
    pooling: Literal["gem", "average"] = field(
        "gem",
        'Pooling: "gem" is the generalised mean with p = 3, "average" the arithmetic mean. '
        'The feature of "vit_small" is its class token, so it ignores this.',
    )
    stem_relu: bool = field(
        False,
        "Whether a ReLU follows the stem's first normalisation. torchvision and AGW have one, "
        "LUPI's code does not. Only ResNets have it.",
    )
    shared_from: Literal["layer2", "layer1"] = field(
        "layer2",
        'First layer of a ResNet that all modalities share: "layer2" in LUPI\'s code, "layer1" in '
        'AGW. In "vit_small" they share everything after the patch embedding.',
    )


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """The optimiser, with two learning rates, a warm-up and stages."""

    name: Literal["sgd", "adam"] = field(
        "sgd",
        'Optimiser. "sgd" (Nesterov momentum, coupled weight decay) is the original code\'s. '
        '"adam" (decoupled weight decay, Loshchilov & Hutter 2019) learns faster without '
        "pre-trained weights.",
    )
    rate: float = field(0.1, "Learning rate of neck and classifier after warm-up.", POSITIVE)
    trunk_factor: float = field(
        0.1, "Learning rate of stems and trunk, as a multiple of `rate`.", NOT_NEGATIVE
    )
    momentum: float = field(
        0.9,
        "Nesterov momentum of SGD, or Adam's decay of the mean gradient.",
        Rule(lambda momentum: 0 <= momentum < 1, "must lie in [0, 1)"),
    )
    weight_decay: float = field(
        5e-4,
        "Weight decay. This many times the parameter is added to SGD's gradient or Adam's update.",
        NOT_NEGATIVE,
    )
    clip: float = field(
        0.0, "Global norm to which a larger gradient is scaled down. 0 never scales.", NOT_NEGATIVE
    )
    warmup: float = field(10.0, "Length of the linear warm-up, counted in `unit`.", NOT_NEGATIVE)
    milestones: tuple[float, ...] = field(
        (20.0, 50.0),
        "Times at which the learning rate changes, counted in `unit`.",
        Rule(lambda ends: [0, *ends] == sorted([0, *ends]), "must not be negative, nor decrease"),
    )
    factors: tuple[float, ...] = field(
        (0.1, 0.01),
        "Learning rate after each milestone, as a multiple of `rate`.",
        Rule(lambda factors: min(factors, default=0) >= 0, "must not be negative"),
    )
    unit: Literal["epochs", "steps"] = field("epochs", "Unit of `warmup` and `milestones`.")


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is compared at test time, and how."""

    pairs: tuple[str, ...] = field(
        ("infrared_to_visible", "visible_to_infrared"),
        "Query and gallery modalities, as in the paper's Table 3.",
        _different(PAIRS),
        may_change=ANY_TIME,
    )
    protocol: Literal["official", "agw", "released"] = field(
        "official",
        'Protocol of SYSU-MM01. "official" reads the data set\'s own permutation file. "agw" draws '
        'the galleries by seed. "released" repeats the original code\'s deviations.',
        may_change=ANY_TIME,
    )
    same_modality: Literal["auto", "camera", "identity_and_camera"] = field(
        "auto",
        "Gallery images that a query ignores if query and gallery have the same modality "
        '(intermediate images count as visible). "camera" ignores every image of its camera, as in '
        "the paper's Table 3. "
        '"identity_and_camera" ignores the images of its identity from its camera, as in '
        'Market-1501. "auto" is "camera" for SYSU-MM01, else "identity_and_camera". If no two '
        "cameras saw the same person, as in RegDB, a query ignores only itself.",
        may_change=ANY_TIME,
    )
    trials: int = field(
        10,
        "Number of galleries to draw for SYSU-MM01 and LLCM.",
        POSITIVE,
        may_change=ANY_TIME,
    )
    reranking: Literal["none", "k_reciprocal"] = field(
        "none",
        'Re-ranking. "k_reciprocal" (Zhong et al., CVPR 2017, with k1 = 20, k2 = 6, lambda = 0.3) '
        "also compares queries with each other, which `lupi search` does not.",
        may_change=ANY_TIME,
    )
    precision: Literal["default", "high", "highest"] = field(
        "highest",
        "Precision of matrix products and convolutions at test time and in exports, named as in "
        '`precision`. "highest" is float32 on every device. A bfloat16 network ignores it.',
        may_change=ANY_TIME,
    )


@dataclass(frozen=True)
class LogConfig(Settings):
    """What a run writes, and how often."""

    every: int = field(
        20,
        "Steps per row of the log, which holds their means.",
        POSITIVE,
        may_change=("resumed",),
    )
    validate_every: int = field(
        0,
        "Steps between validations. The last step is validated too. 0 never validates.",
        NOT_NEGATIVE,
    )
    checkpoint_every: int = field(
        500,
        "Steps between checkpoints. 0 writes one at the end.",
        NOT_NEGATIVE,
        may_change=("resumed",),
    )
    hooks: tuple[str, ...] = field(
        (),
        'Your own hooks, each as MODULE:NAME, for instance ("my_module:Print",). The guide '
        '"Extend" describes them.',
        Rule(lambda names: all(map(is_part, names)), "must name each hook as MODULE:NAME"),
        may_change=("resumed",),
    )
    keep: int = field(
        2,
        "Number of newest checkpoints to keep. The best one is kept as well.",
        POSITIVE,
        may_change=("resumed",),
    )


@dataclass(frozen=True)
class Config(Settings):
    """A whole run, with its length, recipe, modalities and arithmetic.

    Exactly one of `steps` and `epochs` is positive. If neither is set, the recipe sets `epochs`.
    """

    seed: int = field(
        0,
        "Seed of the initial weights, the batches, the views and the held-out identities.",
        NOT_NEGATIVE,
        Rule(
            lambda seed: seed < 2**32, "must be below 2^32, because JAX's random keys hold 32 bits"
        ),
    )
    steps: int = field(0, "Number of training steps.", NOT_NEGATIVE, may_change=("resumed",))
    epochs: float = field(
        0.0,
        "Number of epochs, instead of `steps`. An epoch has floor(max(visible, infrared) / (P K)) "
        "+ 1 steps, counting all training images of identities that are not held out.",
        NOT_NEGATIVE,
        may_change=("resumed",),
    )
    recipe: Literal["paper", "released", "baseline", "agw"] = field(
        "paper",
        "Recipe that fills the fields left out: the paper, its released code, its two-modality "
        "baseline, or AGW.",
    )
    setting: Literal[
        "recipe", "infrared_privileged", "visible_privileged", "intermediate_privileged"
    ] = field(
        "recipe",
        "Privileged modality, in the order of the paper's Fig. 1 (a) to (c). It sets `modalities` "
        'and `evaluation.pairs` if they are left out. "recipe" leaves them to the recipe.',
    )
    modalities: tuple[str, ...] = field(
        tuple(str(m) for m in Modality), "Modalities to train on.", _different(list(Modality))
    )
    pretrained: str = field(
        "",
        "Weights to start from: a file, `hf://owner/name`, or the workdir DIR of a run. DIR takes "
        "its newest checkpoint; DIR@best and DIR@STEP take another. If empty, weights are random.",
        path=True,
    )
    pretrained_fresh: tuple[str, ...] = field(
        (),
        'Modules to initialise at random instead, for instance ("neck",). The classifier is one of '
        "them unless a run trained it on the same identities.",
    )
    parallel: Literal["shard_map", "pmap"] = field(
        "shard_map", "JAX function that maps the step over devices."
    )
    batch_norm: Literal["global", "device"] = field(
        "global",
        'Rows that batch normalisation averages over. "global" takes the whole batch, so that any '
        'number of devices computes the same. "device" takes the rows of each device, as '
        "PyTorch's DataParallel does.",
    )
    step_timeout: float = field(
        1800.0,
        "Seconds without a finished step after which a process ends itself, because another "
        "process or the input hangs. The first step includes its compilation. 0 waits for ever.",
        NOT_NEGATIVE,
        may_change=("resumed",),
    )
    dtype: Literal["float32", "bfloat16", "float64"] = field(
        "float32",
        'Floating-point type of the computation. With "bfloat16", parameters, statistics, '
        'distances and losses stay float32. "float64" is for checks and needs JAX_ENABLE_X64=1.',
    )
    precision: Literal["default", "high", "highest"] = field(
        "default",
        "Precision of matrix products and convolutions in training if `dtype` is float32, by JAX's "
        'names. "default" is TensorFloat-32 on an NVIDIA GPU, one bfloat16 pass on a TPU, and '
        'float32 on a CPU. "high" is TensorFloat-32 on a GPU and three bfloat16 passes on a TPU. '
        '"highest" is float32 everywhere.',
    )
    data: SourceConfig = SourceConfig()
    batch: BatchConfig = BatchConfig()
    model: ModelConfig = ModelConfig()
    views: ViewSettings = dataclasses.field(default_factory=ViewSettings)
    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    log: LogConfig = LogConfig()
