import json
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lupi_jax import InputError
from lupi_jax.config import SourceConfig
from lupi_jax.data import Index, prepare, prepare_data, read_folder, read_image
from lupi_jax.data.feeds import prepared as module
from lupi_jax.data.feeds.prepared import prepared_reader
from lupi_jax.runtime.files import PARTIAL, alone
from lupi_jax.runtime.progress import Show

SIZE = (40, 32)
BYTES = 40 * 32 * 3
FILES = ["images-00000.npy", "images-00001.npy", "images-00002.npy", "prepared.json"]


@pytest.fixture
def index(tmp_path, write_layout) -> Index:
    people = {"1": 3, "2": 1, "4": 2, "9": 4}
    root = write_layout(tmp_path / "data", {"train": {"visible": people, "infrared": people}})
    return read_folder(root, "train")


@pytest.fixture(autouse=True)
def shards_of_eight(monkeypatch):
    """20 images lie in shards of 8, 8 and 4."""
    monkeypatch.setattr(module, "SHARD_BYTES", 8 * BYTES)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "prepared"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_holds(folder: Path, index: Index, rows: range | list[int] = range(20)) -> None:
    read = prepared_reader(folder, index, SIZE)
    for row in rows:
        expected = read_image(index.root / index.paths[row], SIZE)
        np.testing.assert_array_equal(read(row), expected)


def teller(told: list[tuple[str, int, int]]) -> Show:
    """Notes what is shown."""
    return lambda what: lambda done, total: told.append((what, done, total))


def test_one_call_prepares_a_data_set(index, folder):
    source = SourceConfig(root=str(index.root), workers=1)
    assert prepare_data(source, SIZE, str(folder)) == (20, 20, 0, ())
    assert_holds(folder, index)
    assert prepare_data(index.root, SIZE, folder) == (20, 0, 3, ())  # three whole shards


def test_every_image_is_there_resized(index, folder):
    told = []
    prepare(index, SIZE, folder, show=teller(told))
    begun = [("files read", n, 20) for n in range(1, 21)]
    assert told == [*begun, *(("images decoded", n, 20) for n in range(1, 21))]
    told.clear()
    prepare(index, SIZE, folder, show=teller(told))
    assert told == [*begun, *(("shards checked", n, 3) for n in range(1, 4))]
    assert names(folder) == FILES
    assert np.load(folder / FILES[2], mmap_mode="r").shape == (4, *SIZE, 3)
    assert_holds(folder, index)
    # Rows are found by path: any part of the set, in any order.
    part = index[np.array([17, 3, 9])]
    read = prepared_reader(folder, part, SIZE)
    np.testing.assert_array_equal(read(0), read_image(index.root / index.paths[17], SIZE))
    np.testing.assert_array_equal(read(2), read_image(index.root / index.paths[9], SIZE))


def test_a_second_time_nothing_is_decoded(index, folder, monkeypatch):
    assert prepare(index, SIZE, folder) == (20, 20, 0, ())
    monkeypatch.setattr(module, "read_images", lambda *_: pytest.fail("decoded twice"))
    assert prepare(index, SIZE, folder) == (20, 0, 3, ())


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_set_is_gone_on_with_and_never_taken_for_whole(
    index, folder, monkeypatch, killed
):
    decode = module.read_images

    def interrupted(part, *arguments):
        # The ninth image is the first of the second shard.
        yield from islice(decode(part, *arguments), 8 if index.paths[0] in part.paths else 1)
        if index.paths[0] not in part.paths:
            if killed:  # the process cannot even tidy up
                patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_images", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(index, SIZE, folder)
    partials = [name for name in names(folder) if name.startswith(PARTIAL)]
    assert len(partials) == killed
    with pytest.raises(InputError, match=r"unfinished set at .*run `lupi prepare"):
        prepared_reader(folder, index, SIZE)
    told = []
    assert prepare(index, SIZE, folder, show=teller(told)) == (20, 12, 1, ())
    assert [n for what, n, _ in told if what == "images decoded"] == [*range(9, 21)]
    assert names(folder) == FILES
    assert_holds(folder, index)


def test_a_process_killed_while_preparing_loses_nothing(index, folder):
    code = """
import os, signal, sys
from lupi_jax.data import prepare, read_folder
from lupi_jax.data.feeds import prepared
prepared.SHARD_BYTES = int(sys.argv[3])
index = read_folder(sys.argv[1], "train")
kill = lambda done, _: done == 13 and os.kill(os.getpid(), signal.SIGKILL)
show = lambda what: kill if what == "images decoded" else lambda *counts: None
prepare(index, (40, 32), sys.argv[2], show=show)
"""
    command = [sys.executable, "-c", code, str(index.root), str(folder), str(8 * BYTES)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (folder / "prepared.json").exists()
    assert prepare(index, SIZE, folder) == (20, 12, 1, ())
    assert names(folder) == FILES
    assert_holds(folder, index)


def test_a_damaged_shard_is_found_by_its_checksum_and_made_anew(index, folder):
    prepare(index, SIZE, folder)
    with (folder / FILES[1]).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    (folder / FILES[2]).unlink()
    assert prepare(index, SIZE, folder) == (20, 12, 1, (FILES[1], FILES[2]))
    assert prepare(index, SIZE, folder) == (20, 0, 3, ())
    assert_holds(folder, index)


def test_a_damaged_shard_is_made_anew_though_the_first_mending_was_cut_off(index, folder):
    prepare(index, SIZE, folder)
    pixels = (folder / FILES[1]).read_bytes()
    (folder / FILES[1]).write_bytes(pixels[:-1] + bytes([pixels[-1] ^ 1]))

    def cut_off(what: str):
        if what == "images decoded":
            raise KeyboardInterrupt
        return lambda done, total: None

    with pytest.raises(KeyboardInterrupt):
        prepare(index, SIZE, folder, show=cut_off)
    prepare(index, SIZE, folder)
    assert (folder / FILES[1]).read_bytes() == pixels


def test_a_truncated_shard_is_not_read(index, folder):
    prepare(index, SIZE, folder)
    os.truncate(folder / FILES[0], 1000)
    with pytest.raises(InputError, match=r"images-00000.npy is missing or damaged: run `lupi prep"):
        prepared_reader(folder, index, SIZE)


def blacken(shard: Path) -> None:
    """Zero the pixels of its first image, and leave length and modification time as they were."""
    before = shard.stat()
    with shard.open("r+b") as file:
        file.seek(-int(np.prod(np.load(shard, "r").shape)), os.SEEK_END)
        file.write(bytes(BYTES))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_shard_with_another_checksum_is_not_read(index, folder):
    prepare(index, SIZE, folder)
    assert_holds(folder, index)  # a process that has read it whole before notices as well
    blacken(folder / FILES[1])
    with pytest.raises(InputError, match=r"images-00001\.npy is missing or .* again to mend it$"):
        prepared_reader(folder, index, SIZE)
    # It has rows 8 to 15: whoever reads others is not concerned.
    assert_holds(folder, index[np.arange(8)], range(8))
    assert prepare(index, SIZE, folder) == (20, 8, 2, (FILES[1],))
    assert_holds(folder, index)


def test_only_shards_that_are_read_are_checked_and_each_once(index, folder, monkeypatch):
    prepare(index, SIZE, folder)
    told, looked = [], []
    digest = module.digest_file
    monkeypatch.setattr(module, "digest_file", lambda file: looked.append(file) or digest(file))
    for _ in range(2):
        prepared_reader(folder, index[np.array([17, 3])], SIZE, show=teller(told))
    assert [file.name for file in looked] == [FILES[0], FILES[2]]
    assert told == [("shards checked", 1, 2), ("shards checked", 2, 2)] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"rows_per_shard": 0},
        {"rows_per_shard": 8.0},
        {"size": [1e999, 32]},
        {"size": [True, 32]},
        {"files": {"a": 1}},
        {"files": [["a", 1, 2]]},
        {"files": [[1, "a", 2, "b"]]},
        {"checksums": {}},
        {"checksums": 7},
        {"decoding": None},
        {"extra": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
    ],
)
def test_a_manifest_of_wrong_values_is_refused(index, folder, fields):
    prepare(index, SIZE, folder)
    manifest = folder / "prepared.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))
    with pytest.raises(InputError, match=r"prepared\.json is damaged, or .*: delete"):
        prepared_reader(folder, index, SIZE)


def test_a_manifest_without_an_end_is_refused(index, folder):
    prepare(index, SIZE, folder)
    manifest = folder / "prepared.json"
    manifest.unlink()
    manifest.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"prepared\.json is damaged, or .*: delete"):
        prepared_reader(folder, index, SIZE)
    manifest.unlink()
    manifest.write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"prepared\.json is damaged, or .*: delete"):
        prepared_reader(folder, index, SIZE)


def test_what_the_set_is_not_of_is_refused(index, folder, tmp_path):
    with pytest.raises(InputError, match="no prepared images at"):
        prepared_reader(folder, index, SIZE)
    prepare(index[np.arange(18)], SIZE, folder)
    with pytest.raises(InputError, match=r"\(40, 32\) pixels, not \(64, 32\): set data.image_size"):
        prepared_reader(folder, index[np.arange(18)], (64, 32))
    with pytest.raises(
        InputError, match=r"lacks 2 images of .*, the first train/infrared/9/c2_0001"
    ):
        prepared_reader(folder, index, SIZE)
    with pytest.raises(InputError, match="holds other images, or the same at another size"):
        prepare(index, SIZE, folder)
    with pytest.raises(InputError, match="holds other images, or the same at another size"):
        prepare(index[np.arange(18)], (64, 32), folder)
    with pytest.raises(InputError, match="is not empty and holds no prepared images"):
        prepare(index, SIZE, tmp_path)
    for damage in ("{", "[]", '{"format": 1}', '{"format": 1, "size": 3, "files": []}'):
        (folder / "prepared.json").write_text(damage)
        for use in (prepare, lambda index, size, folder: prepared_reader(folder, index, size)):
            with pytest.raises(InputError, match=r"prepared\.json is damaged, or .*: delete"):
                use(index[np.arange(18)], SIZE, folder)


def test_a_set_of_a_newer_version_is_not_to_be_deleted(index, folder):
    prepare(index, SIZE, folder)
    manifest = folder / "prepared.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 2}))
    for use in (prepare, lambda index, size, folder: prepared_reader(folder, index, size)):
        with pytest.raises(
            InputError, match=r"/prepared\.json was written by a newer .*: upgrade lupi_jax$"
        ):
            use(index, SIZE, folder)


def test_a_copy_of_the_data_set_is_the_same_images(index, folder, tmp_path):
    prepare(index, SIZE, folder)
    shutil.copytree(index.root, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = read_folder(tmp_path / "copy", "train")
    os.utime(copy.root / copy.paths[3], ns=(5, 5))
    assert_holds(folder, copy)
    assert prepare(copy, SIZE, folder) == (20, 0, 3, ())
    times = [file[2] for file in json.loads((folder / "prepared.json").read_text())["files"]]
    assert times[3] == 5


def test_a_changed_image_is_refused_until_it_is_prepared_anew(index, folder):
    prepare(index, SIZE, folder)
    file = index.root / index.paths[5]
    image = Image.open(file)
    image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(file)
    os.utime(file, ns=(0, 0))
    message = rf"1 images of .* have changed since .*, the first {index.paths[5]}"
    with pytest.raises(InputError, match=message):
        prepared_reader(folder, index, SIZE)
    assert_holds(folder, index[np.arange(5)], range(5))
    assert prepare(index, SIZE, folder) == (20, 8, 2, ())
    assert_holds(folder, index)


def test_an_unreadable_image_is_named_and_the_rest_kept(index, folder):
    file = index.root / index.paths[12]
    content = file.read_bytes()
    file.write_bytes(content[:100])
    with pytest.raises(InputError, match=rf"{index.paths[12]}: unreadable image"):
        prepare(index, SIZE, folder)
    with pytest.raises(InputError, match="unfinished set"):
        prepared_reader(folder, index, SIZE)
    file.write_bytes(content)
    assert prepare(index, SIZE, folder) == (20, 12, 1, ())
    assert_holds(folder, index)


def test_a_full_disk_is_said_while_writing(index, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot prepare images in .*No space left on device"):
        prepare(index, SIZE, folder)
    assert not (folder / "prepared.json").exists()


def test_of_two_that_prepare_at_once_the_second_stops(index, folder, monkeypatch):
    """It would have mixed its shards with those of the first, at another size."""
    stopped, read = [], module.read_images

    def overtaken(*arguments):
        with pytest.raises(InputError, match="another process is writing there") as error:
            prepare(index, (64, 32), folder)
        stopped.append(str(error.value))
        return read(*arguments)

    monkeypatch.setattr(module, "read_images", overtaken)
    assert prepare(index, SIZE, folder) == (20, 20, 0, ())
    assert len(stopped) == 3  # at each shard
    assert "\n" not in stopped[0]
    assert names(folder) == FILES
    assert_holds(folder, index)


def test_one_may_wait_for_the_other(index, folder):
    folder.mkdir()
    with ThreadPoolExecutor(1) as pool:
        with alone(folder):
            other = pool.submit(prepare, index, SIZE, folder, wait=True)
            assert wait([other], timeout=0.3).not_done
        assert other.result() == (20, 20, 0, ())


def test_reading_keeps_nothing_in_memory(tmp_path):
    """64 MiB are read and the peak grows by less than a quarter of that."""
    root, size = tmp_path / "data", (512, 256)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    paths = [f"{i}.bmp" for i in range(8)]
    root.mkdir()
    for path in paths:
        Image.fromarray(pixels).save(root / path)
    zero = np.zeros(8, np.int32)
    one = Index(root, np.array(paths), zero, zero, np.full(8, "visible"))
    many = Index(root, np.tile(one.paths, 22), *(np.tile(x, 22) for x in (zero, zero)),
                 np.tile(one.modalities, 22))  # fmt: skip
    prepare(one, size, tmp_path / "prepared")
    read = prepared_reader(tmp_path / "prepared", many, size)
    read(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = sum(read(row).nbytes for row in range(len(many)))
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert total > 64 * 2**20
    assert grown < total / 4


def test_the_manifest_says_what_the_set_is(index, folder):
    prepare(index, SIZE, folder)
    manifest = json.loads((folder / "prepared.json").read_text())
    assert manifest["size"] == [40, 32]
    assert [file[0] for file in manifest["files"]] == index.paths.tolist()
    assert sorted(manifest["checksums"]) == FILES[:3]


def as_of_an_older_version(folder: Path) -> None:
    """A set's manifest, as it was before it said how images were decoded."""
    manifest = json.loads((folder / "prepared.json").read_text())
    del manifest["decoding"]
    (folder / "prepared.json").write_text(json.dumps(manifest))


def test_a_set_of_an_older_version_is_read_where_its_images_look_the_same(index, folder):
    prepare(index, SIZE, folder)
    as_of_an_older_version(folder)
    assert_holds(folder, index)
    assert prepare(index, SIZE, folder) == (20, 0, 3, ())
    assert json.loads((folder / "prepared.json").read_text())["decoding"] == 2


def test_a_turned_image_of_an_older_set_is_refused_until_it_is_prepared_anew(index, folder):
    file = index.root / index.paths[5]
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(file) as image:
        image.load()
    image.save(file, exif=exif)
    prepare(index, SIZE, folder)
    assert_holds(folder, index)
    as_of_an_older_version(folder)
    message = (
        rf"an older version, which decoded 1 images differently .*, the first {index.paths[5]}"
    )
    with pytest.raises(InputError, match=message):
        prepared_reader(folder, index, SIZE)
    assert prepare(index, SIZE, folder) == (20, 8, 2, ())
    assert_holds(folder, index)
