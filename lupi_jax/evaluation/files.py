"""Features as files: how their arrays are written, each whole or not at all, and read.

Three forms hold the same of n images. `.npz` and a directory of `.npy` files have the arrays
`features` (of the neck) and `pooled` [n, d] float32, `ids` and `cameras` [n] int32, `modality` and
`paths` [n] str. `.safetensors` has them too; since it knows numbers alone, `modality` and `paths`
are [n, bytes] uint8, UTF-8 filled up with zeros. Its metadata say, as JSON below the key
`lupi_jax`, what the features are of.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from lupi_jax.errors import InputError
from lupi_jax.runtime.files import replacing

Arrays = Mapping[str, np.ndarray]

ARRAYS = ("pooled", "ids", "cameras", "modality", "paths", "features")
"""What is written of features, in the order in which the files of a directory are replaced."""

SUFFIXES = (".npz", ".safetensors")
"""Of files; a directory has none."""

METADATA = "lupi_jax"


def write_arrays(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    """Write the arrays in the form that the suffix of `path` names; none is a directory.

    What was there before stays until all of them are written.

    Args:
      path: to write.
      arrays: those of `ARRAYS`.
      facts: what they are of, plain values; kept in `.safetensors`.

    Raises:
      InputError: no form has this suffix.
      OSError: they cannot be written there.
    """
    check_form(path)
    if not path.suffix and path.is_dir():
        _replace_arrays(path, arrays)
        return
    with replacing(path) as part:
        if path.suffix == ".npz":
            np.savez(part, **arrays)  # pyright: ignore[reportArgumentType]
        elif path.suffix == ".safetensors":
            _write_safetensors(part, arrays, facts)
        else:
            part.mkdir()
            for name in ARRAYS:
                _write_npy(part / f"{name}.npy", arrays[name])


def check_form(path: Path) -> None:
    """Check that `write_arrays` can write what the name of `path` asks for.

    Raises:
      InputError: no form has this suffix.
    """
    if path.suffix and path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: features are written to a file that ends on {' or '.join(SUFFIXES)} or, by a "
            "name without a suffix, to a directory"
        )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote, the arrays of a directory memory-mapped.

    Raises:
      Exception: it is no such file, or damaged: whatever its library makes of that.
    """
    if not path.is_file():
        mapped = {name: np.load(path / f"{name}.npy", "r", allow_pickle=False) for name in ARRAYS}
        return {name: array.view(np.ndarray) for name, array in mapped.items()}
    if path.suffix == ".safetensors":
        arrays = safetensors.numpy.load_file(path)
        return {**arrays, **{name: _text(arrays[name]) for name in ("modality", "paths")}}
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def holds_features(path: str | Path) -> bool:
    """Whether there are features, whole or not, or by its name should be, rather than images."""
    path = Path(path)
    arrays = (path / f"{name}.npy" for name in ARRAYS)
    return path.suffix in SUFFIXES or path.is_file() or any(file.is_file() for file in arrays)


def _replace_arrays(folder: Path, arrays: Arrays) -> None:
    """Take the place of the arrays in a directory that is there already.

    They are written inside it, for the directory may be a volume or a link, whose parent belongs
    to others.
    """
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


def _write_safetensors(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    plain = {
        name: np.ascontiguousarray(_bytes(array) if array.dtype.kind == "U" else array)
        for name, array in arrays.items()
    }
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.numpy.save_file(plain, path, {METADATA: json.dumps(facts)})
    except safetensors.SafetensorError as error:  # as a full disk
        raise OSError(str(error)) from error
    path.chmod(mode)  # the library makes files that only their owner may read


def _bytes(text: np.ndarray) -> np.ndarray:
    """[n] str -> [n, bytes] uint8."""
    encoded = np.char.encode(text, "utf-8")
    return encoded.view(np.uint8).reshape(len(text), encoded.itemsize)


def _text(values: np.ndarray) -> np.ndarray:
    """[n, bytes] uint8 -> [n] str."""
    encoded = np.ascontiguousarray(values, np.uint8).view(f"S{values.shape[1]}")
    return np.char.decode(encoded.reshape(len(values)), "utf-8")
