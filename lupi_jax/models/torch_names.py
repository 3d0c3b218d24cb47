"""Tables of how LUPI's released code, AGW, torchvision and timm name and lay out their tensors."""

import dataclasses
import itertools
import re
from collections.abc import Mapping

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

# One of our variables: (collection, modules..., leaf).
Path = tuple[str, ...]

_WITHIN_BLOCK = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of PyTorch networks with the same names of tensors.

    Attributes:
      title: name in messages.
      mark: regular expression of names that only this family has.
      table: pairs of a regular expression for our modules and their name for it, with \\1.. from
        the expression.
      ignored: regular expression of PyTorch names that the network does not use.
      absent: regular expression of our modules that the family lacks. They are initialised at
        random without the user listing them.
      stem_relu: whether a ReLU follows the stem's first normalisation, see `EmbedNet.stem_relu`.
        None means that the weights fit both.
      one_stem: whether its one stem serves every modality.
      leaves: pairs of our name of a variable inside a module and theirs. Other names are equal.
      collections: whether names outside "params" begin with their collection.
    """

    title: str
    mark: str
    table: tuple[tuple[str, str], ...]
    ignored: str = "(?!)"
    absent: str = "(?!)"
    stem_relu: bool | None = None
    one_stem: bool = False
    leaves: Mapping[str, str] = dataclasses.field(default_factory=lambda: _LEAVES)
    collections: bool = False

    def name_of(self, path: Path) -> str | None:
        """The PyTorch name of our variable `path`, or None if this family lacks it."""
        modules = "/".join(_WITHIN_BLOCK.get(part, part) for part in path[1:-1])
        for pattern, name in self.table:
            match = re.fullmatch(pattern, modules)
            if match:
                module, leaf = match.expand(name), self.leaves.get(path[-1], path[-1])
                if self.collections and path[0] != "params":
                    leaf = f"{path[0]}.{leaf}"
                return f"{module}.{leaf}" if module else leaf
        return None


_COUNTERS = r"(.+\.)?num_batches_tracked"
_BLOCK = r"layer[1-4]\.\d+\.(conv[1-3]|bn[1-3]|downsample\.[01])\.\w+"
_STEMS = (
    ("visible", "visible_module"),
    ("infrared", "thermal_module"),
    ("intermediate", "gray_module"),
)
_HEAD = (
    (r"trunk/layer(\d)/non_local(\d+)/g", r"NL_\1.\2.g.0"),
    (r"trunk/layer(\d)/non_local(\d+)/(theta|phi)", r"NL_\1.\2.\3"),
    (r"trunk/layer(\d)/non_local(\d+)/out", r"NL_\1.\2.W.0"),
    (r"trunk/layer(\d)/non_local(\d+)/out_bn", r"NL_\1.\2.W.1"),
    (r"neck", "bottleneck"),
    (r"classifier", "classifier"),
)

LUPI = Family(
    title="LUPI",
    mark=r".+_module\.resnet_part1\..+|base_resnet\.resnet_part2\..+",
    table=(
        *((rf"stem_{ours}/conv1", f"{theirs}.resnet_part1.0") for ours, theirs in _STEMS),
        *((rf"stem_{ours}/bn1", f"{theirs}.resnet_part1.1") for ours, theirs in _STEMS),
        *(
            (rf"stem_{ours}/layer1/block(\d+)/(.+)", rf"{theirs}.resnet_part1.3.\1.\2")
            for ours, theirs in _STEMS
        ),
        *(
            (rf"trunk/layer{i + 2}/block(\d+)/(.+)", rf"base_resnet.resnet_part2.{i}.\1.\2")
            for i in range(3)
        ),
        *_HEAD,
    ),
    ignored=_COUNTERS,
    stem_relu=False,
)

# Each of AGW's three parts holds a whole ResNet and uses a piece of it. Its modalities share
# layer1. If our network has layer1 in its stems, both stems get a copy.
AGW_STEMS = {"stem_visible": "visible_module.visible", "stem_infrared": "thermal_module.thermal"}
AGW_BASE = "base_resnet.base"
AGW = Family(
    title="AGW",
    mark=r"visible_module\.visible\..+|thermal_module\.thermal\..+|base_resnet\.base\..+",
    table=(
        *((rf"{ours}/(conv1|bn1)", rf"{theirs}.\1") for ours, theirs in AGW_STEMS.items()),
        (r"stem_(?:visible|infrared)/layer1/block(\d+)/(.+)", rf"{AGW_BASE}.layer1.\1.\2"),
        (r"trunk/layer(\d)/block(\d+)/(.+)", rf"{AGW_BASE}.layer\1.\2.\3"),
        *_HEAD,
    ),
    ignored=rf"{_COUNTERS}|(visible_module\.visible|thermal_module\.thermal)\.{_BLOCK}"
    r"|base_resnet\.base\.(conv1|bn1)\.\w+",
    stem_relu=True,
)

# torchvision's ResNet has one stem, which every modality gets a copy of. It lacks the neck and the
# non-local blocks.
TORCHVISION = Family(
    title="torchvision's ResNet",
    mark=rf"conv1\.weight|{_BLOCK}",
    table=(
        (r"stem_\w+/(conv1|bn1)", r"\1"),
        (r"stem_\w+/layer1/block(\d+)/(.+)", r"layer1.\1.\2"),
        (r"trunk/layer(\d)/block(\d+)/(.+)", r"layer\1.\2.\3"),
    ),
    ignored=rf"{_COUNTERS}|fc\.(weight|bias)",
    absent=r"trunk/layer\d/non_local\d+/\w+|neck|classifier",
    one_stem=True,
)

# timm's ViT has one patch embedding, which every modality gets a copy of, and no neck.
TIMM_VIT = Family(
    title="timm's ViT",
    mark=r"patch_embed\.proj\.weight|blocks\.\d+\.attn\.qkv\.weight",
    table=(
        (r"stem_\w+", "patch_embed.proj"),
        (r"trunk", ""),
        (r"trunk/block(\d+)/(norm[12])", r"blocks.\1.\2"),
        (r"trunk/block(\d+)/(qkv|proj)", r"blocks.\1.attn.\2"),
        (r"trunk/block(\d+)/(fc[12])", r"blocks.\1.mlp.\2"),
        (r"trunk/norm", "norm"),
    ),
    ignored=r"head\.(weight|bias)",
    absent=r"neck|classifier",
    one_stem=True,
)

FAMILIES = (LUPI, AGW, TORCHVISION, TIMM_VIT)

# A network of this package, with our names and PyTorch's layouts. A user's own backbone may have
# any variables in a module, such as `kernel` beside `weight`, or `mean` in two collections. So no
# name may be changed into another.
OURS = Family(
    title="a run of `lupi train`",
    mark=r"trunk[/.].+|neck\.scale",  # a trunk may lack variables
    table=((r"(.+)", r"\1"),),
    leaves={},
    collections=True,
)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Tensors {name: array}, as `unwrapped` returns them, and the family of their names."""

    tensors: Mapping[str, np.ndarray]
    family: Family

    @classmethod
    def of(cls, state_dict: Mapping[str, np.ndarray]) -> "Weights":
        """Find the family of the names in `state_dict`.

        Raises:
          InputError: the weights do not come from a known network.
        """
        tensors = unwrapped(state_dict)
        for family in (*FAMILIES, OURS):
            if any(re.fullmatch(family.mark, name) for name in tensors):
                return cls(tensors, family)
        known = "; ".join(
            f"{f.title}, as {name}"
            for f in FAMILIES
            for name in map(f.name_of, _first_of_stem(Modality.VISIBLE))
            if name is not None
        )
        first = ", ".join(itertools.islice(tensors, 3)) or "none"
        raise InputError(
            f"these {len(tensors)} weights do not come from a known network (first names: "
            f"{first}): give weights of {known}"
        )

    def has(self, path: Path) -> bool:
        """Whether the tensors include our variable `path`."""
        return self.family.name_of(path) in self.tensors

    def has_stem(self, modality: Modality) -> bool:
        """Whether the tensors include a stem that images of `modality` go through."""
        if self.family is OURS:
            return any(re.match(rf"stem_{modality}[/.]", name) for name in self.tensors)
        return any(map(self.has, _first_of_stem(modality)))

    def value_of(self, path: Path) -> np.ndarray:
        """Our variable `path` in our layout; the tensors must include it."""
        name = self.family.name_of(path)
        assert name is not None, path
        return to_ours(np.asarray(self.tensors[name]))


def _first_of_stem(modality: Modality) -> tuple[Path, Path]:
    """The first variable of a stem, if it is a ResNet's and if it is a ViT's."""
    stem = f"stem_{modality}"
    return ("params", stem, "conv1", "kernel"), ("params", stem, "kernel")


def unwrapped(state_dict: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Remove the prefix `module.` that nn.DataParallel puts before every name."""
    if all(name.startswith("module.") for name in state_dict):
        return {name.removeprefix("module."): value for name, value in state_dict.items()}
    return state_dict


def to_ours(value: np.ndarray) -> np.ndarray:
    """Convert PyTorch's layout to ours, OIHW -> HWIO or [out, in] -> [in, out]."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}
    return value.transpose(axes.get(value.ndim, range(value.ndim)))


def to_theirs(value: np.ndarray) -> np.ndarray:
    """Convert our layout to PyTorch's, HWIO -> OIHW or [in, out] -> [out, in]."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}
    return value.transpose(axes.get(value.ndim, range(value.ndim)))


def their_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `to_theirs` gives an array of `shape`."""
    return to_theirs(np.empty(shape)).shape
