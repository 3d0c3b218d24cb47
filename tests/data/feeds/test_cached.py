"""The feed's own prepared sets: found, made and mended."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lupi_jax.data import Index, read_folder, read_image
from lupi_jax.data.feeds import cached as module
from lupi_jax.data.feeds import prepared
from lupi_jax.data.feeds.cached import cache_folder, cached_reader

SIZE = (40, 32)


@pytest.fixture
def index(tmp_path, write_layout) -> Index:
    people = {"1": 3, "2": 1}
    root = write_layout(tmp_path / "data", {"train": {"visible": people, "infrared": people}})
    return read_folder(root, "train")


@pytest.fixture(autouse=True)
def shards_of_four(monkeypatch):
    """8 images lie in two shards."""
    monkeypatch.setattr(prepared, "SHARD_BYTES", 4 * 40 * 32 * 3)


def assert_read(cache: Path, index: Index) -> None:
    read = cached_reader(cache, index, SIZE, workers=2)
    for row, path in enumerate(index.paths):
        np.testing.assert_array_equal(read(row), read_image(index.root / path, SIZE))


def damage_pixels(folder: Path) -> None:
    shard = folder / "images-00001.npy"
    shard.write_bytes(shard.read_bytes()[:128] + bytes(4 * 40 * 32 * 3))


def cut_manifest(folder: Path) -> None:
    manifest = folder / "prepared.json"
    manifest.write_text(manifest.read_text()[:100])


def name_other_images(folder: Path) -> None:
    manifest = folder / "prepared.json"
    manifest.write_text(manifest.read_text().replace("c1_0000", "c9_0000"))


def claim_a_newer_version(folder: Path) -> None:
    manifest = folder / "prepared.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 9}))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_pixels, "images-00001.npy is missing or damaged: preparing the images again"),
        (cut_manifest, "is damaged, or another version wrote it: preparing the images again"),
        (name_other_images, "first train/visible/1/c1_0000.jpg: preparing the images again"),
        (claim_a_newer_version, "written by a newer version: preparing the images again"),
    ],
)
def test_what_is_wrong_is_made_anew_and_said(index, tmp_path, capsys, harm, words):
    cache = tmp_path / "cache"
    assert_read(cache, index)
    assert capsys.readouterr().err == ""
    harm(cache_folder(cache, index, SIZE))
    assert_read(cache, index)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("note: ")
    assert lines[0].endswith(words)
    assert_read(cache, index)
    assert capsys.readouterr().err == ""


def test_what_is_not_ours_stays(index, tmp_path):
    cache = tmp_path / "cache"
    assert_read(cache, index)
    folder = cache_folder(cache, index, SIZE)
    (folder / "prepared.json").unlink()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(module.UnfitError, match="is not empty and holds no prepared images"):
        cached_reader(cache, index, SIZE, workers=2)
    assert [file.name for file in folder.iterdir()] == ["thesis.tex"]


def test_only_a_damaged_shard_is_decoded_again(index, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    assert_read(cache, index)
    damage_pixels(cache_folder(cache, index, SIZE))
    decoded, read = [], prepared.read_images
    monkeypatch.setattr(
        prepared, "read_images", lambda part, *a: decoded.extend(part.paths) or read(part, *a)
    )
    assert_read(cache, index)
    assert decoded == index.paths[4:].tolist()


def test_changed_images_have_a_cache_of_their_own(index, tmp_path, write_image):
    old = cache_folder(tmp_path, index, SIZE)
    shutil.copyfile(index.root / index.paths[1], index.root / index.paths[0])
    assert cache_folder(tmp_path, index, SIZE) != old


def test_a_cache_of_an_older_version_is_not_found(index, tmp_path, monkeypatch):
    new = cache_folder(tmp_path, index, SIZE)
    monkeypatch.setattr(module, "DECODING", 1)
    assert cache_folder(tmp_path, index, SIZE) != new
