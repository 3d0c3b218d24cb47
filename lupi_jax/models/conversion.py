"""Weights of PyTorch networks to our variables, and back; `torch_names` pairs the names."""

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
from lupi_jax.models.resnet import BACKBONES
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
    """How many identities the network of these weights classifies; None without a classifier.

    Args:
      state_dict: {name: array} as `from_torch` takes it. A torchvision ResNet's `fc` does not
        count.
    """
    weight = unwrapped(state_dict).get("classifier.weight")
    return len(weight) if weight is not None and np.ndim(weight) == 2 else None


def modalities_of(state_dict: Mapping[str, np.ndarray]) -> tuple[Modality, ...]:
    """The modalities that these weights have a stem for; all where one stem serves each.

    Args:
      state_dict: {name: array} as `from_torch` takes it.

    Raises:
      InputError: the weights are of no network known here.
    """
    weights = Weights.of(state_dict)
    return tuple(m for m in Modality if weights.has(("params", f"stem_{m}", "conv1", "kernel")))


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    model: EmbedNet,
    modalities: tuple[Modality, ...] = tuple(Modality),
    initial: Variables | None = None,
    fresh: tuple[str, ...] = (),
) -> Variables:
    """Variables of `model` from PyTorch tensors: all of them, unless `fresh` leaves some out.

    Args:
      state_dict: {name: array} in PyTorch's layouts, with or without nn.DataParallel's `module.`.
        It is of a released LUPI network (names as `visible_module.resnet_part1.0.weight`), of AGW
        (`visible_module.visible.conv1.weight`), of a torchvision ResNet (`conv1.weight`), or what
        `to_named` gives. A torchvision ResNet's stem is copied to every modality, its `fc` is
        ignored, and what it does not have (non-local blocks, neck, classifier) is taken from
        `initial`. What a released ResNet-18 stores of non-local blocks that it never runs is left
        out (`remarks_on`).
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
    weights = Weights.of(state_dict)
    relu = weights.family.stem_relu
    if relu not in (None, model.stem_relu):
        raise InputError(
            f"these weights are of {weights.family.title}, which has {'a' if relu else 'no'} ReLU "
            f"after each stem's first normalisation: set --config.model.stem_relu={relu}"
        )
    every = _shapes(model)
    others = {f"stem_{m}" for m in Modality if m not in modalities}
    shapes = {path: shape for path, shape in every.items() if path[1] not in others}
    check_fresh(fresh, shapes, weights.tensors)
    kept = {path for path in shapes if _is_kept(path, weights.family, fresh)}
    # A stem that nobody asked for is expected to be there: it is left where it is.
    unexpected = _unexpected(weights, model, every, fresh)
    check_fit(weights, model, shapes, kept, unexpected)
    if kept and initial is None:
        initial = initialize(model, jax.random.key(0), modalities, image_size=(32, 32))
    fallback: dict[Path, Any] = flatten_dict(initial or {})
    return unflatten_dict(
        {path: fallback[path] if path in kept else weights.value_of(path) for path in shapes}
    )


def _shapes(model: EmbedNet) -> dict[Path, tuple[int, ...]]:
    """The shapes of all variables of `model`, with a stem for every modality."""
    template = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=(32, 32)))
    leaves: dict[Path, Any] = flatten_dict(template)
    return {path: leaf.shape for path, leaf in leaves.items()}


def _is_kept(path: Path, family: Family, fresh: tuple[str, ...]) -> bool:
    """Whether our variable is not taken from such weights: named in `fresh`, or never there."""
    if begins(ours(path), fresh, "/"):
        return True
    name = family.name_of(path)
    if name is None:
        return bool(re.fullmatch(family.absent, "/".join(path[1:-1])))
    return begins(name, fresh, ".")


def _unexpected(
    weights: Weights, model: EmbedNet, paths: Iterable[Path], fresh: tuple[str, ...]
) -> list[str]:
    """The names in `weights` that none of our `paths` has and that nothing lets us leave out."""
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
    placed = any(BACKBONES[model.backbone].non_local)
    return weights.family is LUPI and model.non_local and not placed


def _never_run(weights: Weights, model: EmbedNet) -> set[str]:
    """The names of the non-local blocks that a released ResNet-18 stores and never runs.

    The released code makes them as a ResNet-50's and puts them at a ResNet-50's block numbers,
    which layers of two blocks do not reach.
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
    """What a user should know of weights that `from_torch` takes, one line each.

    Args:
      state_dict: {name: array} as `from_torch` takes it.
      model: the network to fill.

    Returns:
      Lines, an empty list where there is nothing to say. Of a ResNet-18 with `non_local`: that the
      weights' non-local blocks are left out, or that the weights have none.

    Raises:
      InputError: the weights are of no network known here.
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
        "these weights have no non-local blocks; where the original's `--method base` made them, "
        "set --config.model.non_local=False and --config.model.pooling=average"
    ]


def to_named(variables: Variables) -> dict[str, np.ndarray]:
    """{name: array} of all of our variables, by the names of our modules, for `from_torch`.

    Unlike those of `to_torch`, these names can say every network.
    """
    flat: dict[Path, Any] = flatten_dict(variables)
    return {str(OURS.name_of(path)): to_theirs(np.asarray(x)) for path, x in flat.items()}


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
      InputError: AGW's names cannot say this network.
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
        assert name is not None, path
        result[name] = np.ascontiguousarray(to_theirs(np.asarray(value)))
        if path[-1] == "mean":
            result[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)
    return result | _unused_by_agw(result) if family is AGW else result


def _with_own_layer1(flat: dict[Path, Any], stems: set[str]) -> dict[Path, Any]:
    """Variables that share layer1 as variables with a copy of it in every stem."""
    result = {}
    for (collection, *modules), value in flat.items():
        if modules[:2] == ["trunk", "layer1"]:
            result.update({(collection, stem, *modules[1:]): value for stem in stems})
        else:
            result[(collection, *modules)] = value
    return result


def _unused_by_agw(used: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies that fill AGW's three ResNets beside the tensors that it uses: layers, and a stem."""
    result = {}
    stem = AGW_STEMS["stem_visible"]
    for name, value in used.items():
        if name.startswith(f"{AGW_BASE}."):
            layer = name.removeprefix(AGW_BASE)
            result.update({f"{part}{layer}": value for part in AGW_STEMS.values()})
        elif name.startswith(f"{stem}."):
            result[f"{AGW_BASE}{name.removeprefix(stem)}"] = value
    return result
