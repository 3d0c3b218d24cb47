import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lupi_jax.data.sources.llcm import read_llcm
from lupi_jax.data.sources.sysu_mm01 import read_sysu
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.synthetic import LAYOUTS, make_synthetic, read_manifest, render, writing
from lupi_jax.synthetic.cameras import build_scene

SMALL: dict[str, Any] = {"height": 48, "width": 24}
write_folder = LAYOUTS["folder"]


def tree(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_folder_has_disjoint_identities_and_exact_counts(tmp_path: Path) -> None:
    written = write_folder(
        tmp_path / "set", identities=5, images_per_modality=6, test_fraction=0.4, **SMALL
    )
    assert written
    names = {"train": {"0001", "0002", "0003"}, "test": {"0004", "0005"}}
    files = {
        "visible": ["c1_0001", "c1_0002", "c2_0001", "c2_0002", "c4_0001", "c5_0001"],
        "infrared": ["c3_0001", "c3_0002", "c3_0003", "c6_0001", "c6_0002", "c6_0003"],
    }
    for split, identities in names.items():
        for modality, expected in files.items():
            folder = tmp_path / "set" / split / modality
            assert {path.name for path in folder.iterdir()} == identities
            for identity in identities:
                found = sorted(path.name for path in (folder / identity).iterdir())
                assert found == [f"{name}.jpg" for name in expected]
    assert len(tree(tmp_path / "set")) == 5 * 12 + 1
    manifest = read_manifest(tmp_path / "set")
    assert manifest.pop("counts") == {
        "train": {"identities": 3, "visible": 18, "infrared": 18},
        "test": {"identities": 2, "visible": 12, "infrared": 12},
    }
    expected = {"layout": "folder", "seed": 0, "identities": 5, "images_per_modality": 6}
    expected |= {"generator": "lupi_jax.data.synthetic", "version": 1, "test_fraction": 0.4}
    assert manifest == expected | SMALL


def test_files_of_an_infrared_folder_are_grey_up_to_jpeg(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", identities=3, images_per_modality=4, **SMALL)
    for path in (tmp_path / "set").rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert image.size == (24, 48)
            spread = np.ptp(np.asarray(image).astype(int), axis=-1)
        if "infrared" in path.parts:
            assert spread.max() <= 2
        else:
            assert spread.mean() > 5


def test_a_file_does_not_depend_on_how_many_others_are_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "few", identities=3, images_per_modality=2, seed=4, **SMALL)
    write_folder(tmp_path / "more", identities=7, images_per_modality=6, seed=4, **SMALL)
    LAYOUTS["sysu"](tmp_path / "sysu", identities=7, images_per_modality=6, seed=4, **SMALL)

    def by_picture(root: Path) -> dict[tuple[str, str], bytes]:
        return {(path.parent.name, path.name): path.read_bytes() for path in root.rglob("c*_*.jpg")}

    few, more = by_picture(tmp_path / "few"), by_picture(tmp_path / "more")
    assert len(few) == 12
    assert few.items() <= more.items()
    assert len(set(more.values())) == len(more) == 84
    assert (tmp_path / "sysu/cam1/0001/0002.jpg").read_bytes() == more["0001", "c1_0002.jpg"]


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_folder(tmp_path / name, identities=3, images_per_modality=2, seed=seed, **SMALL)
        build_scene.cache_clear()
    first, again, other = (tree(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_sysu_lists_everybody_once_and_not_every_camera_sees_everybody(tmp_path: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["sysu"](root, identities=15, images_per_modality=4, test_fraction=0.4, **SMALL)
    lists = {}
    for split in ("train", "val", "test"):
        text = (root / "exp" / f"{split}_id.txt").read_text()
        assert text.count("\n") == 1
        lists[split] = [int(number) for number in text.split(",")]
    assert [len(lists[split]) for split in ("train", "val", "test")] == [7, 2, 6]
    assert sorted(itertools.chain(*lists.values())) == list(range(1, 16))
    cameras = {
        identity: {n for n in range(1, 7) if (root / f"cam{n}" / f"{identity:04d}").is_dir()}
        for identity in range(1, 16)
    }
    everywhere, indoors, outdoors = set(range(1, 7)), {1, 2, 3}, {4, 5, 6}
    seen = [cameras[identity] for identity in lists["test"][:4]]
    assert seen == [everywhere, indoors, everywhere, outdoors]
    for seen_by in cameras.values():
        assert seen_by & {1, 2, 4, 5}
        assert seen_by & {3, 6}
    everybody, indoor = (root / "cam3" / f"{identity:04d}" for identity in lists["test"][:2])
    assert sorted(path.stem for path in indoor.iterdir()) == ["0001", "0002", "0003", "0004"]
    assert sorted(path.stem for path in everybody.iterdir()) == ["0001", "0002"]
    assert len(list(root.glob("cam*/*/*.jpg"))) == 15 * 8


def test_sysu_has_cameras_that_saw_nobody(tmp_path: Path) -> None:
    LAYOUTS["sysu"](tmp_path / "set", identities=3, images_per_modality=1, **SMALL)
    for split, numbers in (("train", [1, 2]), ("test", [3])):
        index = read_sysu(tmp_path / "set", split)
        assert list(index.cameras) == [1] * len(numbers) + [3] * len(numbers)
        assert list(index.identities) == numbers * 2


def test_regdb_splits_are_disjoint_halves(tmp_path: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["regdb"](root, identities=7, images_per_modality=2, **SMALL)
    assert len(list((root / "idx").iterdir())) == 40
    halves = set()
    for trial in range(1, 11):
        members = {}
        for split in ("train", "test"):
            for modality, letter in (("Visible", "v"), ("Thermal", "t")):
                name = f"{split}_{modality.lower()}_{trial}.txt"
                lines = [line.split() for line in (root / "idx" / name).read_text().splitlines()]
                count = 3 if split == "train" else 4
                assert [int(label) for _, label in lines] == [k // 2 for k in range(2 * count)]
                owners = [path.split("/")[1] for path, _ in lines]
                expected = [
                    f"{modality}/{owner}/person_{letter}_{k % 2 + 1:05d}_{owner}.bmp"
                    for k, owner in enumerate(owners)
                ]
                assert [path for path, _ in lines] == expected
                assert all((root / path).is_file() for path, _ in lines)
                members[split, modality] = owners
        for split in ("train", "test"):
            assert members[split, "Visible"] == members[split, "Thermal"]
        train, test = set(members["train", "Visible"]), set(members["test", "Visible"])
        assert (len(train), len(test), len(train | test)) == (3, 4, 7)
        halves.add(frozenset(train))
    assert len(halves) > 5
    with Image.open(root / "Thermal/2/person_t_00001_2.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), render(0, 2, 6, 1, height=48, width=24))


def test_llcm_reads_back(tmp_path: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["llcm"](root, identities=5, images_per_modality=10, test_fraction=0.4, **SMALL)
    train, test = read_llcm(root, "train"), read_llcm(root, "test")
    assert sorted(Counter(train.identities.tolist()).items()) == [(1, 20), (2, 20), (3, 20)]
    assert sorted(Counter(test.identities.tolist()).items()) == [(4, 20), (5, 20)]
    for index, people in ((train, 3), (test, 2)):
        assert index.count(Modality.VISIBLE) == index.count(Modality.INFRARED) == 10 * people
        visible = Counter(index.cameras[index.modalities == Modality.VISIBLE].tolist())
        infrared = Counter(index.cameras[index.modalities == Modality.INFRARED].tolist())
        assert sorted(visible) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert sorted(infrared) == [1, 2, 4, 5, 6, 7, 8, 9]
        # The tenth picture is of the camera of the first: the next one for the next person.
        twice = (2, 3, 4) if people == 3 else (5, 6)
        assert visible == {camera: people + (camera in twice) for camera in range(1, 10)}
    lines = (root / "idx/train_nir.txt").read_text().splitlines()
    assert lines[0] == "nir/0001/0001_c02_s000000_f0002_nir.jpg 0"
    assert lines[10] == "nir/0002/0002_c04_s000000_f0004_nir.jpg 1"
    assert lines[18] == "nir/0002/0002_c04_s000000_f0013_nir.jpg 1"
    assert (root / "idx/test_id.txt").read_text() == "4,5\n"
    files = tree(root)
    assert len(files) == 5 * 20 + 3 + 1
    assert len(set(files.values())) == len(files)
    # Camera 5 is drawn as camera 1 in visible, and as camera 3 in infrared light.
    for path, camera in (
        ("test_vis/cam5/0004/0004_c05_s000000_f0005_vis.jpg", 1),
        ("test_nir/cam5/0004/0004_c05_s000000_f0005_nir.jpg", 3),
    ):
        with Image.open(root / path) as image:
            difference = np.asarray(image).astype(int) - render(0, 4, camera, 5, **SMALL)
        assert np.abs(difference).mean() < 8


def test_llcm_has_cameras_that_saw_nobody(tmp_path: Path) -> None:
    LAYOUTS["llcm"](tmp_path / "set", identities=3, images_per_modality=1, **SMALL)
    assert list(read_llcm(tmp_path / "set", "train").identities) == [1, 2, 1, 2]
    assert list(read_llcm(tmp_path / "set", "test").identities) == [3, 3]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_manifest_is_last_and_a_second_call_does_nothing(tmp_path: Path, layout: str) -> None:
    root, calls = tmp_path / "deep" / "set", []

    def watch(done: int, total: int) -> None:
        assert (root / "synthetic.partial.json").is_file()
        assert not (root / "synthetic.json").exists()
        calls.append((done, total))

    def write() -> bool:
        return LAYOUTS[layout](root, identities=3, images_per_modality=2, progress=watch, **SMALL)

    assert write() is True
    assert calls == [(k, 12) for k in range(1, 13)]
    assert not (root / "synthetic.partial.json").exists()
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write() is False
    assert len(calls) == 12
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times
    counts = read_manifest(root)["counts"]
    assert sum(split["visible"] + split["infrared"] for split in counts.values()) == 12


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What this process renders: seed, identity, camera and number."""
    calls = []

    def spy(*arguments: int, **size: int) -> np.ndarray:
        calls.append(arguments)
        return render(*arguments, **size)

    monkeypatch.setattr(writing, "render", spy)
    return calls


def test_an_interrupted_set_is_not_whole_and_can_be_finished(
    tmp_path: Path, rendered: list[tuple[int, ...]]
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    size = {"identities": 3, "images_per_modality": 3, **SMALL}
    write_folder(whole, **size)
    everything = rendered.copy()
    assert len(everything) == 18
    rendered.clear()
    with pytest.raises(KeyboardInterrupt):
        write_folder(cut, progress=stop, **size)
    assert rendered == everything[:7]
    assert len(tree(cut)) == 7 + 1
    with pytest.raises(InputError, match="unfinished synthetic data"):
        read_manifest(cut)
    with pytest.raises(InputError, match="other parameters"):
        write_folder(cut, seed=1, **size)
    assert len(tree(cut)) == 7 + 1
    (cut / ".synthetic-1.tmp").touch()  # what a killed process may leave
    (cut / "train/visible/0001/c1_0001.jpg").write_bytes(b"")  # and a machine without power
    rendered.clear()
    progress = []
    assert write_folder(cut, progress=lambda *counts: progress.append(counts), **size) is True
    assert rendered == [everything[0], *everything[7:]]
    assert progress == [(k, 18) for k in range(7, 19)]
    assert not (cut / ".synthetic-1.tmp").exists()
    assert tree(cut) == tree(whole)


def test_the_bytes_do_not_depend_on_how_many_processes_render(
    tmp_path: Path, rendered: list[tuple[int, ...]]
) -> None:
    calls = []

    def watch(done: int, total: int) -> None:
        calls.append((done, total))
        for process in multiprocessing.active_children():
            # Ctrl-C reaches every process, and is for the first to act on.
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)

    size = {"identities": 3, "images_per_modality": 16, **SMALL}
    write_folder(tmp_path / "one", **size)
    assert len(rendered) == 96
    rendered.clear()
    write_folder(tmp_path / "two", workers=2, progress=watch, **size)
    assert rendered == []
    assert calls == [(k, 96) for k in range(1, 97)]
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_told_in_one_line(tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(InputError, match=r"process .* died.*fewer workers") as caught:
        write_folder(tmp_path / "set", identities=50, workers=2, progress=kill, **SMALL)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set/synthetic.json").exists()


SCRIPT = """
import os, signal, sys
from pathlib import Path
from lupi_jax.synthetic import make_synthetic

def stop(done, total):
    if done == 9:
        {stop}

if __name__ == "__main__":
    # Whoever runs the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        make_synthetic(Path(sys.argv[1]), workers=2, progress=stop, height=48, width=24)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(
    ("stop", "says"),
    [
        ("os.killpg(0, signal.SIGINT)", "interrupted\n"),  # Ctrl-C, which every process gets
        ("os.kill(os.getpid(), signal.SIGKILL)", ""),
    ],
)
def test_no_process_and_no_half_file_stays_behind(tmp_path: Path, stop: str, says: str) -> None:
    script, root = tmp_path / "script.py", tmp_path / "set"
    script.write_text(SCRIPT.format(stop=stop))
    # Ends when nobody has the pipes open any more: when no process is left.
    ended = subprocess.run(
        [sys.executable, script, root],
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        check=False,
    )
    assert ended.stdout == says
    assert "Traceback" not in ended.stderr
    pictures = list(root.rglob("*.jpg"))
    assert 9 <= len(pictures) < 96 * 16
    for picture in pictures:
        with Image.open(picture) as image:
            image.load()
    assert (root / "synthetic.partial.json").is_file()
    assert not (root / "synthetic.json").exists()
    if says:
        assert not list(root.glob(".synthetic-*"))


def test_what_a_killed_process_had_begun_is_removed_also_beside_a_whole_set(tmp_path: Path) -> None:
    for written in (True, False):
        (tmp_path / ".synthetic-12345.tmp").write_bytes(b"half")
        assert write_folder(tmp_path, identities=4, images_per_modality=2, **SMALL) == written
        assert not [name for name in tree(tmp_path) if name.startswith(".")]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="not empty and not a synthetic set"):
        write_folder(tmp_path, identities=3, **SMALL)
    assert tree(tmp_path) == {"photo.jpg": b"mine"}


OTHERS = [
    {"difficulty": "easy"},
    {"seed": 1},
    {"identities": 4},
    {"images_per_modality": 2},
    {"height": 50},
    {"width": 26},
]


@pytest.mark.parametrize("change", OTHERS)
def test_a_set_with_other_parameters_is_left_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    size = {"identities": 3, "images_per_modality": 1, **SMALL}
    write_folder(tmp_path, **size)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="other parameters"):
        write_folder(tmp_path, **{**size, **change})
    with pytest.raises(InputError, match="other parameters"):
        LAYOUTS["sysu"](tmp_path, **size)
    assert tree(tmp_path) == before


def test_a_damaged_manifest_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no synthetic\.json"):
        read_manifest(tmp_path)
    for text in ("{", "[]", json.dumps({"generator": "other"})):
        (tmp_path / "synthetic.json").write_text(text)
        with pytest.raises(InputError, match="not the manifest"):
            read_manifest(tmp_path)
        with pytest.raises(InputError, match="other parameters"):
            write_folder(tmp_path, identities=3, **SMALL)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"generator": ' + "[" * 99 + "]" * 99 + "}"])
def test_a_deep_manifest_is_no_set(tmp_path: Path, content: str) -> None:
    (tmp_path / "synthetic.json").write_text(content)
    with pytest.raises(InputError, match=r"synthetic\.json is not the manifest .*: generate"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="other parameters"):
        write_folder(tmp_path, identities=3, **SMALL)


def test_a_manifest_without_an_end_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "synthetic.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"not the manifest .* \(it is a pipe or a device\)"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="other parameters"):
        write_folder(tmp_path, identities=3, **SMALL)


def test_of_two_that_write_a_set_at_once_the_second_stops(tmp_path: Path) -> None:
    """It would have mixed its pictures with those of the first."""
    stopped = []

    def overtaken(done: int, total: int) -> None:
        with pytest.raises(InputError, match="another process is writing there") as error:
            write_folder(tmp_path / "set", seed=1, identities=3, **SMALL)
        stopped.append(str(error.value))

    size = {"identities": 3, "images_per_modality": 2, **SMALL}
    assert write_folder(tmp_path / "set", progress=overtaken, **size)
    assert len(stopped) == 12
    assert "\n" not in stopped[0]
    write_folder(tmp_path / "alone", **size)
    assert tree(tmp_path / "set") == tree(tmp_path / "alone")


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InputError) as caught:
        write_folder(tmp_path / where, identities=3, **SMALL)
    assert str(tmp_path / where) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_write_that_fails_is_an_input_error(tmp_path: Path) -> None:
    def block(done: int, total: int) -> None:
        shutil.rmtree(tmp_path / "set" / "train")
        (tmp_path / "set" / "train").touch()

    with pytest.raises(InputError, match="cannot write synthetic data"):
        write_folder(tmp_path / "set", identities=3, progress=block, **SMALL)
    assert not (tmp_path / "set" / "synthetic.json").exists()


BAD = {"identities": (2, 10_000, 4.0), "seed": (-1,), "images_per_modality": (0, 10_000)}
BAD |= {"height": (31, 1025), "width": (15, 1025), "workers": (0, 257, 2.0)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BAD)
def test_a_parameter_out_of_range_is_named(tmp_path: Path, layout: str, name: str) -> None:
    for value in BAD[name]:
        with pytest.raises(InputError, match=rf"^{name}="):
            LAYOUTS[layout](tmp_path / "set", **{name: value})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_a_test_fraction_out_of_range_is_named(tmp_path: Path, layout: str, value: float) -> None:
    with pytest.raises(InputError, match=r"^test_fraction="):
        LAYOUTS[layout](tmp_path / "set", test_fraction=value)
    assert not (tmp_path / "set").exists()


def test_what_does_not_go_with_a_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^test_fraction=0\.4 does not go with the layout regdb"):
        LAYOUTS["regdb"](tmp_path / "set", test_fraction=0.4)
    with pytest.raises(InputError, match=r"^layout='market' .* folder, sysu, regdb, llcm"):
        make_synthetic(tmp_path / "set", "market")
    with pytest.raises(InputError, match=r"^difficulty='medium' .* hard, easy"):
        write_folder(tmp_path / "set", difficulty="medium")
    with pytest.raises(InputError, match=r"^like=.* does not go with the layout folder"):
        write_folder(tmp_path / "set", like=tmp_path)
    assert not (tmp_path / "set").exists()
