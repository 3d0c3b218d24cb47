"""Features as files: how their arrays are written, each whole or not at all, and read.

Four forms hold the same of n images. `.npz` and a directory of `.npy` files have the arrays
`features` (the neck's) and `pooled` [n, d] float32, `ids` and `cameras` [n] int32, `modality` and
`paths` [n] str. `.safetensors` has them too; since it knows numbers alone, `modality` and `paths`
are [n, bytes] uint8, UTF-8 filled up with zeros. `.parquet` has one row an image, with the columns
`path`, `identity`, `camera` and `modality` of an index, and `features` and `pooled`, lists of d.
The two latter say in their metadata, as JSON below the key `lupi_jax`, what the features are of.
"""

import contextlib
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from lupi_jax.errors import InputError

Arrays = Mapping[str, np.ndarray]

ARRAYS = ("pooled", "ids", "cameras", "modality", "paths", "features")
"""What is written of features, in the order in which the files of a directory are replaced."""

PARTIAL = ".lupi-export-"
"""How the names of what is not written to its end begin."""

METADATA = "lupi_jax"

_COLUMNS = {"path": "paths", "identity": "ids", "camera": "cameras", "modality": "modality"}

_ROWS = 8192  # of a Parquet file, at once


def write_arrays(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    """Write the arrays in the form that the suffix of `path` names; none is a directory.

    What was there before stays until all of them are written.

    Args:
      path: to write.
      arrays: those of `ARRAYS`.
      facts: what they are of, plain values; kept where the form has room for them.

    Raises:
      InputError: no such form, or it needs a package that is not there.
      OSError: they cannot be written there.
    """
    check_form(path)
    if path.suffix:
        with partial_beside(path) as part:
            _WRITERS[path.suffix](part, arrays, facts)
            _sync(part)
    elif path.is_dir():
        _replace_arrays(path, arrays)
    else:
        with partial_beside(path) as part:
            part.mkdir()
            _write_directory(part, arrays)


def check_form(path: Path) -> None:
    """Check that `write_arrays` can write what the name of `path` asks for.

    Raises:
      InputError: no such form, or it needs a package that is not there.
    """
    if path.suffix and path.suffix not in _WRITERS:
        raise InputError(
            f"{path}: features are written to a file that ends on {', '.join(_WRITERS)} or, by a "
            "name without a suffix, to a directory"
        )
    if path.suffix == ".parquet":
        _parquet(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote, the arrays of a directory memory-mapped.

    Raises:
      InputError: reading it needs a package that is not there.
      Exception: it is no such file, or damaged: whatever its library makes of that.
    """
    if not path.is_file():
        mapped = {name: np.load(path / f"{name}.npy", "r", allow_pickle=False) for name in ARRAYS}
        return {name: array.view(np.ndarray) for name, array in mapped.items()}
    if path.suffix == ".safetensors":
        arrays = safetensors.numpy.load_file(path)
        return {**arrays, **{name: _text(arrays[name]) for name in ("modality", "paths")}}
    if path.suffix == ".parquet":
        return _read_parquet(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def holds_features(path: str | Path) -> bool:
    """Whether there are features, whole or not, or by its name should be, rather than images."""
    path = Path(path)
    arrays = (path / f"{name}.npy" for name in ARRAYS)
    return path.suffix in _WRITERS or path.is_file() or any(file.is_file() for file in arrays)


@contextlib.contextmanager
def partial_beside(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; what is there in the end takes its place, at once.

    An exception removes it; what a killed process has left is removed by the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{PARTIAL}{path.name}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}????????"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as partial:
        part = Path(partial) / path.name
        yield part
        part.replace(path)


def write_whole(path: Path, content: bytes | bytearray) -> None:
    """Write a file that is on the disk when this returns."""
    with path.open("wb") as out:
        out.write(content)
        _flush(out)


def _replace_arrays(path: Path, arrays: Arrays) -> None:
    """Take the place of the arrays in a directory that is there already."""
    for left in path.glob(f"{PARTIAL}*"):  # by an export that was killed
        shutil.rmtree(left)
    # Inside, for the directory itself may be a volume or a link, whose parent is another's.
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path) as partial:
        _write_directory(Path(partial), arrays)
        # Without features.npy nothing is loaded: it goes first and comes last.
        (path / "features.npy").unlink(missing_ok=True)
        for index in path.glob("*.faiss*"):
            index.unlink()
        for name in ARRAYS:
            (Path(partial) / f"{name}.npy").replace(path / f"{name}.npy")


def _write_directory(folder: Path, arrays: Arrays) -> None:
    for name in ARRAYS:
        with (folder / f"{name}.npy").open("wb") as out:
            array = np.ascontiguousarray(arrays[name])
            header = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(out, header)
            out.write(array.data)  # np.save says nothing of a disk that fills up at the end
            _flush(out)


def _write_npz(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    with path.open("wb") as out:
        np.savez(out, **arrays)  # pyright: ignore[reportArgumentType]


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


def _parquet(path: Path) -> Any:
    """The library that reads and writes Parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            f"{path}: Parquet needs pyarrow: pip install 'lupi-jax[parquet]'"
        ) from error
    return pyarrow


def _write_parquet(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    arrow = _parquet(path)

    def lists(values: np.ndarray) -> Any:
        flat = np.ascontiguousarray(values).reshape(-1)
        return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])

    def table(rows: slice) -> Any:
        columns = {column: arrow.array(arrays[name][rows]) for column, name in _COLUMNS.items()}
        columns |= {name: lists(arrays[name][rows]) for name in ("features", "pooled")}
        return arrow.table(columns, metadata={METADATA: json.dumps(facts)})

    count = len(arrays["ids"])
    with arrow.parquet.ParquetWriter(
        path, table(slice(0)).schema, use_dictionary=["modality"]
    ) as out:
        for first in range(0, count, _ROWS):
            out.write_table(table(slice(first, first + _ROWS)))


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    table = _parquet(path).parquet.read_table(path)
    arrays = {}
    for column, name in _COLUMNS.items():
        values = table[column].to_numpy()
        arrays[name] = values.astype(str) if values.dtype == object else values
    for name in ("features", "pooled"):
        lists = table[name].combine_chunks()
        arrays[name] = lists.flatten().to_numpy().reshape(-1, lists.type.list_size)
    return arrays


_WRITERS: dict[str, Callable[[Path, Arrays, Mapping[str, Any]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".parquet": _write_parquet,
}


def _sync(path: Path) -> None:
    with path.open("rb+") as written:
        _flush(written)


def _flush(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())
