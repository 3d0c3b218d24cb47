"""Convert PyTorch weights to our variables and back. `torch_names` pairs the names."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models.embed_net import EmbedNet, initialize
from lupi_jax.models.mismatches import begins, check_fit, check_fresh, ours
from lupi_jax.models.resnet import ResNet
from lupi_jax.models.torch_names import (
    AGW,
    AGW_BASE,
    AGW_STEMS,
    LUPI,
    OURS,
    Family,
    Path,
    Weights,
    their_shape,
    to_theirs,
    unwrapped,
)

Variables = dict[str, Any]


def classes_of(state_dict: Mapping[str, np.ndarray]) -> int | None:
    """Number of identities that the weights' classifier has, or None without a classifier.

    Args:
      state_dict: {name: array} as `from_torch` takes it. The `fc` of a torchvision ResNet does
        not count as a classifier.
    """
    tensors = unwrapped(state_dict)
    weight = tensors.get("classifier.weight", tensors.get("classifier.kernel"))  # theirs, `OURS`
    return len(weight) if weight is not None and np.ndim(weight) == 2 else None


def modalities_of(state_dict: Mapping[str, np.ndarray]) -> tuple[Modality, ...]:
    """The modalities that have a stem in these weights; all if one stem serves every modality.

    Args:
      state_dict: {name: array} as `from_torch` takes it.

    Raises:
      InputError: the weights do not come from a known network.
    """
    weights = Weights.of(state_dict)
    return tuple(m for m in Modality if weights.has_stem(m))


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    model: EmbedNet,
    modalities: tuple[Modality, ...] = tuple(Modality),
    initial: Variables | None = None,
    fresh: tuple[str, ...] = (),
) -> Variables:
    """Make the variables of `model` from PyTorch tensors.

    The tensors may come from one of five kinds of networks:

    - a released LUPI network, with names like `visible_module.resnet_part1.0.weight`. A released
      ResNet-18 stores non-local blocks that it never runs; they are left out (`remarks_on`).
    - AGW, with names like `visible_module.visible.conv1.weight`.
    - a torchvision ResNet, with names like `conv1.weight`. Its stem is copied to every modality
      and its `fc` is ignored. Non-local blocks, neck and classifier come from `initial`.
    - timm's ViT, with names like `blocks.0.attn.qkv.weight`. Its patch embedding is copied to every
      modality and its `head` is ignored. Neck and classifier come from `initial`.
    - this package, as `to_named` returns them.

    Args:
      state_dict: {name: array} in PyTorch's layouts, with or without the `module.` prefix of
        nn.DataParallel.
      model: the network to fill.
      modalities: the modalities whose stems to fill. Other stems of `state_dict` are left out.
      initial: variables for everything that does not come from `state_dict`. None draws them with
        key 0.
      fresh: modules to take from `initial` even if `state_dict` has them. Each is one of our
        modules ("classifier", "trunk/layer2/non_local0"), or whole first parts of PyTorch names
        ("NL_2").

    Returns:
      {"params": ..., "batch_stats": ...} of float arrays, in the dtype of `state_dict`.

    Raises:
      InputError: the weights do not come from a known network, or from one that computes something
        else; tensors are missing, unexpected, misshaped or not finite floats (the message names
        all of them); or `fresh` names something that does not exist.
    """
    weights = Weights.of(state_dict)
    relu = weights.family.stem_relu
    if isinstance(model.net, ResNet) and relu not in (None, model.stem_relu):
        raise InputError(
            f"these weights are of {weights.family.title}, which has {'a' if relu else 'no'} ReLU "
            f"after each stem's first normalisation: set --config.model.stem_relu={relu}"
        )
    every = _shapes(model)
    others = {f"stem_{m}" for m in Modality if m not in modalities}
    shapes = {path: shape for path, shape in every.items() if path[1] not in others}
    check_fresh(fresh, shapes, weights.tensors)
    kept = {path for path in shapes if _is_kept(path, weights.family, fresh)}
    # The stem of another modality is not unexpected. It is left out.
    unexpected = _unexpected(weights, model, every, fresh)
    check_fit(weights, model, shapes, kept, unexpected)
    if kept and initial is None:
        initial = initialize(model, jax.random.key(0), modalities, model.image_size or (32, 32))
    fallback: dict[Path, Any] = flatten_dict(initial or {})
    return unflatten_dict(
        {path: fallback[path] if path in kept else weights.value_of(path) for path in shapes}
    )


def _shapes(model: EmbedNet) -> dict[Path, tuple[int, ...]]:
    """Shapes of all variables of `model`, with a stem for every modality."""
    size = model.image_size or (32, 32)
    template = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=size))
    leaves: dict[Path, Any] = flatten_dict(template)
    return {path: leaf.shape for path, leaf in leaves.items()}


def _is_kept(path: Path, family: Family, fresh: tuple[str, ...]) -> bool:
    """Whether our variable keeps its initial value: `fresh` names it, or the family lacks it."""
    if begins(ours(path), fresh, "/"):
        return True
    name = family.name_of(path)
    if name is None:
        return bool(re.fullmatch(family.absent, "/".join(path[1:-1])))
    return begins(name, fresh, ".")


def _unexpected(
    weights: Weights, model: EmbedNet, paths: Iterable[Path], fresh: tuple[str, ...]
) -> list[str]:
    """Names in `weights` that match none of our `paths` and may not be left out."""
    known = {weights.family.name_of(path) for path in paths} | _never_run(weights, model)
    return [
        name
        for name in weights.tensors
        if name not in known
        and not re.fullmatch(weights.family.ignored, name)
        and not begins(name, fresh, ".")
    ]


def _may_hold_blocks_never_run(weights: Weights, model: EmbedNet) -> bool:
    """Whether the weights may hold non-local blocks that neither network runs."""
    net = model.net
    placed = not isinstance(net, ResNet) or any(net.shape.non_local)
    return weights.family is LUPI and model.non_local and not placed


def _never_run(weights: Weights, model: EmbedNet) -> set[str]:
    """Names of the non-local blocks that a released ResNet-18 stores and never runs.

    The released code places them by the block numbers of a ResNet-50, which layers of two blocks
    do not reach. They also have the shapes of a ResNet-50's.
    """
    if not _may_hold_blocks_never_run(weights, model):
        return set()
    names = set()
    for path, shape in _shapes(EmbedNet(1, "resnet50")).items():
        name = LUPI.name_of(path)
        if "non_local" not in ours(path) or name is None or name not in weights.tensors:
            continue
        if np.shape(weights.tensors[name]) == their_shape(shape):
            names.add(name)
    return names


def remarks_on(state_dict: Mapping[str, np.ndarray], model: EmbedNet) -> list[str]:
    """Remarks for the user about weights that `from_torch` accepts, one line each.

    Args:
      state_dict: {name: array} as `from_torch` takes it.
      model: the network to fill.

    Returns:
      A list of lines, often empty. For a ResNet-18 with `non_local`, a line says that the weights'
      non-local blocks are left out, or that the weights do not have any.

    Raises:
      InputError: the weights do not come from a known network.
    """
    weights = Weights.of(state_dict)
    if not _may_hold_blocks_never_run(weights, model):
        return []
    never_run = _never_run(weights, model)
    if never_run:
        return [
            f"{len(never_run)} tensors of non-local blocks (NL_2, NL_3) are left out: the original "
            "stores them in a ResNet-18 and never runs them"
        ]
    return [
        "these weights have no non-local blocks; if the original's `--method base` made them, "
        "set --config.model.non_local=False and --config.model.pooling=average"
    ]


def to_named(variables: Variables) -> dict[str, np.ndarray]:
    """Convert our variables to {name: array} under our modules' names, for `from_torch`.

    Every network has such names. The names of `to_torch` exist only for some networks.
    """
    flat: dict[Path, Any] = flatten_dict(variables)
    return {str(OURS.name_of(path)): to_theirs(np.asarray(x)) for path, x in flat.items()}


def to_torch(
    variables: Variables, names: Literal["lupi", "agw"] | None = None
) -> dict[str, np.ndarray]:
    """Convert our variables to {name: array} of the released code, the inverse of `from_torch`.

    AGW's code keeps three whole ResNets and uses one piece of each. The unused pieces are filled
    with copies of the used ones, so that AGW's network loads the result as it is. The non-local
    blocks that a released ResNet-18 stores and never runs are not written.

    Args:
      variables: variables of an `EmbedNet`.
      names: "lupi", or "agw" for a network with a visible and an infrared stem and a shared layer1.
        LUPI's names cannot express a shared layer1, so every stem gets a copy. None means "agw" if
        layer1 is shared, else "lupi".

    Returns:
      Arrays in PyTorch's layouts, and the counters of its batch normalisation, which are 0. AGW's
      stem has a ReLU and LUPI's does not, so a network written under the other's names computes
      something else.

    Raises:
      InputError: the names cannot express this network. PyTorch's names express only ResNets.
    """
    flat: dict[Path, Any] = flatten_dict(variables)
    shared = any(path[1:3] == ("trunk", "layer1") for path in flat)
    stems = {path[1] for path in flat if path[1].startswith("stem_")}
    family = AGW if names == "agw" or (names is None and shared) else LUPI
    if family is AGW and not (shared and stems == AGW_STEMS.keys()):
        raise InputError(
            "AGW's network has stem_infrared and stem_visible, which share layer1; this one has "
            f"{', '.join(sorted(stems))}{'' if shared else ', each with a layer1 of its own'}: "
            'write it with to_torch(variables, names="lupi")'
        )
    if family is LUPI and shared:
        flat = _with_own_layer1(flat, stems)
    result = {}
    for path, value in flat.items():
        name = family.name_of(path)
        if name is None:
            raise InputError(
                f"{family.title}'s names cannot express {ours(path)}: to_torch is for ResNets only"
            )
        result[name] = np.ascontiguousarray(to_theirs(np.asarray(value)))
        if path[-1] == "mean":
            result[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)
    return result | _unused_by_agw(result) if family is AGW else result


def _with_own_layer1(flat: dict[Path, Any], stems: set[str]) -> dict[Path, Any]:
    """Give every stem its own copy of a shared layer1."""
    result = {}
    for (collection, *modules), value in flat.items():
        if modules[:2] == ["trunk", "layer1"]:
            result.update({(collection, stem, *modules[1:]): value for stem in stems})
        else:
            result[(collection, *modules)] = value
    return result


def _unused_by_agw(used: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies that fill the layers and the stem of AGW's three ResNets that it does not use."""
    result = {}
    stem = AGW_STEMS["stem_visible"]
    for name, value in used.items():
        if name.startswith(f"{AGW_BASE}."):
            layer = name.removeprefix(AGW_BASE)
            result.update({f"{part}{layer}": value for part in AGW_STEMS.values()})
        elif name.startswith(f"{stem}."):
            result[f"{AGW_BASE}{name.removeprefix(stem)}"] = value
    return result
