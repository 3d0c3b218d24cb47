"""Feature files that somebody else wrote, and arrays of any kind given to the API."""

import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lupi_jax import InputError
from lupi_jax.evaluation import load_features
from lupi_jax.runtime import packed


def sound(n: int = 3) -> dict[str, np.ndarray]:
    unit = np.eye(n, 4, dtype=np.float32)
    return {
        "features": unit,
        "pooled": unit[::-1].copy(),
        "ids": np.arange(n, dtype=np.int32),
        "cameras": np.full(n, -1, np.int32),
        "modality": np.array(["visible"] * n),
        "paths": np.array([f"{i}.png" for i in range(n)]),
    }


def write(place: Path, arrays: dict[str, np.ndarray]) -> Path:
    if place.suffix == ".npz":
        np.savez(place, **arrays)  # pyright: ignore[reportArgumentType]
    else:
        place.mkdir()
        for name, array in arrays.items():
            np.save(place / f"{name}.npy", array)
    return place


@pytest.mark.parametrize("place", ["f.npz", "f"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_whole_numbers_of_any_type_are_read(tmp_path, place, dtype):
    arrays = sound() | {"ids": np.array([0, 7, 200], dtype)}
    index = load_features(write(tmp_path / place, arrays)).index
    assert index.identities.dtype == np.int32
    assert index.identities.tolist() == [0, 7, 200]


FAULTS = {
    "ids beyond int32": ({"ids": np.array([0, 1, 2**32 + 1])}, "ids must be from -1"),
    "unsigned ids beyond int64": ({"ids": np.array([0, 1, 2**64 - 1], np.uint64)}, "ids must be"),
    "ids below -1": ({"ids": np.array([0, 1, -2])}, "ids must be from -1"),
    "floating ids": ({"ids": np.array([0, 1, np.nan])}, "ids must be whole numbers, not float64"),
    "named ids": ({"ids": np.array(["a", "b", "c"])}, "ids must be whole numbers, not <U1"),
    "true ids": ({"ids": np.array([True, False, True])}, "ids must be whole numbers, not bool"),
    "two columns of ids": ({"ids": np.zeros((3, 2), int)}, r"ids has shape \(3, 2\)"),
    "one id": ({"ids": np.array(5)}, r"ids has shape \(\), but"),
    "fewer cameras": ({"cameras": np.arange(2)}, r"cameras has shape \(2,\), but features have"),
    "negative cameras": ({"cameras": np.array([1, 1, -7])}, "cameras must be from -1"),
    "numbered paths": ({"paths": np.arange(3)}, "paths must be text, not int64"),
    "paths of bytes": ({"paths": np.array([b"a", b"b", b"c"])}, r"paths must be text, not \|S1"),
    "an empty path": ({"paths": np.array(["a", "", "c"])}, "a path is empty"),
    "a NUL in a path": ({"paths": np.array(["a", "b\0b", "c"])}, "contains a NUL"),
    "another modality": ({"modality": np.array(["visible", "x", "y"])}, "modality must be one of"),
    "numbered modality": ({"modality": np.arange(3)}, "modality must be text"),
    "features of float64": ({"features": np.eye(3, 4)}, "features must be float32"),
    "features of ints": ({"features": np.eye(3, 4, dtype=int)}, "features must be float32"),
    "flat features": ({"features": np.ones(3, np.float32)}, "features must be float32"),
    "features without width": ({"features": np.ones((3, 0), np.float32)}, "features must be"),
    "other widths": ({"pooled": np.eye(3, 5, dtype=np.float32)}, "pooled has shape"),
    "objects": ({"ids": np.array([1, None, 2])}, "is not a feature file"),
}


@pytest.mark.parametrize("place", ["f.npz", "f"])
@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_arrays_of_another_form_are_named(tmp_path, place, change, message):
    write(tmp_path / place, sound() | change)
    with pytest.raises(InputError, match=message) as refusal:
        load_features(tmp_path / place)
    assert str(tmp_path / place) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_features_that_are_not_of_length_1_are_refused(tmp_path, value):
    arrays = sound()
    arrays["features"][1, 0] = value
    with pytest.raises(InputError, match="finite and of length 1"):
        load_features(write(tmp_path / "f.npz", arrays))


def test_a_file_that_states_gigabytes_is_refused_unread(tmp_path):
    file = write(tmp_path / "f.npz", sound())
    with zipfile.ZipFile(file, "a") as archive, archive.open("other.npy", "w") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**10)}
        )
    assert len(load_features(file).neck) == 3  # what nobody asks for is not read
    folder = write(tmp_path / "f", sound())
    with (folder / "features.npy").open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**10)}
        )
    with pytest.raises(InputError, match="is not a feature file"):
        load_features(folder)


def test_a_file_that_unpacks_to_much_more_is_refused_unread(tmp_path):
    file = tmp_path / "f.npz"
    np.savez_compressed(file, **sound() | {"pooled": np.zeros((3, 2**22), np.float32)})
    tracemalloc.start()
    with pytest.raises(InputError, match=r"MB but unpacks to 50\.3 MB, too much for arrays"):
        load_features(file)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors"])
def test_a_file_that_does_not_fit_into_memory_is_refused_unread(tmp_path, monkeypatch, name):
    monkeypatch.setattr(packed, "free_memory", lambda: 3_000_000_000)
    with (tmp_path / name).open("wb") as out:
        out.truncate(2**42)  # sparse: it takes no room
    with pytest.raises(InputError, match=r"needs 4398\.0 GB of memory, but only 3\.0 GB are free"):
        load_features(tmp_path / name)


@pytest.mark.parametrize("name", ["pooled.npy", "paths.npy", "made_by.json"])
def test_pipes_and_devices_are_not_read(tmp_path, name):
    folder = write(tmp_path / "f", sound())
    for make in (os.mkfifo, lambda file: file.symlink_to("/dev/zero")):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        with pytest.raises(InputError, match=rf"{name.replace('.', '[.]')} .*pipe or a device"):
            load_features(folder)


def test_a_long_origin_is_refused(tmp_path):
    folder = write(tmp_path / "f", sound())
    with (folder / "made_by.json").open("wb") as out:
        out.truncate(2**33)
    with pytest.raises(InputError, match=r"made_by\.json is larger than 1 MiB"):
        load_features(folder)


def test_200_mutations_are_refused_or_read(tmp_path):
    rng = np.random.default_rng(1)
    write(tmp_path / "f.npz", sound())
    safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "f.safetensors")
    refused = 0
    for name in ("f.npz", "f.safetensors"):
        content = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(100):
            changed = content.copy()
            places = rng.integers(0, len(changed), 3)
            changed[places] ^= rng.integers(1, 256, 3).astype(np.uint8)
            (tmp_path / name).write_bytes(changed[: rng.integers(1, len(changed) + 1)].tobytes())
            try:
                load_features(tmp_path / name)
            except InputError:
                refused += 1
    assert refused > 150
