"""Features of images, in memory and as files.

A `.npz` file and a directory of `.npy` files contain:

- `features` (after the neck) and `pooled`, [n, d] float32,
- `ids` and `cameras`, [n] int32,
- `modality` and `paths`, [n] str,
- `roles`, [n] str, only if an image has a role (`Index.roles`),
- `made_by`, the origin of the features as JSON: a text in `.npz`, `made_by.json` in a directory.

In `.safetensors`, texts are [n, bytes] uint8, UTF-8 filled up with zeros, and the origin is in the
metadata.
"""

import dataclasses
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from lupi_jax.data import Index
from lupi_jax.data.index import ROLES
from lupi_jax.data.sources.files import read_bytes
from lupi_jax.errors import InputError, reason
from lupi_jax.evaluation.origin import Origin
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import (
    expand,
    is_cut_off,
    is_endless,
    is_vacant,
    replacing,
    replacing_files,
)
from lupi_jax.runtime.packed import check_unpacked
from lupi_jax.runtime.records import parse_json

ARRAYS = ("pooled", "ids", "cameras", "modality", "paths", "features")
"""Names of the arrays, in the order of writing: a directory with the last one has all of them."""

SUFFIXES = (".npz", ".safetensors")

_ROLES = "roles"
_TEXTS = ("modality", "paths", _ROLES)
_ORIGIN = "made_by"

_CHECKED_ELEMENTS = 2**22  # 16 MiB at once

_ORIGIN_BYTES = 2**20  # an origin has a few hundred


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Features of n images.

    Attributes:
      pooled: [n, d] float32, L2-normalised, before the BN neck.
      neck: [n, d] float32, L2-normalised, after it: the usual retrieval feature.
      index: the images.
      origin: what made the features (`lupi_jax.evaluation.origin`); empty if that is not known.
    """

    pooled: np.ndarray
    neck: np.ndarray
    index: Index
    origin: Origin = dataclasses.field(default_factory=dict)

    def __getitem__(self, rows: np.ndarray) -> "Features":
        """The features of `rows`, a boolean mask or row numbers."""
        return Features(self.pooled[rows], self.neck[rows], self.index[rows], self.origin)

    def save(self, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write the features in the format that the suffix of `path` names.

        Earlier features at `path` stay until everything is written.

        Args:
          path: a file `.npz` or `.safetensors`, or a directory (a name without a suffix).
          facts: plain values to record beside the origin.

        Raises:
          InputError: something else is at `path`, the features cannot be written there, or the
            suffix names no format.
        """
        path = expand(path)
        require_place(path)
        arrays: dict[str, np.ndarray] = {
            "features": self.neck,
            "pooled": self.pooled,
            "ids": self.index.identities,
            "cameras": self.index.cameras,
            "modality": self.index.modalities,
            "paths": np.array([str(self.index.root / p) for p in self.index.paths]),
        }
        if self.index.has_roles:
            arrays[_ROLES] = np.asarray(self.index.roles)
        origin = json.dumps({**self.origin, **(facts or {})})
        try:
            if path.suffix:
                with replacing(path) as part:
                    _write_file(part, arrays, origin)
                return
            names = [f"{_ORIGIN}.json", *(f"{name}.npy" for name in (_ROLES, *ARRAYS))]
            with replacing_files(path, names) as part:
                (part / f"{_ORIGIN}.json").write_text(origin)
                for name, array in arrays.items():
                    _write_npy(part / f"{name}.npy", array)
                require_place(path)  # another process may have written there meanwhile
        except OSError as error:
            raise InputError(
                f"{path}: features cannot be written there ({reason(error)}): make room "
                "or name another place"
            ) from error


def load_features(path: str | Path) -> Features:
    """Read features that `Features.save` wrote.

    A file is read into memory. It may take as much memory as is free, and a `.npz` may unpack to 20
    times its size. A directory is memory-mapped: it may have any size, and the lengths of its
    features are not checked.

    Raises:
      InputError: the features are missing or damaged, or a file is beyond these bounds.
    """
    path = expand(path)
    if not path.is_file() and not (path / "features.npy").is_file():
        raise InputError(f"no feature file at {path}: write one with `lupi export --out {path}`")
    try:
        arrays = _read_arrays(path)
        origin = _read_origin(path)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):  # no damage
            place = error.filename or path
            raise InputError(f"{place}: {reason(error)}; check its permissions") from error
        raise InputError(
            f"{path} is not a feature file of `lupi export`: write one with `lupi export --out`"
        ) from error
    if fault := fault_of(arrays):
        raise InputError(f"{path} is damaged: {fault}: export it again")
    ids, cameras = (np.asarray(arrays[name], np.int32) for name in ("ids", "cameras"))
    roles = arrays.get(_ROLES)
    index = Index(Path(), arrays["paths"], ids, cameras, arrays["modality"], roles=roles)
    features = Features(arrays["pooled"], arrays["features"], index, origin)
    if path.is_file() and not (are_unit(features.neck) and are_unit(features.pooled)):
        raise InputError(f"{path}: features must be finite and of length 1: export them again")
    return features


def fault_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The first fault of the arrays of a feature file, or "".

    The types and shapes of all arrays are checked, and the values of all but the features.
    """
    neck = arrays["features"]
    for name in ("features", "pooled"):
        array = arrays[name]
        if array.dtype != np.float32 or array.ndim != 2 or not array.shape[1]:
            return f"{name} must be float32 [n, d], not {array.dtype} {array.shape}"
    texts = [name for name in _TEXTS if name in arrays]
    for name in ("pooled", "ids", "cameras", *texts):
        wanted = neck.shape if name == "pooled" else neck.shape[:1]
        if arrays[name].shape != wanted:
            return f"{name} has shape {arrays[name].shape}, but features have {neck.shape}"
    for name in ("ids", "cameras"):
        array = arrays[name]
        if array.dtype.kind not in "iu":
            return f"{name} must be whole numbers, not {array.dtype}"
        if array.size and not (array.min() >= -1 and array.max() < 2**31):
            return f"{name} must be from -1 (unknown) to {2**31 - 1}"
    for name in texts:
        if arrays[name].dtype.kind != "U":
            return f"{name} must be text, not {arrays[name].dtype}"
    if not np.isin(arrays["modality"], [str(m) for m in Modality]).all():
        return f"modality must be one of {', '.join(Modality)}"
    if not np.isin(arrays.get(_ROLES, ""), ("", *ROLES)).all():
        return f"roles must be one of {', '.join(ROLES)}, or empty"
    if any("\0" in path or not path for path in arrays["paths"]):
        return "a path is empty, or contains a NUL"
    return ""


def are_unit(values: np.ndarray) -> bool:
    """Whether every row of [n, d] is finite and of length 1 up to 0.01; reads tile by tile."""
    size = max(1, _CHECKED_ELEMENTS // max(1, values.shape[1]))
    tiles = (values[i : i + size] for i in range(0, len(values), size))
    return all(np.allclose(np.linalg.norm(tile, axis=1), 1, atol=0.01) for tile in tiles)


def check_form(path: Path) -> None:
    """Raise InputError if the suffix of `path` names no format of features."""
    if path.suffix and path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: name a file that ends in {' or '.join(SUFFIXES)}, or a directory without a "
            "suffix"
        )


def require_place(path: Path) -> None:
    """Raise InputError if the suffix names no format, or something else is at `path`."""
    check_form(path)
    other = path.is_file() if not path.suffix else path.is_dir()
    if path.is_dir() and not holds_features(path):
        other = other or not (is_vacant(path) or is_cut_off(path, f"{ARRAYS[-1]}.npy"))
    if other:
        raise InputError(f"{path}: something else is there: give another name")


def holds_features(path: str | Path) -> bool:
    """Whether features are at `path`, or its name says that it is for features, not images."""
    path = expand(path)
    arrays = (path / f"{name}.npy" for name in ARRAYS)
    return path.suffix in SUFFIXES or any(file.is_file() for file in arrays)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if path.is_dir():
        names = (*ARRAYS, *[_ROLES] * (path / f"{_ROLES}.npy").is_file())
        return {name: _map_array(path / f"{name}.npy") for name in names}
    check_unpacked(path, "export to a directory (a name without a suffix), which is memory-mapped")
    if path.suffix == ".safetensors":
        arrays = safetensors.numpy.load_file(path)
        for name in arrays.keys() & set(_TEXTS):
            encoded = np.ascontiguousarray(arrays[name], np.uint8)
            words = encoded.view(f"S{encoded.shape[1]}").reshape(len(encoded))
            arrays[name] = np.char.decode(words, "utf-8", "surrogateescape")
        return arrays
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in (*ARRAYS, *[_ROLES] * (_ROLES in arrays))}


def _map_array(file: Path) -> np.ndarray:
    if is_endless(file):
        raise InputError(f"{file} is a pipe or a device: export the features again")
    return np.load(file, "r", allow_pickle=False).view(np.ndarray)


def _read_origin(path: Path) -> Origin:
    """The origin of features; {} if an older version wrote them without one."""
    said = "{}"
    if path.is_dir():
        if (file := path / f"{_ORIGIN}.json").exists():
            said = read_bytes(file, f"{file} is missing", _ORIGIN_BYTES).decode()
    elif path.suffix == ".safetensors":
        with safetensors.safe_open(path, "numpy") as opened:
            said = (opened.metadata() or {}).get("lupi_jax", said)
    else:
        with np.load(path, allow_pickle=False) as arrays:
            said = str(arrays[_ORIGIN]) if _ORIGIN in arrays else said
    return dict(parse_json(said[: _ORIGIN_BYTES + 1]))


def _write_file(path: Path, arrays: Mapping[str, np.ndarray], origin: str) -> None:
    if path.suffix == ".npz":
        said = {**arrays, _ORIGIN: np.array(origin)}
        np.savez(path, **said)  # pyright: ignore[reportArgumentType]
    else:
        _write_safetensors(path, arrays, origin)


def _write_npy(path: Path, array: np.ndarray) -> None:
    """Write like `np.save`, which does not report a disk that fills up at the end."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as out:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(out, header)
        out.write(array.data)
        out.flush()
        os.fsync(out.fileno())


def _write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], origin: str) -> None:
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name in plain.keys() & set(_TEXTS):
        encoded = np.char.encode(plain[name], "utf-8", "surrogateescape")  # like file names
        plain[name] = encoded.view(np.uint8).reshape(len(encoded), encoded.itemsize)
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.numpy.save_file(plain, path, {"lupi_jax": origin})
    except safetensors.SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from error
    path.chmod(mode)  # the library makes files that only the owner may read
