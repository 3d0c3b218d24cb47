"""Read files of weights to {name: array}, without ever running code in them."""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lupi_jax.errors import InputError, shorten, some
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.packed import check_unpacked

_HUB = "hf://"
_HUB_FILE = "model.safetensors"
# Keys under which a training checkpoint keeps its weights, beside its epoch and its figures.
_WITHIN = ("net", "state_dict")
# Names in pickled NumPy arrays and numbers, before and after NumPy 2.
_NUMPY_GLOBALS = (
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
)


def read_state_dict(source: str | Path, fetch: bool = True) -> dict[str, np.ndarray]:
    """Read {name: array} from `.npz` or `.safetensors`, or with PyTorch from `.pth`, `.pt`, `.t`.

    PyTorch's files are read with `weights_only=True`. Of a training checkpoint (a dictionary with
    "net" or "state_dict") only the weights are returned.

    Args:
      source: a file, or `hf://owner/name[/file][@revision]` for a file of a Hugging Face
        repository (default `model.safetensors`), which stays in that library's cache.
      fetch: whether to download a file that is not in the cache.

    Returns:
      {name: array} as in the file. Floats narrower than float32 become float32.

    Raises:
      InputError: the file is missing, of another kind, damaged, or holds anything except tensors;
        or it takes more memory than is free, or unpacks to more than 20 times its size.
    """
    path = _cached(str(source), fetch) if str(source).startswith(_HUB) else expand(source)
    if not path.is_file():
        raise InputError(f"no weights at {path}: put a file there or correct the path")
    read = _reader(path, path)
    try:
        check_unpacked(path, "give another file of weights, or free some memory")
        tensors = read(path)
    except InputError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    if not tensors:
        raise InputError(f"{path} holds no tensors")
    return {name: _widened(tensor) for name, tensor in tensors.items()}


def _reader(file: Path, source: str | Path) -> Callable[[Path], dict[str, np.ndarray]]:
    """Return the function that reads `file`; the user wrote `source`."""
    if file.suffix in _READERS:
        return _READERS[file.suffix]
    raise InputError(f"{source}: weights are read from {', '.join(_READERS)}, not {file.suffix!r}")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except ValueError as error:
        # NumPy raises a plain ValueError for this. Only the message tells it apart.
        if "pickle" in str(error):
            raise _pickled(path, "arrays of objects") from error
        raise


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"reading {path} needs PyTorch: pip install 'lupi-jax[torch]', or convert it to .npz"
        ) from error
    # The warnings are about how the file was written. The error says what is wrong with it.
    with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins()):
        warnings.simplefilter("ignore")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            forbidden = re.search(r"GLOBAL (\S+)", str(error))
            if forbidden:
                raise _pickled(path, forbidden[1]) from error
            raise _damaged(path, "torch.save did not write it") from error
    for key in _WITHIN:
        if isinstance(content, Mapping) and key in content:
            content = content[key]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    others = sorted(str(k) for k, v in content.items() if not isinstance(v, torch.Tensor))
    if others:
        raise InputError(
            f"{path}: {len(others)} of {len(content)} entries are not tensors "
            f"({some(others)}): give a file that holds only weights, or has them under "
            f"{' or '.join(map(repr, _WITHIN))}"
        )
    return {
        # PyTorch does not convert bfloat16 to NumPy.
        str(name): (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in content.items()
    }


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".t": _read_torch,
}


class _Unread:
    """Stand-in for a NumPy value in a checkpoint, which discards its contents."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _stand_ins() -> list[Any]:
    """Classes with the names of NumPy's, for PyTorch's restricted unpickler.

    Published re-ID checkpoints often keep accuracies as NumPy arrays beside the weights, and
    `weights_only=True` would refuse the whole file because of them. NumPy's own functions are not
    safe for untrusted files; these stand-ins do nothing.
    """
    return [type(name, (_Unread,), {"__module__": module}) for module, name in _NUMPY_GLOBALS]


def _widened(tensor: np.ndarray) -> np.ndarray:
    narrow = jnp.issubdtype(tensor.dtype, jnp.floating) and tensor.dtype.itemsize < 4
    return tensor.astype(np.float32) if narrow else tensor


def _cached(address: str, fetch: bool) -> Path:
    """Path of the local copy of `hf://owner/name[/file][@revision]`; `fetch` downloads it first."""
    match = re.fullmatch(rf"{_HUB}([^/@]+/[^/@]+)(?:/([^@]*))?(?:@(.+))?", address)
    if not match:
        raise InputError(f"{address}: write {_HUB}owner/name[/file][@revision]")
    repository, file, revision = match[1], match[2] or _HUB_FILE, match[3]
    _reader(Path(file), address)
    what = f"fetch {file} of the Hugging Face repository {repository}"
    if revision:
        what += f" at revision {revision}"
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"reading {address} needs huggingface_hub: pip install 'lupi-jax[hub]', or {what} "
            "yourself and give its path as `pretrained`"
        ) from error
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                repository, file, revision=revision, local_files_only=not fetch
            )
        )
    except Exception as error:
        raise InputError(
            f"{address} cannot be fetched or found in the cache ({_brief(error)}): "
            f"{'' if fetch else 'allow the download with --fetch, or '}{what} on a machine with "
            "a network, and give its path here as `pretrained`"
        ) from error


def _brief(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}".removesuffix(": "), 170)


def _damaged(path: Path, reason: str | Exception) -> InputError:
    reason = reason if isinstance(reason, str) else _brief(reason)
    return InputError(
        f"{path} cannot be read: damaged, cut short or not a {path.suffix} file ({reason})"
    )


def _pickled(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} holds pickled objects other than tensors ({what}), which could run code, so it is "
        "not loaded: save only the tensors, by torch.save(net.state_dict(), file) or numpy.savez, "
        "where the file was made"
    )
