"""What is wrong with weights that do not fit a network, and what to set so that they do."""

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Mapping

import jax.numpy as jnp
import numpy as np

from lupi_jax.errors import InputError, some
from lupi_jax.models.embed_net import EmbedNet
from lupi_jax.models.resnet import BACKBONES
from lupi_jax.models.torch_names import LUPI, TORCHVISION, Path, Weights, their_shape

Shapes = Mapping[Path, tuple[int, ...]]


def check_fit(
    weights: Weights, model: EmbedNet, shapes: Shapes, kept: set[Path], unexpected: list[str]
) -> None:
    """Refuse weights that do not fit `model`, with every mismatch in one message.

    Args:
      weights: what is there.
      model: the network to fill.
      shapes: of its variables that are to be filled.
      kept: those of them that are not taken from `weights`.
      unexpected: names in `weights` that nothing asked for.

    Raises:
      InputError: a tensor is missing, unexpected, misshaped, or not of finite floats.
    """
    names = {path: weights.family.name_of(path) for path in shapes.keys() - kept}
    found = {path: name for path, name in names.items() if name and name in weights.tensors}
    missing = names.keys() - found.keys()
    values = {name: np.asarray(weights.tensors[name]) for name in found.values()}
    misshaped = {p for p, name in found.items() if values[name].shape != their_shape(shapes[p])}
    floats = {n for n, value in values.items() if jnp.issubdtype(value.dtype, jnp.floating)}
    problems = {
        # Where theirs has no name for it, the module of ours says more than its variables.
        "missing": {names[path] or path[1] for path in missing},
        "unexpected": set(unexpected),
        "misshaped": {
            f"{found[path]} is {values[found[path]].shape}, not {their_shape(shapes[path])}"
            for path in misshaped
        },
        "not of floats": {f"{name} is {values[name].dtype}" for name in values.keys() - floats},
        "not finite": {name for name in floats if not np.isfinite(values[name]).all()},
    }
    report = [f"{len(what)} {kind}: {_listed(what)}" for kind, what in problems.items() if what]
    if not report:
        return
    if other := _other_network(weights, model):
        report.insert(0, other)
    elif fresh := _to_leave_out(weights, shapes, missing | misshaped, unexpected):
        report.append(
            "to start these anew, or leave them out, name them: "
            f'--config.pretrained_fresh="{fresh}"'
        )
    raise InputError(
        f"these weights of {weights.family.title} do not fit EmbedNet({model.num_classes}, "
        f"{model.backbone}): {'; '.join(report)}"
    )


def _other_network(weights: Weights, model: EmbedNet) -> str:
    """What to set where the weights are of another network than `model`; else an empty string."""
    has_blocks = any(name.startswith("NL_") for name in weights.tensors)
    if backbone := _other_backbone(weights, model):
        return backbone
    if weights.family is LUPI and model.shared_from != "layer2":
        return "each modality has its own layer1 in them: set --config.model.shared_from=layer2"
    if weights.family is TORCHVISION or has_blocks == model.non_local:
        return ""
    if has_blocks:
        return "they have non-local blocks: set --config.model.non_local=True"
    return (
        "they have no non-local blocks: set --config.model.non_local=False, and for the original's "
        "`base` networks --config.model.pooling=average"
    )


def _other_backbone(weights: Weights, model: EmbedNet) -> str:
    """Which backbone the weights are of, where that is not the model's."""

    def has(layer: int, block: int, conv: str) -> bool:
        return weights.has(("params", "trunk", f"layer{layer}", f"block{block}", conv, "kernel"))

    blocks = tuple(
        next(block for block in itertools.count() if not has(layer, block, "conv1"))
        for layer in (2, 3, 4)
    )
    shape = (blocks, has(2, 0, "conv3"))
    shapes = {name: (net.blocks[1:], net.bottleneck) for name, net in BACKBONES.items()}
    if shape == shapes[model.backbone]:
        return ""
    known = [name for name in BACKBONES if shapes[name] == shape]
    return f"they are of {known[0]}" if known else f"layer2 to layer4 have {blocks} blocks"


def _to_leave_out(
    weights: Weights, shapes: Shapes, unfit: set[Path], unexpected: list[str]
) -> tuple[str, ...]:
    """The fewest names for `from_torch` to leave out what does not fit, and nothing else.

    None where that takes many: the weights are then of another network, and little would be left
    of them.
    """
    fit = [ours(path) for path in shapes if path not in unfit]
    needless = re.compile(weights.family.ignored)
    used = [n for n in weights.tensors.keys() - set(unexpected) if not needless.fullmatch(n)]
    names = [_shortest(ours(path), fit, "/") for path in sorted(unfit)]
    names += [_shortest(name, used, ".") for name in sorted(unexpected)]
    fresh = tuple(dict.fromkeys(names))
    return fresh if len(fresh) <= 8 else ()


def _shortest(name: str, others: list[str], separator: str) -> str:
    """The fewest first parts of `name` that none of `others` begins with."""
    parts = itertools.accumulate(name.split(separator), f"{{}}{separator}{{}}".format)
    return next((p for p in parts if not any(begins(o, (p,), separator) for o in others)), name)


def check_fresh(
    fresh: tuple[str, ...], paths: Iterable[Path], their_names: Collection[str]
) -> None:
    """Refuse what in `fresh` begins neither a path of ours nor a name of theirs.

    Raises:
      InputError: names what is close, and the first parts of all that there is.
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
    known = {path.rpartition("/")[0] for path in our_names} | tops | their_tops
    close = difflib.get_close_matches(wrong[0], known, 1)
    raise InputError(
        f"pretrained_fresh names nothing by {', '.join(map(repr, wrong))}"
        + (f" (did you mean {close[0]}?)" if close else "")
        + f": the network has {_listed(tops)}, the weights have {_listed(their_tops)}"
    )


def _listed(names: Iterable[str]) -> str:
    return some(sorted(set(names)), 20)


def ours(path: Path) -> str:
    """Our variable `path` as a user names it, without its collection."""
    return "/".join(path[1:])


def begins(name: str, prefixes: Iterable[str], separator: str) -> bool:
    """Whether one of `prefixes` is `name` or its first parts."""
    return any(f"{name}{separator}".startswith(f"{prefix}{separator}") for prefix in prefixes)
