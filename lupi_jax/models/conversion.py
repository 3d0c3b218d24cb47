"""Weights from PyTorch: released LUPI and AGW checkpoints, and torchvision's ResNets.

A declarative table for each names every tensor; both directions read it. Weights are taken whole
or refused with every mismatch in one report; what is not to be taken has to be named.
"""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models.embed_net import EmbedNet, initialize
from lupi_jax.models.layers import NonLocal
from lupi_jax.models.resnet import BACKBONES
from lupi_jax.models.state_dicts import listed

Variables = dict[str, Any]

# Rows of (our modules, a regular expression; PyTorch's module, with \1.. from it).
Table = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Family:
    """PyTorch networks that name their tensors alike.

    Attributes:
      title: what messages call it.
      mark: names that only this family has, a regular expression.
      table: our modules and theirs.
      ignored: names of what the network has no use for, a regular expression.
      absent: our modules that no such network has and that may be taken from elsewhere without
        being named, a regular expression.
      stem_relu: whether a ReLU follows the stem's first normalisation, as `EmbedNet.stem_relu`;
        None where the weights serve either.
    """

    title: str
    mark: str
    table: Table
    ignored: str
    absent: str = "(?!)"
    stem_relu: bool | None = None


_COUNTERS = r"(.+\.)?num_batches_tracked"
_BLOCK = r"layer[1-4]\.\d+\.(conv[1-3]|bn[1-3]|downsample\.[01])\.\w+"
_STEMS = (
    ("visible", "visible_module"),
    ("infrared", "thermal_module"),
    ("intermediate", "gray_module"),
)
_HEAD: Table = (
    (r"trunk/layer(\d)/non_local(\d+)/g", r"NL_\1.\2.g.0"),
    (r"trunk/layer(\d)/non_local(\d+)/(theta|phi)", r"NL_\1.\2.\3"),
    (r"trunk/layer(\d)/non_local(\d+)/out", r"NL_\1.\2.W.0"),
    (r"trunk/layer(\d)/non_local(\d+)/out_bn", r"NL_\1.\2.W.1"),
    (r"neck", "bottleneck"),
    (r"classifier", "classifier"),
)
_RELEASED = Family(
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
# AGW's modalities share layer1, which is copied to both stems of a network that has it there. Each
# of its three parts holds a whole ResNet and uses a piece of it.
_AGW_PARTS = ("visible_module.visible", "thermal_module.thermal")
_AGW_BASE = "base_resnet.base"
_AGW = Family(
    title="AGW",
    mark=r"visible_module\.visible\..+|thermal_module\.thermal\..+|base_resnet\.base\..+",
    table=(
        *(
            (rf"stem_{ours}/(conv1|bn1)", rf"{part}.\1")
            for (ours, _), part in zip(_STEMS, _AGW_PARTS, strict=False)
        ),
        (r"stem_(?:visible|infrared)/layer1/block(\d+)/(.+)", rf"{_AGW_BASE}.layer1.\1.\2"),
        (r"trunk/layer(\d)/block(\d+)/(.+)", rf"{_AGW_BASE}.layer\1.\2.\3"),
        *_HEAD,
    ),
    ignored=rf"{_COUNTERS}|(visible_module\.visible|thermal_module\.thermal)\.{_BLOCK}"
    r"|base_resnet\.base\.(conv1|bn1)\.\w+",
    stem_relu=True,
)
# torchvision's ResNet has one stem, copied to every modality, and neither neck nor non-local.
_TORCHVISION = Family(
    title="torchvision's ResNet",
    mark=rf"conv1\.weight|{_BLOCK}",
    table=(
        (r"stem_\w+/(conv1|bn1)", r"\1"),
        (r"stem_\w+/layer1/block(\d+)/(.+)", r"layer1.\1.\2"),
        (r"trunk/layer(\d)/block(\d+)/(.+)", r"layer\1.\2.\3"),
    ),
    ignored=rf"{_COUNTERS}|fc\.(weight|bias)",
    absent=r"trunk/layer\d/non_local\d+/\w+|neck|classifier",
)
_FAMILIES = (_RELEASED, _AGW, _TORCHVISION)
# nn.DataParallel, whose state dict carries it on every name.
_WRAPPER = "module."
_WITHIN_BLOCK = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def _torch_name(path: tuple[str, ...], table: Table) -> str | None:
    """The PyTorch name of our variable `path` = (collection, modules..., leaf), or None."""
    modules = "/".join(_WITHIN_BLOCK.get(part, part) for part in path[1:-1])
    for pattern, name in table:
        match = re.fullmatch(pattern, modules)
        if match:
            return f"{match.expand(name)}.{_LEAVES[path[-1]]}"
    return None


def _to_ours(value: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO, [out, in] -> [in, out]."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T


def _to_theirs(value: np.ndarray) -> np.ndarray:
    """HWIO -> OIHW, [in, out] -> [out, in]."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    return value.T


def _unwrapped(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(name.startswith(_WRAPPER) for name in state_dict):
        return {name.removeprefix(_WRAPPER): value for name, value in state_dict.items()}
    return dict(state_dict)


def _family(tensors: Mapping[str, np.ndarray]) -> Family:
    for family in _FAMILIES:
        if any(re.fullmatch(family.mark, name) for name in tensors):
            return family
    first = ("params", "stem_visible", "conv1", "kernel")
    known = "; ".join(f"{f.title}, as {_torch_name(first, f.table)}" for f in _FAMILIES)
    names = ", ".join(itertools.islice(tensors, 3)) or "none"
    raise InputError(
        f"these {len(tensors)} weights are of no network known here: the first are {names}; known "
        f"are those of {known}"
    )


def classes_of(state_dict: Mapping[str, np.ndarray]) -> int | None:
    """How many identities the network of these weights classifies; None without a classifier.

    Args:
      state_dict: {name: array} as `from_torch` takes it. A torchvision ResNet's `fc` is no
        classifier of identities.
    """
    weight = _unwrapped(state_dict).get("classifier.weight")
    return len(weight) if np.ndim(weight) == 2 else None  # pyright: ignore[reportArgumentType]


def modalities_of(state_dict: Mapping[str, np.ndarray]) -> tuple[Modality, ...]:
    """The modalities that these weights have a stem for; all where one stem serves each.

    Args:
      state_dict: {name: array} as `from_torch` takes it.

    Raises:
      InputError: the weights are of no network known here.
    """
    tensors = _unwrapped(state_dict)
    table = _family(tensors).table
    return tuple(
        m
        for m in Modality
        if _torch_name(("params", f"stem_{m}", "conv1", "kernel"), table) in tensors
    )


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    model: EmbedNet,
    modalities: tuple[Modality, ...] = tuple(Modality),
    initial: Variables | None = None,
    fresh: tuple[str, ...] = (),
) -> Variables:
    """Variables of `model` from PyTorch tensors.

    Args:
      state_dict: {name: array} in PyTorch's layouts, with or without nn.DataParallel's `module.`,
        of a released LUPI network (names as `visible_module.resnet_part1.0.weight`), of AGW
        (`visible_module.visible.conv1.weight`), or of a torchvision ResNet (`conv1.weight`): its
        stem is then copied to every modality, its `fc` ignored, and what it does not have
        (non-local blocks, neck, classifier) is taken from `initial`. What a released ResNet-18
        stores of non-local blocks that it never runs is left out (`remarks_on`).
      model: the network to fill.
      modalities: whose stems to fill; other stems of `state_dict` are left out.
      initial: variables to take the rest from; fresh ones (key 0) where None.
      fresh: what to take from `initial` whatever `state_dict` has of it: modules of ours
        ("classifier", "trunk/layer2/non_local0") or the beginning of names of theirs ("NL_2"),
        whole parts of a name each.

    Returns:
      {"params": ..., "batch_stats": ...} of float arrays, in the dtype of `state_dict`.

    Raises:
      InputError: the weights are of no network known here, or of one that computes otherwise;
        some tensor is missing, unexpected, misshaped or not of finite floats (all of them are
        named); `fresh` names nothing.
    """
    tensors = _unwrapped(state_dict)
    family = _family(tensors)
    if family.stem_relu is not None and family.stem_relu != model.stem_relu:
        raise InputError(
            f"these weights are of {family.title}, which has {'a' if family.stem_relu else 'no'} "
            "ReLU after each stem's first normalisation: set "
            f"--config.model.stem_relu={family.stem_relu}"
        )
    template = jax.eval_shape(
        lambda: initialize(model, jax.random.key(0), tuple(Modality), image_size=(32, 32))
    )
    whole: dict[tuple[str, ...], Any] = flatten_dict(template)
    others = {f"stem_{m}" for m in Modality if m not in modalities}
    expected = {path: shape for path, shape in whole.items() if path[1] not in others}
    names = {path: _torch_name(path, family.table) for path in expected}
    unreached = _unreached_blocks(tensors, family, model)
    _check_fresh(fresh, [_ours(path) for path in expected], tensors)
    kept = {
        path
        for path, name in names.items()
        if _begins(_ours(path), fresh, "/")
        or (name is None and re.fullmatch(family.absent, "/".join(path[1:-1])))
        or (name is not None and _begins(name, fresh, "."))
    }
    result: dict[tuple[str, ...], Any] = {}
    bad = set()
    problems: dict[str, list[str]] = {
        kind: [] for kind in ("missing", "unexpected", "misshaped", "not of floats", "not finite")
    }
    for path in expected.keys() - kept:
        name = names[path]
        if name is None or name not in tensors:
            # Where theirs has no name for it, the module of ours says more than its variables.
            problems["missing"].append(name or path[1])
            bad.add(path)
            continue
        value = np.asarray(tensors[name])
        result[path] = _to_ours(value)
        if result[path].shape != expected[path].shape:
            theirs = _to_theirs(np.empty(expected[path].shape)).shape
            problems["misshaped"].append(f"{name} is {value.shape}, not {theirs}")
            bad.add(path)
        if not jnp.issubdtype(value.dtype, jnp.floating):
            problems["not of floats"].append(f"{name} is {value.dtype}")
        elif not np.isfinite(value).all():
            problems["not finite"].append(name)
    used = set(names.values())
    # A stem that nobody asked for is left where it is.
    used |= {_torch_name(path, family.table) for path in whole.keys() - expected.keys()}
    problems["unexpected"] = [
        name
        for name in tensors
        if name not in used
        and not re.fullmatch(family.ignored, name)
        and name not in unreached
        and not _begins(name, fresh, ".")
    ]
    report = [f"{len(set(of))} {kind}: {listed(of)}" for kind, of in problems.items() if of]
    if report:
        good = expected.keys() - bad
        how = _how_to_ask(
            [_ours(path) for path in sorted(bad)],
            [_ours(path) for path in good],
            sorted(problems["unexpected"]),
            [name for name in used if name],
        )
        other = (
            _other_backbone(tensors, family, model)
            or _other_layer1(family, model)
            or _other_blocks(tensors, family, model)
        )
        report = [*other, *report] if other else [*report, *how]
        raise InputError(
            f"these weights of {family.title} do not fit EmbedNet({model.num_classes}, "
            f"{model.backbone}): {'; '.join(report)}"
        )
    if kept:
        if initial is None:
            initial = initialize(model, jax.random.key(0), modalities, image_size=(32, 32))
        fallback = flatten_dict(initial)
        result.update({path: fallback[path] for path in kept})
    return unflatten_dict({path: result[path] for path in expected})


def _ours(path: tuple[str, ...]) -> str:
    """Our variable `path` = (collection, modules..., leaf) without its collection."""
    return "/".join(path[1:])


def _begins(name: str, prefixes: Iterable[str], separator: str) -> bool:
    """Whether one of `prefixes` is `name` or its first parts."""
    return any(f"{name}{separator}".startswith(f"{prefix}{separator}") for prefix in prefixes)


def _check_fresh(fresh: tuple[str, ...], ours: list[str], theirs: Iterable[str]) -> None:
    """Refuse what in `fresh` begins neither a path of ours nor a name of theirs."""
    wrong = [
        name
        for name in fresh
        if not any(_begins(path, (name,), "/") for path in ours)
        and not any(_begins(other, (name,), ".") for other in theirs)
    ]
    if not wrong:
        return
    tops, their_tops = ({n.split(s)[0] for n in names} for names, s in ((ours, "/"), (theirs, ".")))
    known = {path.rpartition("/")[0] for path in ours} | tops | their_tops
    close = difflib.get_close_matches(wrong[0], known, 1)
    raise InputError(
        f"pretrained_fresh names nothing by {', '.join(map(repr, wrong))}"
        + (f" (did you mean {close[0]}?)" if close else "")
        + f": the network has {listed(tops)}, the weights have {listed(their_tops)}"
    )


def _other_backbone(
    tensors: Mapping[str, np.ndarray], family: Family, model: EmbedNet
) -> list[str]:
    """Which backbone the weights are of, where that is not the model's."""

    def has(layer: int, block: int, conv: str) -> bool:
        path = ("params", "trunk", f"layer{layer}", f"block{block}", conv, "kernel")
        return _torch_name(path, family.table) in tensors

    blocks = tuple(
        next(block for block in itertools.count() if not has(layer, block, "conv1"))
        for layer in (2, 3, 4)
    )
    shape = (blocks, has(2, 0, "conv3"))
    shapes = {name: (net.blocks[1:], net.bottleneck) for name, net in BACKBONES.items()}
    if shape == shapes[model.backbone]:
        return []
    known = [name for name in BACKBONES if shapes[name] == shape]
    return [f"they are of {known[0]}" if known else f"layer2 to layer4 have {blocks} blocks"]


def _other_layer1(family: Family, model: EmbedNet) -> list[str]:
    """What to set where the weights have a layer1 for each modality and the model shares it."""
    if family is not _RELEASED or model.shared_from == "layer2":
        return []
    return ["each modality has its own layer1 in them: set --config.model.shared_from=layer2"]


def _other_blocks(tensors: Mapping[str, np.ndarray], family: Family, model: EmbedNet) -> list[str]:
    """What to set where only one of weights and model has non-local blocks."""
    has = any(name.startswith("NL_") for name in tensors)
    if family is _TORCHVISION or has == model.non_local:
        return []
    if has:
        return ["they have non-local blocks: set --config.model.non_local=True"]
    return [
        "they have no non-local blocks: set --config.model.non_local=False, and for the original's "
        "`base` networks --config.model.pooling=average"
    ]


def _how_to_ask(ours: list[str], good: list[str], theirs: list[str], used: list[str]) -> list[str]:
    """How to have the variables `ours` and the tensors `theirs` left out, and no more than these.

    Nothing where that takes many names: these are then of another network, and little would be
    left of them.
    """
    names = [_shortest(path, good, "/") for path in ours]
    names += [_shortest(name, used, ".") for name in theirs]
    fresh = tuple(dict.fromkeys(names))
    if not 0 < len(fresh) <= 8:
        return []
    return [
        f'to start these anew, or leave them out, name them: --config.pretrained_fresh="{fresh}"'
    ]


def _shortest(name: str, others: list[str], separator: str) -> str:
    """The fewest first parts of `name` that none of `others` begins with."""
    parts = itertools.accumulate(name.split(separator), f"{{}}{separator}{{}}".format)
    return next((p for p in parts if not any(_begins(o, (p,), separator) for o in others)), name)


def _leaves_blocks_unrun(family: Family, model: EmbedNet) -> bool:
    """Whether the weights may hold non-local blocks that neither network runs."""
    placed = any(BACKBONES[model.backbone].non_local)
    return family is _RELEASED and model.non_local and not placed


def _unreached_blocks(
    tensors: Mapping[str, np.ndarray], family: Family, model: EmbedNet
) -> set[str]:
    """The names of the non-local blocks that a released ResNet-18 stores and never runs.

    The released code makes them with ResNet-50's channels and puts them at ResNet-50's block
    numbers, which layers of two blocks do not reach.
    """
    if not _leaves_blocks_unrun(family, model):
        return set()
    net = BACKBONES["resnet50"]
    names = set()
    for layer, count in enumerate(net.non_local, 1):
        images = jax.ShapeDtypeStruct((1, 1, 1, net.width * 4 * 2 ** (layer - 1)), jnp.float32)
        block = jax.eval_shape(partial(NonLocal().init, train=False), jax.random.key(0), images)
        leaves: dict[tuple[str, ...], Any] = flatten_dict(block)
        for (collection, *modules), leaf in leaves.items():
            for i in range(count):
                path = (collection, "trunk", f"layer{layer}", f"non_local{i}", *modules)
                name = _torch_name(path, _RELEASED.table)
                theirs = _to_theirs(np.empty(leaf.shape)).shape
                if name and name in tensors and np.shape(tensors[name]) == theirs:
                    names.add(name)
    return names


def remarks_on(state_dict: Mapping[str, np.ndarray], model: EmbedNet) -> list[str]:
    """What a user should know of weights that `from_torch` takes, one line each.

    Args:
      state_dict: {name: array} as `from_torch` takes it.
      model: the network to fill.

    Returns:
      Lines, none where there is nothing to say. Of a ResNet-18 with `non_local`: that the weights'
      non-local blocks are left out, or that they have none.

    Raises:
      InputError: the weights are of no network known here.
    """
    tensors = _unwrapped(state_dict)
    family = _family(tensors)
    if not _leaves_blocks_unrun(family, model):
        return []
    unreached = _unreached_blocks(tensors, family, model)
    if unreached:
        return [
            f"{len(unreached)} tensors of non-local blocks (NL_2, NL_3) are left out: the original "
            "stores them in a ResNet-18 and never runs them"
        ]
    return [
        "these weights have no non-local blocks; where the original's `--method base` made them, "
        "set --config.model.non_local=False and --config.model.pooling=average"
    ]


def to_torch(
    variables: Variables, names: Literal["lupi", "agw"] | None = None
) -> dict[str, np.ndarray]:
    """The released code's {name: array} of our variables: the inverse of `from_torch`.

    AGW's code keeps three whole ResNets and uses a piece of each; the pieces that it does not use
    are filled with copies of those that it does, so that its network takes the result as it is.
    A released ResNet-18 of `--method agw` stores non-local blocks that it never runs; ours has
    none to write.

    Args:
      variables: of an `EmbedNet`.
      names: "lupi", or "agw" for a network of a visible and an infrared stem whose layer1 is
        shared. LUPI's names cannot say that layer1 is shared: every stem gets a copy. None takes
        "agw" where layer1 is shared, else "lupi".

    Returns:
      Arrays in PyTorch's layouts, and the counters of its batch normalisation, at 0. LUPI's
      network has no ReLU in its stem and AGW's has one: under the names of the other, a network
      computes something else.

    Raises:
      InputError: AGW's names are asked for, or taken, and the network has other stems than AGW's,
        or a layer1 in each.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(variables)
    shared = any(path[1:3] == ("trunk", "layer1") for path in flat)
    names = names or ("agw" if shared else "lupi")
    if names == "agw" and not shared:
        raise InputError(
            "AGW's modalities share layer1, and each of this network's has its own: write it with "
            'to_torch(variables, names="lupi")'
        )
    stems = {path[1] for path in flat if path[1].startswith("stem_")}
    if names == "agw" and stems != {"stem_visible", "stem_infrared"}:
        raise InputError(
            f"AGW's network has stem_infrared and stem_visible, and this one has {listed(stems)}: "
            "to write it with a copy of layer1 in every stem, call "
            'to_torch(variables, names="lupi")'
        )
    if names == "lupi" and shared:
        flat = _with_own_layer1(flat)
    table = (_AGW if names == "agw" else _RELEASED).table
    result = {}
    for path, value in flat.items():
        name = _torch_name(path, table)
        assert name is not None, path
        result[name] = np.ascontiguousarray(_to_theirs(np.asarray(value)))
        if path[-1] == "mean":
            result[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)
    return result | _unused_by_agw(result) if names == "agw" else result


def _with_own_layer1(flat: dict[tuple[str, ...], Any]) -> dict[tuple[str, ...], Any]:
    """Variables that share layer1 as those that have a copy of it in every stem."""
    stems = {path[1] for path in flat if path[1].startswith("stem_")}
    result = {}
    for (collection, *modules), value in flat.items():
        if modules[:2] == ["trunk", "layer1"]:
            result.update({(collection, stem, *modules[1:]): value for stem in stems})
        else:
            result[(collection, *modules)] = value
    return result


def _unused_by_agw(used: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What fills AGW's three ResNets beside the tensors that it uses: the layers, and a stem."""
    result = {}
    for name, value in used.items():
        if name.startswith(f"{_AGW_BASE}."):
            result.update({f"{part}{name.removeprefix(_AGW_BASE)}": value for part in _AGW_PARTS})
        elif name.startswith(f"{_AGW_PARTS[0]}."):
            result[f"{_AGW_BASE}{name.removeprefix(_AGW_PARTS[0])}"] = value
    return result
