"""Find out why weights do not fit a network, and which setting would make them fit."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping

import jax.numpy as jnp
import numpy as np

from lupi_jax.errors import InputError, some
from lupi_jax.models.embed_net import EmbedNet
from lupi_jax.models.resnet import RESNETS
from lupi_jax.models.torch_names import LUPI, OURS, TORCHVISION, Path, Weights, their_shape
from lupi_jax.models.vit import VITS

Shapes = Mapping[Path, tuple[int, ...]]

MOST_FRESH = 8
"""If more modules than this do not fit, the weights belong to another network."""


def check_fit(
    weights: Weights, model: EmbedNet, shapes: Shapes, kept: set[Path], unexpected: list[str]
) -> None:
    """Refuse weights that do not fit `model`, with every mismatch in one message.

    Args:
      weights: the weights to check.
      model: the network to fill.
      shapes: {path: shape} of its variables.
      kept: paths of `shapes` that are not taken from `weights`.
      unexpected: names in `weights` that do not belong to the network.

    Raises:
      InputError: a tensor is missing, unexpected, misshaped, or not of finite floats.
    """
    kinds = ("missing", "unexpected", "misshaped", "not of floats", "not finite")
    problems: dict[str, set[str]] = {kind: set() for kind in kinds}
    problems["unexpected"].update(unexpected)
    for path in shapes.keys() - kept:
        name, shape = weights.family.name_of(path), their_shape(shapes[path])
        if name is None or name not in weights.tensors:
            # Without a PyTorch name, our module's name says more than its variables' names.
            problems["missing"].add(name or path[1])
            continue
        value = np.asarray(weights.tensors[name])
        if value.shape != shape:
            problems["misshaped"].add(f"{name} is {value.shape}, not {shape}")
        if not jnp.issubdtype(value.dtype, jnp.floating):
            problems["not of floats"].add(f"{name} is {value.dtype}")
        elif not np.isfinite(value).all():
            problems["not finite"].add(name)
    report = [f"{len(what)} {kind}: {_listed(what)}" for kind, what in problems.items() if what]
    if not report:
        return
    if other := _other_network(weights, model):
        report.insert(0, other)
    elif len({name.split(".")[0] for what in problems.values() for name in what}) <= MOST_FRESH:
        report.append(
            "to re-initialise modules, or to leave tensors out, list them in "
            "--config.pretrained_fresh"
        )
    raise InputError(
        f"these weights of {weights.family.title} do not fit EmbedNet({model.num_classes}, "
        f"{model.backbone}): {'; '.join(report)}"
    )


def _other_network(weights: Weights, model: EmbedNet) -> str:
    """The setting to change if the weights belong to another network; else an empty string."""
    names, words = _architecture(weights)
    if model.backbone not in names:
        return f"they are of {names[0]}: set --config.model.backbone={names[0]}" if names else words
    if names[0] in VITS:
        return ""
    shared = weights.has(("params", "trunk", "layer1", "block0", "conv1", "kernel"))
    if weights.family in (LUPI, OURS) and shared != (model.shared_from == "layer1"):
        if shared:
            return "their modalities share layer1: set --config.model.shared_from=layer1"
        return "each of their modalities has its own layer1: set --config.model.shared_from=layer2"
    has_blocks = any(name.startswith("NL_") or "/non_local" in name for name in weights.tensors)
    if weights.family is TORCHVISION or has_blocks == model.non_local:
        return ""
    if has_blocks:
        return "they have non-local blocks: set --config.model.non_local=True"
    return (
        "they have no non-local blocks: set --config.model.non_local=False, and for the original's "
        "`base` networks also --config.model.pooling=average"
    )


def _architecture(weights: Weights) -> tuple[list[str], str]:
    """The backbones that the weights may be of, and their shape in words; "" if it is unknown."""

    def has(*modules: str) -> bool:
        return weights.has(("params", "trunk", *modules, "kernel"))

    def count(block: Callable[[int], tuple[str, ...]]) -> int:
        return next(i for i in itertools.count() if not has(*block(i)))

    if depth := count(lambda i: (f"block{i}", "qkv")):
        token = weights.family.name_of(("params", "trunk", "cls_token"))
        width = np.size(weights.tensors.get(token or "", ()))
        names = [n for n, net in VITS.items() if (net.depth, net.width) == (depth, width)]
        return names, f"they are of a ViT with {depth} blocks of {width} channels"
    blocks = tuple(count(lambda i, at=f"layer{n}": (at, f"block{i}", "conv1")) for n in (2, 3, 4))
    shape = (blocks, has("layer2", "block0", "conv3"))
    names = [n for n, net in RESNETS.items() if (net.blocks[1:], net.bottleneck) == shape]
    return names, f"layer2 to layer4 have {blocks} blocks" if any(blocks) else ""


def check_fresh(
    fresh: tuple[str, ...], paths: Iterable[Path], their_names: Collection[str]
) -> None:
    """Check that each name in `fresh` begins one of our paths or one of the weights' names.

    Raises:
      InputError: a name does not exist. The message lists the modules that do.
    """
    our_names = [ours(path) for path in paths]
    wrong = [
        name
        for name in fresh
        if not any(begins(path, (name,), "/") for path in our_names)
        and not any(begins(other, (name,), ".") for other in their_names)
    ]
    if not wrong:
        return
    tops = {path.split("/")[0] for path in our_names}
    their_tops = {name.split(".")[0] for name in their_names}
    raise InputError(
        f"pretrained_fresh: {', '.join(map(repr, wrong))} is not the name of a module or "
        f"tensor: the network has {_listed(tops)}, the weights have {_listed(their_tops)}"
    )


def _listed(names: Iterable[str]) -> str:
    return some(sorted(set(names)), 20)


def ours(path: Path) -> str:
    """Name of our variable `path` for users, without its collection."""
    return "/".join(path[1:])


def begins(name: str, prefixes: Iterable[str], separator: str) -> bool:
    """Whether one of `prefixes` is `name` or consists of its first parts."""
    return any(f"{name}{separator}".startswith(f"{prefix}{separator}") for prefix in prefixes)
