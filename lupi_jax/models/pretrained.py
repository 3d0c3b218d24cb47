"""Weights from PyTorch: the released LUPI / AGW checkpoints and torchvision's ResNets.

One declarative table names every tensor; both directions read it. A file is taken whole or
refused with every mismatch in one report.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models.embed_net import EmbedNet, initialize

Variables = dict[str, Any]

# Rows of (our modules, a regular expression; PyTorch's module, with \1.. from it).
Table = tuple[tuple[str, str], ...]
_STEMS = (
    ("visible", "visible_module"),
    ("infrared", "thermal_module"),
    ("intermediate", "gray_module"),
)
_RELEASED: Table = (
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
    (r"trunk/layer(\d)/non_local(\d+)/g", r"NL_\1.\2.g.0"),
    (r"trunk/layer(\d)/non_local(\d+)/(theta|phi)", r"NL_\1.\2.\3"),
    (r"trunk/layer(\d)/non_local(\d+)/out", r"NL_\1.\2.W.0"),
    (r"trunk/layer(\d)/non_local(\d+)/out_bn", r"NL_\1.\2.W.1"),
    (r"neck", "bottleneck"),
    (r"classifier", "classifier"),
)
# torchvision's ResNet has one stem, copied to every modality, and neither neck nor non-local.
_TORCHVISION: Table = (
    (r"stem_\w+/(conv1|bn1)", r"\1"),
    (r"stem_\w+/layer1/block(\d+)/(.+)", r"layer1.\1.\2"),
    (r"trunk/layer(\d)/block(\d+)/(.+)", r"layer\1.\2.\3"),
)
_TORCH_SUFFIXES = (".pth", ".pt", ".t")
_WITHIN_BLOCK = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_IGNORED = re.compile(r"(.*\.)?num_batches_tracked")
_IGNORED_TORCHVISION = re.compile(r"(.*\.)?num_batches_tracked|fc\.(weight|bias)")


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


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    model: EmbedNet,
    modalities: tuple[Modality, ...] = tuple(Modality),
    initial: Variables | None = None,
) -> Variables:
    """Variables of `model` from PyTorch tensors.

    Args:
      state_dict: {name: array} in PyTorch's layouts, either of a released LUPI / AGW network
        (names as `visible_module.resnet_part1.0.weight`) or of a torchvision ResNet
        (`layer1.0.conv1.weight`): its stem is then copied to every modality, its `fc` ignored,
        and what it does not have (non-local blocks, neck, classifier) is taken from `initial`.
      model: the network to fill.
      modalities: whose stems to fill.
      initial: variables to take the rest from; fresh ones (key 0) where None.

    Returns:
      {"params": ..., "batch_stats": ...} of float arrays, in the dtype of `state_dict`.

    Raises:
      InputError: some tensor is missing, unexpected or misshaped; all of them are named.
    """
    torchvision = "conv1.weight" in state_dict
    table = _TORCHVISION if torchvision else _RELEASED
    ignored = _IGNORED_TORCHVISION if torchvision else _IGNORED
    template = jax.eval_shape(
        lambda: initialize(model, jax.random.key(0), modalities, image_size=(32, 32))
    )
    if torchvision and initial is None:
        initial = initialize(model, jax.random.key(0), modalities, image_size=(32, 32))
    fallback = flatten_dict(initial) if torchvision else {}
    result, used, missing, misshaped = {}, set(), [], []
    expected_shapes: dict[tuple[str, ...], Any] = flatten_dict(template)
    for path, expected in expected_shapes.items():
        name = _torch_name(path, table)
        if name is None:
            result[path] = fallback[path]
            continue
        used.add(name)
        if name not in state_dict:
            missing.append(name)
            continue
        value = _to_ours(np.asarray(state_dict[name]))
        if value.shape != expected.shape:
            theirs = _to_theirs(np.empty(expected.shape)).shape
            misshaped.append(f"{name} is {np.shape(state_dict[name])}, not {theirs}")
        result[path] = value
    unexpected = [k for k in state_dict if k not in used and not ignored.fullmatch(k)]
    report = [
        f"{len(names)} {kind}: {', '.join(sorted(set(names))[:20])}"
        + (", ..." if len(set(names)) > 20 else "")
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshaped", misshaped),
        )
        if names
    ]
    if report:
        raise InputError(
            f"these weights do not fit EmbedNet({model.num_classes}, {model.backbone}): "
            + "; ".join(report)
        )
    return unflatten_dict(result)


def to_torch(variables: Variables) -> dict[str, np.ndarray]:
    """The released code's {name: array} of our variables: the inverse of `from_torch`."""
    result = {}
    for path, value in flatten_dict(variables).items():
        name = _torch_name(path, _RELEASED)
        assert name is not None, path
        result[name] = np.ascontiguousarray(_to_theirs(np.asarray(value)))
        if path[-1] == "mean":
            result[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)
    return result


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read {name: array} from `.npz`, `.safetensors`, or with PyTorch `.pth`, `.pt`, `.t`.

    No pickle is executed: PyTorch's files are read with `weights_only=True`. Of a training
    checkpoint (a dictionary with "net" or "state_dict") the weights are taken.

    Raises:
      InputError: the file is missing, of another kind, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights at {path}: put the file there or correct `pretrained`")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        if path.suffix in _TORCH_SUFFIXES:
            return _read_torch(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as {path.suffix}: {error}") from error
    kinds = ", ".join((".npz", ".safetensors", *_TORCH_SUFFIXES))
    raise InputError(f"{path}: weights are read from {kinds}, not {path.suffix!r}")


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"{path} needs PyTorch to be read: pip install 'lupi-jax[torch]', or convert it to .npz"
        ) from error
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("net", "state_dict"):
        content = content.get(key, content)
    return {name: tensor.numpy() for name, tensor in content.items()}
