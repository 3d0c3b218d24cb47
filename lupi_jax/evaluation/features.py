"""Features of images, in memory and as files.

`.npz` and a directory of `.npy` files hold `features` (of the neck) and `pooled` [n, d] float32,
`ids` and `cameras` [n] int32, `modality` and `paths` [n] str. In `.safetensors` the latter two are
[n, bytes] uint8, UTF-8 filled up with zeros, and its metadata say what the features are of.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from lupi_jax.data import Index
from lupi_jax.errors import InputError
from lupi_jax.runtime.files import replacing

ARRAYS = ("pooled", "ids", "cameras", "modality", "paths", "features")
"""What is written of features, in the order in which the files of a directory are replaced."""

SUFFIXES = (".npz", ".safetensors")

_CHECKED_ELEMENTS = 2**22  # 16 MiB at once


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Features of n images.

    Attributes:
      pooled: [n, d] float32, L2-normalised, before the BN neck.
      neck: [n, d] float32, L2-normalised, after it: the usual retrieval feature.
      index: the images.
    """

    pooled: np.ndarray
    neck: np.ndarray
    index: Index

    def __getitem__(self, rows: np.ndarray) -> "Features":
        """The features of `rows`, a boolean mask or row numbers."""
        return Features(self.pooled[rows], self.neck[rows], self.index[rows])

    def save(self, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write them in the form that the suffix of `path` names.

        What was there before stays until all is written.

        Args:
          facts: what they are of, plain values, for the metadata of `.safetensors`.

        Raises:
          InputError: they cannot be written there, or no form has this suffix.
        """
        path = Path(path)
        check_form(path)
        arrays: dict[str, np.ndarray] = {
            "features": self.neck,
            "pooled": self.pooled,
            "ids": self.index.identities,
            "cameras": self.index.cameras,
            "modality": self.index.modalities,
            "paths": np.array([str(self.index.root / p) for p in self.index.paths]),
        }
        try:
            if not path.suffix and path.is_dir():
                _replace_arrays(path, arrays)
                return
            with replacing(path) as part:
                if path.suffix == ".npz":
                    np.savez(part, **arrays)  # pyright: ignore[reportArgumentType]
                elif path.suffix == ".safetensors":
                    _write_safetensors(part, arrays, facts or {})
                else:
                    part.mkdir()
                    for name, array in arrays.items():
                        _write_npy(part / f"{name}.npy", array)
        except OSError as error:
            raise InputError(
                f"{path}: features cannot be written there ({error.strerror or error}); make room "
                "or name another place"
            ) from error


def load_features(path: str | Path) -> Features:
    """Read what `Features.save` wrote, from a directory memory-mapped: its lengths are not checked.

    Raises:
      InputError: the features are missing or damaged.
    """
    path = Path(path)
    if not path.is_file() and not (path / "features.npy").is_file():
        raise InputError(f"no feature file at {path}: write one with `lupi export --out {path}`")
    try:
        arrays = _read_arrays(path)
        columns = (arrays[name] for name in ("paths", "ids", "cameras", "modality"))
        index = Index(Path(), *columns)
        features = Features(arrays["pooled"], arrays["features"], index)
    except Exception as error:
        raise InputError(f"{path} is no feature file as `lupi export` writes it") from error
    values = (features.neck, features.pooled)
    lengths = {x.shape[:1] for x in (*values, *vars(index).values()) if isinstance(x, np.ndarray)}
    if len(lengths) > 1 or any(x.ndim != 2 or x.dtype != np.float32 for x in values):
        raise InputError(f"{path} is damaged: its arrays do not fit each other; export it anew")
    if path.is_file() and not all(map(are_unit, values)):
        raise InputError(f"{path}: features must be finite and of length 1; export it anew")
    return features


def are_unit(values: np.ndarray) -> bool:
    """Whether every row of [n, d] is finite and of length 1, up to 0.01; a tile at a time."""
    size = max(1, _CHECKED_ELEMENTS // max(1, values.shape[1]))
    tiles = (values[i : i + size] for i in range(0, len(values), size))
    return all(np.allclose(np.linalg.norm(tile, axis=1), 1, atol=0.01) for tile in tiles)


def check_form(path: Path) -> None:
    """Raise InputError where no form of features has the suffix of `path`."""
    if path.suffix and path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: features are written to a file that ends on {' or '.join(SUFFIXES)} or, by a "
            "name without a suffix, to a directory"
        )


def holds_features(path: str | Path) -> bool:
    """Whether features are there, or should be by the path's name, rather than images."""
    path = Path(path)
    arrays = (path / f"{name}.npy" for name in ARRAYS)
    return path.suffix in SUFFIXES or path.is_file() or any(file.is_file() for file in arrays)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        mapped = {name: np.load(path / f"{name}.npy", "r", allow_pickle=False) for name in ARRAYS}
        return {name: array.view(np.ndarray) for name, array in mapped.items()}
    if path.suffix == ".safetensors":
        arrays = safetensors.numpy.load_file(path)
        for name in ("modality", "paths"):
            encoded = np.ascontiguousarray(arrays[name], np.uint8)
            words = encoded.view(f"S{encoded.shape[1]}").reshape(len(encoded))
            arrays[name] = np.char.decode(words, "utf-8")
        return arrays
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _replace_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # Written inside the directory, which may be a volume or a link: its parent belongs to others.
    with contextlib.ExitStack() as written:
        for name in reversed(ARRAYS):  # the last to be written is the first to be put in place
            file = folder / f"{name}.npy"
            _write_npy(written.enter_context(replacing(file)), arrays[name])
        # Without features.npy nothing is loaded: it goes first and comes last.
        (folder / "features.npy").unlink(missing_ok=True)


def _write_npy(path: Path, array: np.ndarray) -> None:
    """`np.save`, which itself says nothing of a disk that fills up at the end."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as out:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(out, header)
        out.write(array.data)
        out.flush()
        os.fsync(out.fileno())


def _write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name in ("modality", "paths"):
        encoded = np.char.encode(plain[name], "utf-8")
        plain[name] = encoded.view(np.uint8).reshape(len(encoded), encoded.itemsize)
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.numpy.save_file(plain, path, {"lupi_jax": json.dumps(facts)})
    except safetensors.SafetensorError as error:  # as a full disk
        raise OSError(str(error)) from error
    path.chmod(mode)  # the library makes files that only their owner may read
