import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lupi_jax import InputError
from lupi_jax.data import read_folder, read_image, read_llcm, read_regdb, read_sysu
from lupi_jax.data.index import Index

tfds = pytest.importorskip("tensorflow_datasets")
from lupi_jax.tfds import NAMES  # noqa: E402
from lupi_jax.tfds.__main__ import main  # noqa: E402

tfds.disable_progress_bar()

FEATURES = {"image", "identity", "camera", "modality", "path"}
# {camera: {identity: number of images}}
SYSU = {1: {2: 2, 5: 1, 11: 1}, 3: {2: 1, 5: 2, 30: 2}, 4: {5: 1, 11: 2}, 6: {2: 1, 30: 1}}
SYSU_LISTS = {"train": "30,2", "val": "5", "test": "11"}
# {trial: who is trained on}; the rest of 1 to 4 is tested on
REGDB = {1: (1, 2), 3: (4, 2)}
LLCM_TRAIN = {
    "vis": ["vis/0012/0012_c01_vis.jpg 1", "vis/0001/0001_c09_vis.jpg 0"],
    "nir": ["nir/0001/0001_c04_nir.jpg 0", "nir/0012/frame.jpg 1"],
}
LLCM_TEST = ["test_vis/cam3/0003/0003_c03_vis.jpg", "test_nir/cam2/0003/0003_c02_nir.jpg"]
COUNTS = {
    "sysu_mm01": {"train": 7, "val": 4, "test": 3},
    "regdb/trial_1": {"train": 8, "test": 8},
    "regdb/trial_3": {"train": 8, "test": 8},
    "llcm": {"train": 4, "test": 2},
    "reid_folder": {"train": 6, "test": 2},
}


def write_sysu(root: Path, write_image) -> None:
    for camera in range(1, 7):
        (root / f"cam{camera}").mkdir(parents=True)
        for identity, count in SYSU.get(camera, {}).items():
            for n in range(1, count + 1):
                write_image(root / f"cam{camera}/{identity:04d}/{n:04d}.jpg")
    (root / "exp").mkdir()
    for name, text in SYSU_LISTS.items():
        (root / f"exp/{name}_id.txt").write_text(text)


def write_regdb(root: Path, write_image) -> None:
    (root / "idx").mkdir(parents=True)
    for trial, trained in REGDB.items():
        tested = tuple({1, 2, 3, 4} - set(trained))
        for split, people in (("train", trained), ("test", tested)):
            for folder in ("Visible", "Thermal"):
                names = [(f"{folder}/{p}/{n}.bmp", i) for i, p in enumerate(people) for n in "ab"]
                text = "\n".join(f"{path} {label}" for path, label in names)
                (root / f"idx/{split}_{folder.lower()}_{trial}.txt").write_text(text)
                for path, _ in names:
                    write_image(root / path)
    grey = root / "Thermal/4/a.bmp"
    Image.open(grey).convert("L").save(grey)


def write_llcm(root: Path, write_image) -> None:
    for name, cameras in (("vis", "123456789"), ("nir", "12456789")):
        for camera in cameras:
            (root / f"test_{name}/cam{camera}").mkdir(parents=True)
        for line in LLCM_TRAIN[name]:
            write_image(root / line.split()[0])
    for path in LLCM_TEST:
        write_image(root / path)
    (root / "idx").mkdir()
    for name, listed in LLCM_TRAIN.items():
        (root / f"idx/train_{name}.txt").write_text("\n".join(listed))
    (root / "idx/test_id.txt").write_text("3")


def write_folder(root: Path, write_image) -> None:
    for path in ("train/visible/7/c1_0", "train/visible/12/c3_0", "train/infrared/7/c2_0"):
        write_image(root / f"{path}.jpg")
        write_image(root / f"{path}_b.png")
    for path in ("test/visible/5/c1_0.png", "test/infrared/5/c2_0.jpg"):
        write_image(root / path)
    grey, palette = root / "train/infrared/7/c2_0.jpg", root / "test/visible/5/c1_0.png"
    Image.open(grey).convert("L").resize((20, 31)).save(grey)
    Image.open(palette).quantize(7).save(palette)
    turned, exif = root / "train/visible/12/c3_0.jpg", Image.Exif()
    exif[0x0112] = 3
    Image.open(turned).convert("RGB").save(turned, exif=exif)


@pytest.fixture(scope="module")
def manual_dir(tmp_path_factory, write_image) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    write_sysu(folder / "SYSU-MM01", write_image)
    write_regdb(folder / "RegDB", write_image)
    write_llcm(folder / "LLCM", write_image)
    write_folder(folder / "reid_folder", write_image)
    return folder


def config(manual_dir: Path, **fields):
    return tfds.download.DownloadConfig(manual_dir=manual_dir, **fields)


@pytest.fixture(scope="module")
def built(tmp_path_factory, manual_dir) -> Path:
    """A `data_dir` in which everything of `COUNTS` is built."""
    folder = tmp_path_factory.mktemp("built")
    for name in COUNTS:
        tfds.builder(name, data_dir=folder).download_and_prepare(download_config=config(manual_dir))
    return folder


def read(name: str, manual_dir: Path) -> dict[str, Index]:
    match name:
        case "sysu_mm01":
            root = manual_dir / "SYSU-MM01"
            both = read_sysu(root, "train")
            train = both[np.isin(both.identities, (2, 30))]
            return {"train": train, "val": read_sysu(root, "val"), "test": read_sysu(root, "test")}
        case "llcm":
            return {split: read_llcm(manual_dir / "LLCM", split) for split in ("train", "test")}
        case "reid_folder":
            return {split: read_folder(manual_dir / name, split) for split in ("train", "test")}
    trial = int(name.rpartition("_")[2])
    return {split: read_regdb(manual_dir / "RegDB", split, trial) for split in ("train", "test")}


def paths(dataset) -> list[str]:
    return [example["path"].decode() for example in tfds.as_numpy(dataset)]


@pytest.mark.parametrize("name", COUNTS)
def test_example_i_is_row_i_of_the_index(built, manual_dir, name):
    builder = tfds.builder(name, data_dir=built)
    assert {s: info.num_examples for s, info in builder.info.splits.items()} == COUNTS[name]
    names = builder.info.features["modality"].names
    for split, index in read(name, manual_dir).items():
        source = builder.as_data_source(split)
        assert len(source) == len(index) == COUNTS[name][split]
        for row in reversed(range(len(index))):
            example, file = source[row], index.root / index.paths[row]
            assert set(example) == FEATURES
            assert example["path"].decode() == index.paths[row]
            assert example["identity"] == index.identities[row]
            assert example["camera"] == index.cameras[row]
            assert names[example["modality"]] == index.modalities[row]
            width, height = Image.open(file).size
            assert example["image"].dtype == np.uint8
            np.testing.assert_array_equal(example["image"], read_image(file, (height, width)))


@pytest.mark.parametrize("name", COUNTS)
def test_both_ways_of_reading_give_the_same(built, name):
    builder = tfds.builder(name, data_dir=built)
    for split, dataset in builder.as_dataset().items():
        source = builder.as_data_source(split)
        examples = list(tfds.as_numpy(dataset))
        assert len(dataset) == len(examples) == len(source)
        for one, other in zip(examples, source, strict=True):
            assert set(one) == set(other) == FEATURES
            for feature in FEATURES:
                np.testing.assert_array_equal(one[feature], other[feature])


@pytest.mark.parametrize("name", COUNTS)
def test_the_bytes_are_the_files(built, manual_dir, name):
    builder = tfds.builder(name, data_dir=built)
    skip = {"image": tfds.decode.SkipDecoding()}
    for split, index in read(name, manual_dir).items():
        files = [(index.root / path).read_bytes() for path in index.paths]
        assert [e["image"] for e in builder.as_data_source(split, decoders=skip)] == files
        dataset = builder.as_dataset(split=split, decoders=skip)
        assert [e["image"] for e in tfds.as_numpy(dataset)] == files


def test_sysu_mm01_has_the_listed_people_in_each_split(built):
    for split, people in (("train", {2, 30}), ("val", {5}), ("test", {11})):
        source = tfds.data_source("sysu_mm01", split=split, data_dir=built)
        assert {example["identity"] for example in source} == people
    source = tfds.data_source("sysu_mm01", split="train+val", data_dir=built)
    assert {example["identity"] for example in source} == {2, 5, 30}


def test_each_trial_of_regdb_is_of_its_own_lists(built, manual_dir):
    for trial, people in REGDB.items():
        builder = tfds.builder(f"regdb/trial_{trial}", data_dir=built)
        lists = [
            (manual_dir / f"RegDB/idx/{split}_{folder}_{trial}.txt").read_text().split()[::2]
            for split in ("train", "test")
            for folder in ("visible", "thermal")
        ]
        assert paths(builder.as_dataset(split="train")) == lists[0] + lists[1]
        assert paths(builder.as_dataset(split="test")) == lists[2] + lists[3]
        found = [example["identity"] for example in builder.as_data_source("train")]
        assert found == [people[0]] * 2 + [people[1]] * 2 + [people[0]] * 2 + [people[1]] * 2
    assert tfds.builder("regdb", data_dir=built).builder_config.trial == 1
    configs = tfds.builder_cls("regdb").BUILDER_CONFIGS
    assert [(c.name, c.trial) for c in configs] == [(f"trial_{n}", n) for n in range(1, 11)]


def test_an_unknown_camera_and_both_modalities_are_kept(built):
    source = tfds.data_source("llcm", split="train", data_dir=built)
    assert [example["camera"] for example in source] == [1, 9, 4, -1]
    assert [example["modality"] for example in source] == [0, 0, 1, 1]
    source = tfds.data_source("reid_folder", split="train", data_dir=built)
    grey = next(e["image"] for e in source if e["path"] == b"train/infrared/7/c2_0.jpg")
    assert grey.shape == (31, 20, 3)
    assert (grey == grey[:, :, :1]).all()


def test_the_order_is_kept_across_shards(tmp_path, manual_dir):
    builder = tfds.builder("regdb", data_dir=tmp_path)
    builder.download_and_prepare(download_config=config(manual_dir, num_shards=3))
    assert builder.info.splits["test"].num_shards == 3
    listed = list(read_regdb(manual_dir / "RegDB", "test", 1).paths)
    assert [e["path"].decode() for e in builder.as_data_source("test")] == listed
    assert paths(builder.as_dataset(split="test")) == listed
    assert paths(builder.as_dataset(split="test[2:5]")) == listed[2:5]


def test_slices_batches_and_pairs(built):
    builder = tfds.builder("sysu_mm01", data_dir=built)
    all_paths = [e["path"].decode() for e in builder.as_data_source("train")]
    assert paths(builder.as_dataset(split="train[:50%]")) == all_paths[:4]
    assert [e["path"].decode() for e in builder.as_data_source("train[-2:]")] == all_paths[-2:]
    halves = builder.as_dataset(split=["train[:3]", "train[3:]"])
    assert paths(halves[0]) + paths(halves[1]) == all_paths
    batches = list(tfds.as_numpy(builder.as_dataset(split="train", batch_size=3)))
    assert [batch["image"].shape for batch in batches] == [(n, 48, 24, 3) for n in (3, 3, 1)]
    whole = builder.as_dataset(split="train", batch_size=-1)
    assert [path.decode() for path in whole["path"].numpy()] == all_paths
    pairs = list(tfds.as_numpy(builder.as_dataset(split="val", as_supervised=True)))
    assert [identity for _, identity in pairs] == [5, 5, 5, 5]
    some = tfds.decode.PartialDecoding({"identity": True})
    examples = list(tfds.as_numpy(builder.as_dataset(split="val", decoders=some)))
    assert examples == [{"identity": 5}] * 4


def test_shuffling_draws_single_images_anew_in_each_pass(built):
    builder = tfds.builder("regdb", data_dir=built)
    ordered = paths(builder.as_dataset(split="test"))

    def passes(**fields) -> tuple[list[str], list[str]]:
        read_config = tfds.ReadConfig(shuffle_seed=1, **fields)
        dataset = builder.as_dataset(split="test", shuffle_files=True, read_config=read_config)
        return paths(dataset), paths(dataset)

    first, second = passes()
    assert sorted(first) == sorted(second) == sorted(ordered)
    assert len({tuple(ordered), tuple(first), tuple(second)}) == 3
    first, second = passes(shuffle_reshuffle_each_iteration=False)
    assert first == second != ordered


def test_a_read_config_shares_out_and_repeats(built):
    tf = pytest.importorskip("tensorflow")
    builder = tfds.builder("regdb", data_dir=built)
    ordered = paths(builder.as_dataset(split="test"))
    for worker in range(3):
        context = tf.distribute.InputContext(3, worker)
        read_config = tfds.ReadConfig(input_context=context)
        assert (
            paths(builder.as_dataset(split="test", read_config=read_config)) == ordered[worker::3]
        )
    endless = builder.as_dataset(split="test", read_config=tfds.ReadConfig(repeat_filenames=True))
    assert paths(endless.take(20)) == (ordered * 3)[:20]


def test_what_cannot_be_read_is_refused_in_one_line(built, tmp_path):
    builder = tfds.builder("regdb", data_dir=built)
    for read_split in (builder.as_data_source, lambda split: builder.as_dataset(split=split)):
        with pytest.raises(InputError, match=r"split test\[:0\] of regdb/trial_1/1\.0\.0 has no"):
            read_split("test[:0]")
        with pytest.raises(ValueError, match=r"Unknown split 'val'"):
            read_split("val")
    message = r"read_config\.add_tfds_id is for formats that are read file by file"
    with pytest.raises(InputError, match=message):
        builder.as_dataset(split="test", read_config=tfds.ReadConfig(add_tfds_id=True))
    with pytest.raises(InputError, match="PartialDecoding works only in as_dataset"):
        builder.as_data_source("test", decoders=tfds.decode.PartialDecoding({"identity": True}))
    with pytest.raises(InputError, match=r"llcm/1\.0\.0 is not built in"):
        tfds.builder("llcm", data_dir=tmp_path).as_data_source("test")


def test_another_format_is_read_by_tfds(built, tmp_path, manual_dir):
    builder = tfds.builder("reid_folder", data_dir=tmp_path, file_format="tfrecord")
    builder.download_and_prepare(download_config=config(manual_dir))
    again = tfds.builder("reid_folder", data_dir=tmp_path)
    assert again.info.file_format.value == "tfrecord"
    source = tfds.data_source("reid_folder", split="train", data_dir=built)
    examples = tfds.as_numpy(again.as_dataset(split="train"))
    for one, other in zip(examples, source, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_a_folder_may_have_one_split(tmp_path, manual_dir):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/test").symlink_to(manual_dir / "reid_folder/test")
    builder = tfds.builder("reid_folder", data_dir=tmp_path / "built")
    builder.download_and_prepare(download_config=config(tmp_path / "mine"))
    assert {s: info.num_examples for s, info in builder.info.splits.items()} == {"test": 2}


def test_manual_dir_may_be_the_data_set_or_hold_it(
    built, tmp_path, manual_dir, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("sysu_mm01").mkdir()  # where `tfds build` would look for a script
    root = manual_dir / "SYSU-MM01"
    assert main(["sysu_mm01", f"--manual_dir={root}", f"--data_dir={tmp_path}"]) == 0
    straight = tfds.data_source("sysu_mm01", split="test", data_dir=tmp_path)
    below = tfds.data_source("sysu_mm01", split="test", data_dir=built)
    assert [e["path"] for e in straight] == [e["path"] for e in below]
    assert "name='sysu_mm01'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llcm", "--manual_dir=nowhere"], r"Manual directory nowhere does not exist.*get LLCM"),
        (["llcm"], r"Manual directory .*downloads/manual does not exist or is empty.*get LLCM"),
        (["regdb/trial_1", "--manual_dir=file"], r"file.*: Not a directory"),
        (["regdb/trial_1", "--manual_dir=."], r"no idx/ in \. or RegDB: get RegDB from.*Thermal/"),
        (["reid_folder", "--manual_dir=."], r"no train/ or test/ in \. or reid_folder: put images"),
        (
            ["llcm", "--manual_dir=lists"],
            r"lists/idx/test_id\.txt, item 1: expected numbers .*, got 'x'",
        ),
        (["reid_folder", "--manual_dir=broken"], r"broken/test/visible/1/c1_a\.jpg: unreadable"),
        (["reid_folder", "--manual_dir=deep"], r"deep/test/visible/1/c1_a\.png: more than 8 bits"),
        (["regdb/trial_11", "--manual_dir=."], "BuilderConfig trial_11 not found"),
        (["market", "--manual_dir=."], f"no such builder: choose one of {', '.join(NAMES)}"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(
    tmp_path, monkeypatch, capsys, write_image, arguments, message
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("lists/idx").mkdir(parents=True)
    Path("lists/idx/test_id.txt").write_text("x")
    broken, deep = Path("broken/test/visible/1/c1_a.jpg"), Path("deep/test/visible/1/c1_a.png")
    write_image(broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    deep.parent.mkdir(parents=True)
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(deep)
    assert main([*arguments, f"--data_dir={tmp_path / 'built'}"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert re.match(f"lupi: .*{message}", told[0])
    assert not list(Path("built").rglob("*.array_record*"))


OFFLINE = """
import socket, sys

def refuse(*_):
    raise AssertionError("the network is asked")

socket.socket.connect = socket.getaddrinfo = refuse
sys.modules["tensorflow_datasets"] = None  # importing it raises ImportError
try:
    import lupi_jax.tfds
except ImportError as error:
    print(error)
del sys.modules["tensorflow_datasets"]
from lupi_jax.tfds.__main__ import main
import tensorflow_datasets as tfds

manual_dir, built = sys.argv[1:]
assert main(["llcm", f"--manual_dir={manual_dir}", f"--data_dir={built}"]) == 0
source = tfds.data_source("llcm", split="test", data_dir=built)
print(source[1]["image"].shape, "tensorflow" in sys.modules)
"""


def test_building_and_random_access_need_neither_network_nor_tensorflow(tmp_path, manual_dir):
    command = [sys.executable, "-c", OFFLINE, str(manual_dir), str(tmp_path)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0].endswith("need TensorFlow Datasets: pip install 'lupi-jax[data]'")
    assert told[-1] == "(48, 24, 3) False"
