import dataclasses
import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from scipy.io import savemat
from whole_sets import LAYOUTS, MANIFEST, save, write_whole

import lupi_jax as lupi
from lupi_jax import InputError, Modality
from lupi_jax.config import SourceConfig
from lupi_jax.data import read_image
from lupi_jax.data.sources import published
from lupi_jax.data.sources.check import Report, check_data
from lupi_jax.data.sources.check_notes import SHIPPED_IDENTITIES
from lupi_jax.data.sources.counts import Count, Group, Size, published_sizes
from lupi_jax.synthetic import LAYOUTS as GENERATED
from lupi_jax.training.build import prepare_data

CONFIGS = Path(__file__).parents[3] / "configs"


def check(name: str, root: Path, **fields) -> Report:
    return check_data(SourceConfig(name=name, root=str(root), **fields))


def one_problem(report: Report, *words: str) -> None:
    assert len(report.problems) == 1, report.problems
    for word in words:
        assert word in report.problems[0]


def permutations(root: Path, seen: dict[tuple[int, int], int]) -> None:
    """Write exp/rand_perm_cam.mat: (identity, camera) -> images."""
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cells = np.empty((9, 1), object)
        for identity in range(1, 10):
            n = seen.get((identity, camera), 0)
            cells[identity - 1, 0] = np.tile(np.arange(1, n + 1, dtype=np.uint8), (10, 1))
        cameras[camera - 1, 0] = cells
    savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": cameras})


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_whole(tmp_path / "folder", "folder")


@pytest.fixture
def sysu(tmp_path, monkeypatch) -> Path:
    """Five people, each once in front of every camera, published as such."""
    root = write_whole(tmp_path / "sysu", "sysu")
    (root / MANIFEST).unlink()
    permutations(root, {(i, camera): 1 for i in range(1, 6) for camera in range(1, 7)})
    monkeypatch.setattr(published, "SYSU_IDENTITIES", {"train": 2, "val": 1, "test": 2})
    images = {Modality.VISIBLE: 12, Modality.INFRARED: 6}
    monkeypatch.setattr(published, "SYSU_TRAINING_IMAGES", images)
    monkeypatch.setattr(published, "SYSU_TEST_IMAGES", dict.fromkeys(range(1, 7), 2))
    return root


@pytest.fixture
def regdb(tmp_path, monkeypatch) -> Path:
    """Four people with two images in each modality, published as such."""
    root = write_whole(tmp_path / "regdb", "regdb")
    (root / MANIFEST).unlink()
    monkeypatch.setattr(published, "REGDB_IDENTITIES", 4)
    monkeypatch.setattr(published, "REGDB_IMAGES", 2)
    return root


@pytest.fixture
def llcm(tmp_path, monkeypatch) -> Path:
    root = write_whole(tmp_path / "llcm", "llcm")
    (root / MANIFEST).unlink()
    monkeypatch.setattr(published, "LLCM_IDENTITIES", {"train": 2, "test": 2})
    monkeypatch.setattr(published, "LLCM_IMAGES", 16)
    return root


def test_the_published_counts():
    sysu = published_sizes("sysu")
    assert sysu[Group("train")] == Size(395, None)
    assert sysu[Group("val")] == Size(99, None)
    assert sysu[Group("test")] == Size(96, None)
    assert sysu[Group("train", "visible")] == Size(None, 22_258)
    assert sysu[Group("train", "infrared")] == Size(None, 11_909)
    probes = [sysu[Group("test", "infrared", camera)].images for camera in (3, 6)]
    assert probes == [1883, 1920]
    visible = [sysu[Group("test", "visible", camera)].images for camera in (1, 2, 4, 5)]
    assert visible == [1374, 1565, 1918, 1918]
    regdb = published_sizes("regdb")
    assert regdb.pop(Group("all")) == Size(412, 8240)
    assert len(regdb) == 40
    assert set(regdb.values()) == {Size(206, 2060)}
    assert regdb[Group("test 10", "infrared", 2)] == Size(206, 2060)
    assert published_sizes("llcm") == {
        Group("train"): Size(713, None),
        Group("test"): Size(351, None),
        Group("all"): Size(1064, 46_767),
    }
    assert published_sizes("folder") == {}


def test_the_rows_of_a_folder(folder):
    (folder / MANIFEST).unlink()
    for person in ("0001", "0002"):
        save(folder / f"train/infrared/{person}/c6_0001.jpg")
    shutil.rmtree(folder / "test/infrared/0008")
    rows = check("folder", folder).rows
    assert rows == (
        Count("train", "visible", 1, 3, 3),
        Count("train", "visible", 2, 3, 3),
        Count("train", "visible", None, 3, 6),
        Count("train", "infrared", 1, 3, 3),
        Count("train", "infrared", 2, 3, 3),
        Count("train", "infrared", 6, 2, 2),
        Count("train", "infrared", None, 3, 8),
        Count("train", "all", None, 3, 14),
        Count("test", "visible", 1, 2, 2),
        Count("test", "visible", 2, 2, 2),
        Count("test", "visible", None, 2, 4),
        Count("test", "infrared", 1, 1, 1),
        Count("test", "infrared", 2, 1, 1),
        Count("test", "infrared", None, 1, 2),
        Count("test", "all", None, 2, 6),
        Count("all", "all", None, 5, 20),
    )


def test_a_report_is_plain_data(folder):
    report = check("folder", folder)
    again = json.loads(json.dumps(dataclasses.asdict(report)))
    assert again["problems"] == []
    assert again["rows"][2] == {
        "split": "train",
        "modality": "visible",
        "camera": None,
        "identities": 3,
        "images": 6,
        "expected_identities": None,
        "expected_images": 6,
        "role": "",
    }


def test_everything_wrong_is_found_at_once(folder):
    (folder / MANIFEST).unlink()
    for n in range(12):
        (folder / f"train/visible/0001/frame {n}.jpg").touch()
    bad = [f"train/visible/{p}/c{c}_0001.jpg" for p in ("0001", "0002", "0003") for c in (1, 2)]
    for path in bad:
        (folder / path).write_bytes(b"")
    (folder / "test/thermal").mkdir()
    shutil.copyfile(
        folder / "train/infrared/0001/c1_0001.jpg", folder / "test/infrared/0007/c1_0001.jpg"
    )
    problems = check("folder", folder, workers=3).problems
    assert len(problems) == 12 + len(bad) + 2
    for n in range(12):
        assert any(f"/frame {n}.jpg does not belong here" in problem for problem in problems)
    for path in bad:
        assert f"{folder / path}: unreadable image; replace or remove it" in problems
    assert any("test/thermal does not belong here" in problem for problem in problems)
    assert "in train and in test, of the identities 1, 7" in problems[-1]


@pytest.mark.parametrize("name", SHIPPED_IDENTITIES)
def test_shipped_batches_are_as_large_as_a_check_says(name):
    config = lupi.load_config(CONFIGS / f"{name}.py", {"steps": 1, "data.root": "x"})
    assert config.batch.identities == SHIPPED_IDENTITIES[name]


def test_too_few_identities_for_a_batch_are_noted_in_the_words_of_a_training(folder, write_image):
    (folder / MANIFEST).unlink()
    for number in range(101, 113):
        for modality in ("visible", "infrared"):
            write_image(folder / "train" / modality / f"{number}" / "c1_0001.jpg")
    there = len(os.listdir(folder / "train/visible"))
    (note,) = check("folder", folder).notes
    config = lupi.load_config(CONFIGS / "folder.py", {"steps": 1, "data.root": str(folder)})
    with pytest.raises(InputError) as refused:
        prepare_data(config)
    assert note == f"in configs/folder.py {refused.value}"
    assert f"more than the {there} training" in note
    for number in range(113, 113 + 16 - there):
        for modality in ("visible", "infrared"):
            write_image(folder / "train" / modality / f"{number}" / "c1_0001.jpg")
    assert check("folder", folder).notes == ()
    assert prepare_data(config).sampler.classes == 16


@pytest.mark.parametrize("only", ["visible", "infrared"])
def test_data_of_one_modality_are_not_wrong(folder, only):
    (folder / MANIFEST).unlink()
    other = "infrared" if only == "visible" else "visible"
    for split in ("train", "test"):
        shutil.rmtree(folder / split / other)
    report = check("folder", folder)
    assert report.problems == ()
    note, _ = report.notes
    assert note.startswith(f"no {other} image: nothing can be trained or evaluated across ")
    assert f"--config.modalities=\"('{only}',)\"" in note
    assert report.rows[-1].images == 10
    (folder / "train" / only / "0001/c1_0001.jpg").write_bytes(b"")  # images are still looked at
    one_problem(check("folder", folder), "0001/c1_0001.jpg: unreadable image")


@pytest.mark.parametrize(("left", "cannot"), [("train", "evaluated"), ("test", "trained on")])
def test_a_folder_of_one_split_is_not_wrong(folder, left, cannot):
    (folder / MANIFEST).unlink()
    gone = "test" if left == "train" else "train"
    shutil.rmtree(folder / gone)
    report = check("folder", folder)
    assert report.problems == ()
    note, *_ = report.notes
    assert note.startswith(f"no image of split {gone}: these data cannot be {cannot}")
    (folder / gone / "visible").mkdir(parents=True)  # it is there, and empty
    one_problem(check("folder", folder), f"no images under {folder / gone}")


def test_a_split_that_lacks_a_modality_of_the_other_is_wrong(folder):
    (folder / MANIFEST).unlink()
    shutil.rmtree(folder / "train/infrared")
    one_problem(check("folder", folder), "split train: no infrared image at all: add some")


def test_identities_of_one_modality_are_all_named(folder):
    (folder / MANIFEST).unlink()
    for n in range(20, 32):
        save(folder / f"test/visible/{n}/c1_1.jpg")
    names = ", ".join(map(str, range(20, 32)))
    one_problem(
        check("folder", folder), f"split test: no infrared image of 12 identities ({names})"
    )


def test_a_path_is_a_data_set_in_the_folder_layout(folder):
    (folder / MANIFEST).unlink()
    assert check_data(folder) == check("folder", folder)
    assert check_data(str(folder)).rows[-1].images == 20


def test_progress_counts_each_image_once(regdb):
    steps = []
    source = SourceConfig(name="regdb", root=str(regdb), workers=2)
    check_data(source, lambda what: lambda *counts: steps.append((what, *counts)))
    assert steps == [("images", n, 16) for n in range(1, 17)]


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_set_that_was_generated_is_as_its_manifest_says(tmp_path, layout, images):
    GENERATED[layout](tmp_path, identities=5, images_per_modality=images, height=32, width=16)
    report = check(layout, tmp_path)
    assert report.problems == ()
    assert any(row.expected_images is not None for row in report.rows)
    victim = max(path for path in tmp_path.rglob("*.*") if path.suffix in (".jpg", ".bmp"))
    victim.unlink()
    assert check(layout, tmp_path).problems


def test_sysu_is_held_against_what_is_published(sysu):
    report = check("sysu", sysu)
    assert report.problems == ()
    rows = {(row.split, row.modality, row.camera): row for row in report.rows}
    assert rows["train", "all", None].expected_identities == 3
    assert rows["val", "all", None].expected_identities == 1
    assert rows["train", "infrared", None] == Count("train", "infrared", None, 3, 6, None, 6)
    assert rows["test", "visible", 4] == Count("test", "visible", 4, 2, 2, None, 2)
    assert rows["all", "all", None] == Count("all", "all", None, 5, 30)
    (sysu / "cam4/0005/0001.jpg").unlink()
    problems = check("sysu", sysu).problems
    assert len(problems) == 2
    assert f"{sysu}, split test: 1 image, not 2 (visible, camera 4): " in problems[0]
    assert "cam4 does not have the numbers of images in exp/rand_perm_cam.mat" in problems[1]
    assert "for 1 identity (0005: 0, not 1)" in problems[1]


def test_a_camera_without_images_is_missed(sysu):
    for person in ("0004", "0005"):
        shutil.rmtree(sysu / f"cam6/{person}")
    report = check("sysu", sysu)
    assert Count("test", "infrared", 6, 0, 0, None, 2) in report.rows
    assert any("split test: 0 images, not 2 (infrared, camera 6)" in p for p in report.problems)


def test_sysu_lists_that_lost_an_identity(sysu):
    (sysu / "exp/val_id.txt").write_text("3,2")
    (sysu / "exp/train_id.txt").write_text("1")
    one_problem(check("sysu", sysu), f"{sysu}, split val: 2 identities, not 1: ")


def test_sysu_validation_identities_are_told_of_once(sysu, monkeypatch):
    for camera in (3, 6):
        shutil.rmtree(sysu / f"cam{camera}/0003")
    permutations(
        sysu, {(i, c): 1 for i in range(1, 6) for c in range(1, 7) if (i, c % 3) != (3, 0)}
    )
    images = {Modality.VISIBLE: 12, Modality.INFRARED: 4}
    monkeypatch.setattr(published, "SYSU_TRAINING_IMAGES", images)
    one_problem(check("sysu", sysu), f"{sysu}, split train: no infrared image of 1 identity (3)")


def test_sysu_people_of_no_list_are_counted(sysu):
    for path in ("cam1/0007/0001.jpg", "cam1/0007/0002.jpg", "cam3/0007/0001.jpg", "cam3/0009/1"):
        save(sysu / path, format="JPEG")
    (sysu / "cam1/0008").mkdir()
    report = check("sysu", sysu)
    assert report.problems == ()
    assert report.rows[-1] == Count("in no list", "all", None, 2, 4)


def test_sysu_needs_its_permutations(sysu):
    (sysu / "exp/rand_perm_cam.mat").unlink()
    one_problem(check("sysu", sysu), "rand_perm_cam.mat is missing")


def test_regdb_is_held_against_what_is_published(regdb):
    report = check("regdb", regdb)
    assert report.problems == ()
    assert len(report.rows) == 10 * 2 * 3 + 1
    assert report.rows[3] == Count("test 1", "visible", 1, 2, 4, 2, 4)
    assert report.rows[-1] == Count("all", "all", None, 4, 16, 4, 16)
    for trial in range(1, 11):
        file = regdb / f"idx/train_thermal_{trial}.txt"
        file.write_text(
            file.read_text()
            .replace("Thermal/1/t_2.bmp 0\n", "")
            .replace("Thermal/1/t_2.bmp 1\n", "")
        )
    problems = check("regdb", regdb).problems
    splits = ", ".join(f"train {trial}" for trial in range(1, 11))
    assert problems == (
        f"{regdb}, split {splits}: 3 images, not 4 (infrared, camera 2): "
        "restore what is missing, or move away what was added",
        f"{regdb}, split all: 15 images, not 16: "
        "restore what is missing, or move away what was added",
        f"{regdb}/Thermal/1/t_2.bmp is in no split: list it, or move it away",
    )


def test_regdb_trains_on_some_whom_other_splits_test(regdb):
    for trial in range(1, 11):
        sides = ("train", "test") if trial % 2 else ("test", "train")
        for side, source in zip(sides, ("train", "test"), strict=True):
            for folder in ("visible", "thermal"):
                listed = (regdb / f"idx/{source}_{folder}_1.txt").read_text()
                (regdb / f"idx/{side}_{folder}_{trial}.txt").write_text(listed)
    assert check("regdb", regdb).problems == ()
    # One and two are always on the same side, which is another in every second split.
    shutil.copyfile(regdb / "Visible/1/v_1.bmp", regdb / "Visible/2/v_1.bmp")
    one_problem(check("regdb", regdb), "are the same image, of the identities 1, 2: keep one")


def test_llcm_is_held_against_what_is_published(llcm):
    report = check("llcm", llcm)
    assert report.problems == ()
    assert report.rows[-1] == Count("all", "all", None, 4, 16, 4, 16)
    (llcm / "test_vis/cam2/0003/0003_c02_1_vis.jpg").unlink()
    one_problem(check("llcm", llcm), f"{llcm}, split all: 15 images, not 16: ")


def test_the_total_is_compared_only_where_all_was_read(llcm):
    (llcm / "idx/test_id.txt").unlink()
    problems = check("llcm", llcm).problems
    assert any("idx/test_id.txt is missing" in problem for problem in problems)
    assert not any("split all" in problem for problem in problems)


def test_a_table_of_images_is_checked(tmp_path):
    lines = ["path,identity,camera,modality,split"]
    for split, person in (("train", 1), ("train", 2), ("val", 3), ("test", 4)):
        for modality in ("visible", "infrared"):
            path = f"night walk/{modality}-{person}.png"
            save(tmp_path / "data" / path)
            lines.append(f"{path},{person},{person},{modality},{split}")
    save(tmp_path / "data/unlisted.png")
    table = tmp_path / "people.csv"
    table.write_text("\n".join(lines))
    root = tmp_path / "data"
    report = check("folder", root, index=str(table))
    assert report.problems == ()
    images = Counter({row.split: row.images for row in report.rows if row.modality == "all"})
    assert images == {"train": 4, "val": 2, "test": 2, "all": 8}
    table.write_text("\n".join(line for line in lines if not line.endswith("val")))
    assert check("folder", root, index=str(table)).problems == ()
    shutil.copyfile(root / "night walk/visible-4.png", root / "night walk/visible-1.png")
    (root / "night walk/visible-2.png").write_bytes(b"")
    problems = check("folder", root, index=str(table)).problems
    assert len(problems) == 2
    assert "night walk/visible-2.png: unreadable" in problems[0]
    assert "in train and in test, of the identities 1, 4" in problems[1]
    save(root / "night walk/visible-2.png")
    table.write_text("\n".join(lines))
    shutil.copyfile(root / "night walk/visible-4.png", root / "night walk/visible-3.png")
    save(root / "night walk/visible-1.png")
    one_problem(check("folder", root, index=str(table)), "in train and in test, of the identities")
    table.unlink()
    one_problem(check("folder", root, index=str(table)), "no table of images at", "people.csv")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg: a pipe or a device, no image"):
        read_image(tmp_path / "pipe.jpg", (8, 4))


def test_what_pillow_raises_on_damaged_bytes_is_one_line(tmp_path):
    file = tmp_path / "damaged.jpg"
    file.write_bytes(b"DDS " + struct.pack("<I", 124) + bytes(120))  # NotImplementedError
    with pytest.raises(InputError, match=r"damaged\.jpg: unreadable image; replace or remove it"):
        read_image(file, (8, 4))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [50_000, 13_000, 9_000])
def test_a_huge_image_is_refused_by_its_header(tmp_path, monkeypatch, side):
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    file = tmp_path / "huge.bmp"
    Image.new("1", (8, 8)).save(file)
    content = bytearray(file.read_bytes())
    content[18:26] = int(side).to_bytes(4, "little") * 2  # width and height
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"huge\.bmp: .*too many.*make it smaller"):
        read_image(file, (8, 4))
    assert not decoded


def test_images_that_are_not_shown_as_they_are_are_named(folder):
    """One of each kind of refusal; a turned one and one with transparency are in order."""
    person = min((folder / "train/visible").iterdir())
    exif = Image.Exif()
    exif[0x0112] = 6
    rng = np.random.default_rng(0)
    drawn = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(5)]
    drawn[0].save(person / "c1_turned.jpg", exif=exif)
    drawn[1].convert("RGBA").save(person / "c1_clear.webp")
    drawn[2].convert("I;16").save(person / "c1_deep.tif")
    drawn[3].save(person / "c1_film.gif", save_all=True, append_images=[drawn[4]])
    (person / "c1_layers.jpg").write_bytes(b"8BPS\0\1")
    (person / os.fsdecode(b"c1_\xff.jpg")).write_bytes(b"")
    problems = check("folder", folder).problems
    expected = [
        rf"{person}/c1_\xff.jpg: the name is not UTF-8",
        f"{person}/c1_deep.tif: more than 8 bits per channel; convert it to 8 bits first",
        f"{person}/c1_film.gif: 2 pictures in one file; save the right one",
        f"{person}/c1_layers.jpg: a PSD file; save it as JPEG, PNG, BMP, GIF, TIFF or WEBP",
    ]
    found = [line for line in problems if "/c1_" in line and "visible/" in line]
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
