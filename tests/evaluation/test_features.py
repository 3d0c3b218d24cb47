import dataclasses
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors

from lupi_jax import InputError
from lupi_jax.data import Index
from lupi_jax.evaluation import Features, load_features
from lupi_jax.evaluation import features as module
from lupi_jax.evaluation.features import holds_features

FORMS = ("features", "features.npz", "features.safetensors")


@pytest.fixture
def index(tmp_path) -> Index:
    """Seven images whose modalities alternate without a rhythm; they are not there."""
    modalities = ["infrared", "visible", "visible", "infrared", "visible", "infrared", "infrared"]
    return Index(
        tmp_path,
        np.array([f"{i}.png" for i in range(7)]),
        np.arange(10, 17, dtype=np.int32),
        np.arange(1, 8, dtype=np.int32),
        np.array(modalities),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def made_up(index: Index, seed: int = 2) -> Features:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2, len(index), 6)).astype(np.float32)
    pooled, neck = values / np.linalg.norm(values, axis=2, keepdims=True)
    return Features(pooled, neck, index)


def test_features_on_disk_are_plain_arrays(index, tmp_path):
    features = made_up(index)
    file = tmp_path / "new" / "features.npz"
    features.save(file)
    with np.load(file, allow_pickle=False) as arrays:
        columns = {"ids", "cameras", "modality", "paths"}
        assert set(arrays) == {"features", "pooled", "made_by", *columns}
        np.testing.assert_array_equal(arrays["features"], features.neck)
        np.testing.assert_array_equal(arrays["pooled"], features.pooled)
        assert list(arrays["ids"]) == list(range(10, 17))
        assert list(arrays["cameras"]) == list(range(1, 8))
        assert list(arrays["modality"]) == list(index.modalities)
        assert list(arrays["paths"]) == [str(tmp_path / f"{i}.png") for i in range(7)]
    loaded = load_features(file)
    np.testing.assert_array_equal(loaded.neck, features.neck)
    np.testing.assert_array_equal(loaded.pooled, features.pooled)
    assert list(loaded.index.identities) == list(index.identities)
    assert list(loaded.index.modalities) == list(index.modalities)
    expected = [tmp_path / path for path in index.paths]
    assert [loaded.index.root / path for path in loaded.index.paths] == expected


@pytest.mark.parametrize("form", FORMS)
def test_roles_are_kept_with_the_features(index, tmp_path, form):
    roles = np.array(["query", "", "gallery", "", "", "", ""])
    features = made_up(dataclasses.replace(index, roles=roles))
    place = tmp_path / "new" / form
    features.save(place)
    loaded = load_features(place).index
    assert loaded.roles is not None
    assert loaded.roles.tolist() == roles.tolist()
    assert loaded.in_gallery.tolist() == [False, *[True] * 6]
    made_up(dataclasses.replace(index, roles=np.full(7, ""))).save(place)
    assert load_features(place).index.roles is None  # as an older version reads and writes it


def test_features_in_a_directory_are_memory_mapped(index, tmp_path):
    features = made_up(index)
    folder = tmp_path / "new" / "features"
    assert not holds_features(folder)
    features.save(folder)
    names = ("features", "pooled", "ids", "cameras", "modality", "paths")
    files = {f"{name}.npy" for name in names} | {"made_by.json"}
    assert {path.name for path in folder.iterdir()} == files
    features.save(folder)
    assert holds_features(folder)
    loaded = load_features(folder)
    features.save(tmp_path / "features.npz")
    packed = load_features(tmp_path / "features.npz")
    for name in ("neck", "pooled"):
        assert isinstance(getattr(loaded, name).base, np.memmap)
        assert not getattr(loaded, name).flags.writeable
        np.testing.assert_array_equal(getattr(loaded, name), getattr(packed, name))
    for name, array in vars(packed.index).items():
        np.testing.assert_array_equal(getattr(loaded.index, name), array)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_back_what_was_saved(index, tmp_path, name):
    index = dataclasses.replace(index, paths=np.array([*index.paths[:-1], "größer/雪.png"]))
    features = made_up(index)
    file = tmp_path / "new" / name
    for _ in range(2):  # what is there is replaced
        features.save(file)
    loaded = load_features(file)
    np.testing.assert_array_equal(loaded.neck, features.neck)
    np.testing.assert_array_equal(loaded.pooled, features.pooled)
    own = loaded.index
    assert own.paths.tolist() == [str(tmp_path / path) for path in index.paths]
    assert own.modalities.tolist() == index.modalities.tolist()
    for found, saved in ((own.identities, index.identities), (own.cameras, index.cameras)):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, saved)
    assert [path.name for path in file.parent.iterdir()] == [name]
    (tmp_path / "plain").touch()
    if file.is_file():
        assert file.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", FORMS)
def test_paths_that_are_no_text_find_their_files_again(index, tmp_path, name):
    odd = os.fsdecode(b"caf\xe9.png")  # Latin-1
    (tmp_path / odd).touch()
    index = dataclasses.replace(index, paths=np.array([odd, "\u00e9.png", *index.paths[2:]]))
    made_up(index).save(tmp_path / name)
    loaded = load_features(tmp_path / name).index
    assert loaded.paths[0] == str(tmp_path / odd)
    assert Path(loaded.paths[0]).is_file()
    assert loaded.paths[1] == str(tmp_path / "\u00e9.png")
    assert len(index.fingerprint) == 16


def test_others_read_features_and_what_they_are_of(index, tmp_path):
    """With the formats' own libraries, as somebody without this package would."""
    features, facts = made_up(index), {"run": "runs/demo", "step": 60, "image_size": [288, 144]}
    features.save(tmp_path / "f.safetensors", facts)
    with safetensors.safe_open(tmp_path / "f.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["lupi_jax"]) == facts
        np.testing.assert_array_equal(file.get_tensor("features"), features.neck)
        first = bytes(file.get_tensor("modality")[1]).rstrip(b"\0").decode()
    assert first == "visible"


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_what_made_the_features(index, tmp_path, name):
    features = dataclasses.replace(
        made_up(index), origin={"network_fingerprint": "12ab", "image_size": [2, 1]}
    )
    whole = {
        "network_fingerprint": "12ab",
        "image_size": [2, 1],
        "run": "runs/größe",
        "checkpoint": "step 3",
    }
    features.save(tmp_path / name, {"run": "runs/größe", "checkpoint": "step 3"})
    loaded = load_features(tmp_path / name)
    assert loaded.origin == loaded[np.arange(2)].origin == whole
    made_up(index).save(tmp_path / name)  # nothing of the older ones is left
    assert load_features(tmp_path / name).origin == {}


def test_features_of_older_versions_do_not_say_what_made_them(index, tmp_path):
    made_up(index).save(tmp_path / "features")
    (tmp_path / "features" / "made_by.json").unlink()
    assert load_features(tmp_path / "features").origin == {}
    made_up(index).save(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as arrays:
        older = {name: array for name, array in arrays.items() if name != "made_by"}
    np.savez(tmp_path / "f.npz", **older)
    assert load_features(tmp_path / "f.npz").origin == {}
    np.savez(tmp_path / "f.npz", **older, made_by=np.array("[nothing"))
    with pytest.raises(InputError, match="not a feature file"):
        load_features(tmp_path / "f.npz")


def test_a_damaged_file_of_another_form_is_refused(index, tmp_path):
    file = tmp_path / "f.safetensors"
    made_up(index).save(file)
    whole = file.read_bytes()
    for content in (whole[:-50], b"", b"hello"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"f\.safetensors is not a feature file"):
            load_features(file)


def test_a_form_that_is_not_there(index, tmp_path):
    for name in ("features.csv", "features.NPZ", "features.parquet"):
        with pytest.raises(InputError, match=r"ends in \.npz or \.safetensors, or a directory"):
            made_up(index).save(tmp_path / name)


@pytest.mark.parametrize("name", FORMS)
def test_a_first_export_that_is_stopped_leaves_nothing(index, tmp_path, monkeypatch, name):
    def stop(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            made_up(index).save(tmp_path / "new" / name)
    assert list((tmp_path / "new").iterdir()) == []
    # What cannot be tidied up, by a process that is killed, the next one removes; another's stays.
    killed, other = (tmp_path / "new" / f".lupi-partial-{n}-12345678" for n in (name, f"{name}-b"))
    killed.mkdir()
    other.mkdir()
    made_up(index).save(tmp_path / "new" / name)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {name, other.name}


def test_lengths_are_checked_in_every_tile(index, tmp_path, monkeypatch):
    monkeypatch.setattr("lupi_jax.evaluation.features._CHECKED_ELEMENTS", 12)  # two rows of six
    file = tmp_path / "features.npz"
    made_up(index).save(file)
    load_features(file)
    for row in range(len(index)):
        features = made_up(index)
        features.neck[row] *= 2
        features.save(file)
        with pytest.raises(InputError, match="finite and of length 1"):
            load_features(file)


def test_features_in_a_directory_are_not_read_to_be_loaded(index, tmp_path, monkeypatch):
    folder = tmp_path / "features"
    made_up(index).save(folder)
    monkeypatch.setattr("lupi_jax.evaluation.features.np.linalg.norm", None)
    assert len(load_features(folder).neck) == len(index)


@pytest.mark.parametrize("name", FORMS)
def test_a_full_disk_leaves_what_was_there(index, tmp_path, name):
    place = tmp_path / "place" / name
    features = made_up(index)
    features.save(place)
    before = contents(place.parent)
    large = Features(features.pooled.repeat(9, axis=1), features.neck.repeat(9, axis=1), index)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError) as caught:
            large.save(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"{place}: features cannot be written there (")
    assert "\n" not in str(caught.value)
    assert contents(place.parent) == before


@pytest.mark.parametrize("moves", [0, 1, 6, 7, 13])
def test_a_directory_written_by_half_has_what_it_had(index, tmp_path, monkeypatch, moves):
    """Seven files leave, then seven come; an interrupt at any move brings the old ones back."""
    folder = tmp_path / "features"
    made_up(index).save(folder)
    before = contents(folder)
    moved, rename = [], Path.rename

    def cut_off(self: Path, place: Path) -> Path:
        moved.append(place)
        if len(moved) == moves + 1:
            raise KeyboardInterrupt
        return rename(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        with pytest.raises(KeyboardInterrupt):
            made_up(index, seed=1).save(folder)
    assert contents(folder) == before
    load_features(folder)


def test_a_directory_without_its_last_array_is_no_features(index, tmp_path):
    """As a process leaves it that was killed while it put files in place."""
    folder = tmp_path / "features"
    made_up(index).save(folder)
    (folder / "features.npy").unlink()
    assert holds_features(folder)
    with pytest.raises(InputError, match="no feature file at"):
        load_features(folder)
    (folder / ".lupi-partial-features.npy-12345678").mkdir()
    made_up(index).save(folder)
    load_features(folder)
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json"}


def test_features_that_cannot_be_written_name_the_place(index, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "features", tmp_path / "file" / "features.npz"):
        with pytest.raises(InputError, match=rf"{place}: .* \((Not a directory|File exists)\)"):
            made_up(index).save(place)


@pytest.mark.parametrize("name", ["pooled", "paths", "ids"])
def test_a_directory_without_an_array_is_refused(index, tmp_path, name):
    made_up(index).save(tmp_path / "features")
    (tmp_path / "features" / f"{name}.npy").unlink()
    with pytest.raises(InputError, match="features is not a feature file of"):
        load_features(tmp_path / "features")
    (tmp_path / "features" / "features.npy").unlink()
    with pytest.raises(InputError, match="no feature file at"):
        load_features(tmp_path / "features")


def test_what_is_no_feature_file_is_refused(index, tmp_path):
    file = tmp_path / "features.npz"
    with pytest.raises(InputError, match=r"no feature file at .*features\.npz: .*lupi export"):
        load_features(file)
    file.write_text("hello")
    with pytest.raises(InputError, match=r"features\.npz is not a feature file"):
        load_features(file)
    np.savez(file, features=np.ones((2, 3), np.float32))
    with pytest.raises(InputError, match=r"features\.npz is not a feature file"):
        load_features(file)
    made_up(index).save(file)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"features\.npz is not a feature file"):
        load_features(file)


def test_pickled_arrays_are_never_loaded(index, tmp_path):
    file = tmp_path / "features.npz"
    made_up(index).save(file)
    with np.load(file) as arrays:
        content = dict(arrays)
    content["paths"] = content["paths"].astype(object)
    np.savez(file, **content)
    with pytest.raises(InputError, match="not a feature file"):
        load_features(file)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("features", lambda x: x[:-1], "is damaged: [a-z]+ (has shape|must be float32)"),
        ("pooled", lambda x: x[:-1], "is damaged: [a-z]+ (has shape|must be float32)"),
        ("ids", lambda x: x[:-1], "is damaged: [a-z]+ (has shape|must be float32)"),
        ("modality", lambda x: x[1:], "is damaged: [a-z]+ (has shape|must be float32)"),
        ("features", lambda x: x[0], "is damaged: [a-z]+ (has shape|must be float32)"),
        ("features", lambda x: x.astype(str), "is damaged: [a-z]+ (has shape|must be float32)"),
        ("features", lambda x: 2 * x, "finite and of length 1"),
        ("pooled", lambda x: x * np.nan, "finite and of length 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(index, tmp_path, name, change, message):
    file = tmp_path / "features.npz"
    made_up(index).save(file)
    with np.load(file) as arrays:
        content = dict(arrays)
    content[name] = change(content[name])
    np.savez(file, **content)
    with pytest.raises(InputError, match=message):
        load_features(file)


def test_what_another_export_wrote_meanwhile_is_not_mixed_with(index, tmp_path, monkeypatch):
    """A network comes into the directory while features are written for it."""
    place, write = tmp_path / "export", module._write_npy

    def overtaken(path: Path, array: np.ndarray) -> None:
        write(path, array)
        (place / "artefact.json").write_text("a network")

    place.mkdir()
    monkeypatch.setattr(module, "_write_npy", overtaken)
    with pytest.raises(InputError, match=r"export: something else is there: give another name$"):
        made_up(index).save(place)
    assert contents(place) == {"artefact.json": b"a network"}


def test_of_two_that_save_to_a_directory_at_once_the_second_stops(index, tmp_path, monkeypatch):
    place, write, stopped = tmp_path / "gallery", module._write_npy, []
    made_up(index, seed=1).save(place)

    def overtaken(path: Path, array: np.ndarray) -> None:
        if not stopped:
            stopped.append(True)
            with pytest.raises(InputError, match="another process is writing there"):
                made_up(index, seed=2).save(place)
        write(path, array)

    monkeypatch.setattr(module, "_write_npy", overtaken)
    made_up(index, seed=3).save(place)
    np.testing.assert_array_equal(load_features(place).neck, made_up(index, seed=3).neck)


def test_features_that_cannot_be_read_are_not_called_damaged(index, tmp_path, monkeypatch):
    made_up(index).save(tmp_path / "features")

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "features/pooled.npy")

    monkeypatch.setattr(module.np, "load", deny)
    with pytest.raises(InputError, match=r"^features/pooled\.npy: Permission denied; check its"):
        load_features(tmp_path / "features")
