import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from lupi_jax.data.sources.llcm import read_llcm
from lupi_jax.data.sources.regdb import read_regdb
from lupi_jax.data.sources.sysu_mm01 import read_permutations, read_sysu
from lupi_jax.errors import InputError
from lupi_jax.synthetic import LAYOUTS, read_manifest, render

SMALL: dict[str, Any] = {"height": 32, "width": 16}

# {camera: {identity: number of images}}; 7 is in no list, camera 5 saw nobody.
SEEN = {
    1: {2: 2, 5: 1, 7: 1},
    2: {2: 1, 11: 3},
    3: {2: 1, 5: 2, 11: 1},
    4: {5: 1, 11: 2},
    5: {},
    6: {2: 1, 7: 2},
}
SYSU_LISTS = {"train": "2", "val": "5\n", "test": "11", "available": "2,5,7,11"}


def tree(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write_permutations(exp: Path) -> None:
    rng = np.random.default_rng(0)
    cameras = np.empty((6, 1), object)
    for camera, people in SEEN.items():
        cells = np.empty((12, 1), object)
        for identity in range(1, 13):
            orders = [rng.permutation(people.get(identity, 0)) + 1 for _ in range(10)]
            cells[identity - 1, 0] = np.array(orders, np.uint8)
        cameras[camera - 1, 0] = cells
    savemat(exp / "rand_perm_cam.mat", {"rand_perm_cam": cameras})


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    exp = tmp_path / "real" / "exp"
    exp.mkdir(parents=True)
    for name, text in SYSU_LISTS.items():
        (exp / f"{name}_id.txt").write_text(text)
    (exp / "train_id.mat").write_bytes(b"\x00\x01")
    (exp / "notes.md").write_text("mine")
    write_permutations(exp)
    return exp


@pytest.fixture
def regdb(tmp_path: Path) -> Path:
    """Four people, two pictures each in each modality; two are trained on in each split."""
    idx = tmp_path / "regdb"
    idx.mkdir()
    for trial in range(1, 11):
        order = [9, 2, 30, 4] if trial % 2 else [4, 9, 2, 30]
        for split, members in (("train", order[:2]), ("test", order[2:])):
            for folder, letter in (("Visible", "v"), ("Thermal", "t")):
                lines = [
                    f"{folder}/{person}/male_back_{letter}_{100 * person + n:05d}_{person}.bmp {k}"
                    for k, person in enumerate(members)
                    for n in (7, 1)
                ]
                (idx / f"{split}_{folder.lower()}_{trial}.txt").write_text("\n".join(lines))
    return idx


@pytest.fixture
def llcm(tmp_path: Path) -> Path:
    idx = tmp_path / "llcm"
    idx.mkdir()
    (idx / "train_vis.txt").write_text(
        "vis/0012/0012_c09_s185535_f7010_vis.jpg 1\n"
        "vis/0001/0001_c02_s185535_f7020_vis.jpg 0\n"
        "vis/0001/0001_c09_s185535_f7010_vis.jpg 0\n"
        "vis/0001/second.png 0\n"
    )
    (idx / "train_nir.txt").write_text(
        "nir/0001/0001_c04_s200656_f4830_nir.jpg 0\nnir/0012/0012_c08_s200656_f4830_nir.JPG 1\n"
    )
    (idx / "test_id.txt").write_text("102,3\n")
    return idx


def test_sysu_has_an_image_for_each_that_the_permutations_order(tmp_path: Path, exp: Path) -> None:
    root = tmp_path / "set"
    assert LAYOUTS["sysu"](root, like=exp, **SMALL) is True
    files = tree(root)
    images = {
        f"cam{camera}/{identity:04d}/{n:04d}.jpg"
        for camera, people in SEEN.items()
        for identity, count in people.items()
        for n in range(1, count + 1)
    }
    assert len(images) == 18
    lists = {f"exp/{name}" for name in (*(f"{k}_id.txt" for k in SYSU_LISTS), "train_id.mat")}
    lists.add("exp/rand_perm_cam.mat")
    assert set(files) == images | lists | {"synthetic.json"}
    assert len({files[image] for image in images}) == 18
    for file in lists:
        assert files[file] == (exp.parent / file).read_bytes()
    manifest = read_manifest(root)
    assert re.fullmatch("[0-9a-f]{16}", manifest.pop("like"))
    assert manifest == {
        "generator": "lupi_jax.data.synthetic",
        "version": 1,
        "layout": "sysu",
        "identities": 4,
        "seed": 0,
        "images_per_modality": None,
        "test_fraction": None,
        "counts": {
            "train": {"identities": 1, "visible": 3, "infrared": 2},
            "val": {"identities": 1, "visible": 2, "infrared": 2},
            "test": {"identities": 1, "visible": 5, "infrared": 1},
        },
        **SMALL,
    }


def test_sysu_reads_back_with_its_permutations(tmp_path: Path, exp: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["sysu"](root, like=exp, **SMALL)
    train, test = read_sysu(root, "train"), read_sysu(root, "test")
    assert list(train.identities) == [2, 2, 5, 2, 2, 5, 5, 5, 2]
    assert list(test.cameras) == [2, 2, 2, 3, 4, 4]
    permutations = read_permutations(root)
    assert {cell: orders.shape for cell, orders in permutations.items()} == {
        (identity, camera): (10, count)
        for camera, people in SEEN.items()
        for identity, count in people.items()
    }


def test_a_picture_is_that_of_any_other_set(tmp_path: Path, exp: Path) -> None:
    LAYOUTS["sysu"](tmp_path / "like", like=exp, seed=5, **SMALL)
    LAYOUTS["sysu"](tmp_path / "free", identities=6, seed=5, **SMALL)
    for path in ("cam1/0002/0002.jpg", "cam3/0005/0001.jpg"):
        assert (tmp_path / "like" / path).read_bytes() == (tmp_path / "free" / path).read_bytes()


def test_other_lists_make_another_set(tmp_path: Path, exp: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["sysu"](root, like=exp, **SMALL)
    assert LAYOUTS["sysu"](root, like=exp, **SMALL) is False
    (exp / "notes.md").write_text("theirs")
    assert LAYOUTS["sysu"](root, like=exp, **SMALL) is False
    for name, text in (("available_id.txt", "2,5,11"), ("val_id.mat", "")):
        (exp / name).write_text(text)
        with pytest.raises(InputError, match="other parameters"):
            LAYOUTS["sysu"](root, like=exp, **SMALL)
    LAYOUTS["sysu"](tmp_path / "free", identities=4, **SMALL)
    with pytest.raises(InputError, match="other parameters"):
        LAYOUTS["sysu"](tmp_path / "free", like=exp, **SMALL)


def test_regdb_has_every_image_that_is_listed(tmp_path: Path, regdb: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["regdb"](root, like=regdb, **SMALL)
    files = tree(root)
    assert len(files) == 4 * 2 * 2 + 40 + 1
    for file in regdb.iterdir():
        assert files[f"idx/{file.name}"] == file.read_bytes()
    for trial, trained in ((1, [9, 9, 2, 2]), (2, [4, 4, 9, 9])):
        index = read_regdb(root, "train", trial)
        assert list(index.identities) == trained * 2
        assert list(index.modalities) == ["visible"] * 4 + ["infrared"] * 4
    # A person's pictures are numbered in the order of their paths; bitmaps lose nothing.
    for path, camera, n in (
        ("Visible/30/male_back_v_03001_30.bmp", 4, 1),
        ("Visible/30/male_back_v_03007_30.bmp", 4, 2),
        ("Thermal/30/male_back_t_03007_30.bmp", 6, 2),
    ):
        with Image.open(root / path) as image:
            np.testing.assert_array_equal(np.asarray(image), render(0, 30, camera, n, **SMALL))
    manifest = read_manifest(root)
    assert manifest["identities"] == 4
    half = {"identities": 2, "visible": 4, "infrared": 4}
    assert manifest["counts"] == {"train": half, "test": half}


def test_llcm_has_what_is_listed_and_images_of_those_who_are_tested_on(
    tmp_path: Path, llcm: Path
) -> None:
    root = tmp_path / "set"
    LAYOUTS["llcm"](root, like=llcm, images_per_modality=3, **SMALL)
    files = tree(root)
    assert len(files) == 6 + 2 * 2 * 3 + 3 + 1
    assert len(set(files.values())) == len(files)
    for file in llcm.iterdir():
        assert files[f"idx/{file.name}"] == file.read_bytes()
    train = read_llcm(root, "train")
    assert list(train.identities) == [12, 1, 1, 1, 1, 12]
    assert list(train.cameras) == [9, 2, 9, -1, 4, 8]
    kinds = []
    for path in train.paths:
        with Image.open(root / path) as image:
            kinds.append(image.format)
    assert kinds == ["JPEG", "JPEG", "JPEG", "PNG", "JPEG", "JPEG"]
    with Image.open(root / "vis/0001/second.png") as image:
        np.testing.assert_array_equal(np.asarray(image), render(0, 1, 1, 3, **SMALL))
    test = read_llcm(root, "test")
    assert list(test.cameras) == [4, 4, 5, 5, 6, 6, 1, 5, 6, 7, 8, 9]
    assert list(test.identities) == [3, 102, 3, 102, 3, 102, 102, 3, 3, 3, 102, 102]
    manifest = read_manifest(root)
    assert manifest["images_per_modality"] == 3
    assert manifest["counts"] == {
        "train": {"identities": 2, "visible": 4, "infrared": 2},
        "test": {"identities": 2, "visible": 6, "infrared": 6},
    }


def damage(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))

    return change


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def cut(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_bytes((folder / file).read_bytes()[:200])

    return change


def drop_a_person(idx: Path) -> None:
    """The third split is well-formed, but trains on one person only."""
    for name in ("visible", "thermal"):
        file = idx / f"train_{name}_3.txt"
        file.write_text("\n".join(file.read_text().splitlines()[:2]))


REGDB_SUFFIX = damage("test_thermal_4.txt", "03007_30.bmp", "03007_30.tga")
DAMAGED = [
    ("sysu", remove("test_id.txt"), r"test_id\.txt is missing"),
    ("sysu", remove("rand_perm_cam.mat"), r"exp/rand_perm_cam\.mat is missing"),
    ("sysu", cut("rand_perm_cam.mat"), r"exp/rand_perm_cam\.mat is not a MATLAB file"),
    ("sysu", damage("train_id.txt", "2", "2,x"), r"train_id\.txt, item 2: expected .*, got 'x'"),
    ("sysu", damage("val_id.txt", "5", "5,11"), r"val_id\.txt and test_id\.txt \(11\)"),
    ("sysu", damage("test_id.txt", "11", "11,8"), r"test_id\.txt lists 1 identity .*\(8\)"),
    ("regdb", remove("test_visible_7.txt"), r"test_visible_7\.txt is missing"),
    (
        "regdb",
        damage("train_visible_10.txt", "bmp 1", "bmp x"),
        r"_10\.txt, line 3: expected .* label",
    ),
    ("regdb", damage("train_thermal_2.txt", "bmp 1", "bmp 0"), r"_thermal_2\.txt, line 3: label 0"),
    (
        "regdb",
        damage("test_visible_2.txt", "Visible/2/", "Thermal/2/"),
        r"line 1: expected .* got 'Thermal/2/",
    ),
    ("regdb", REGDB_SUFFIX, r"test_thermal_4\.txt, line 3: .*\.tga is not one of \.jpg"),
    ("regdb", damage("train_visible_1.txt", "/9/", "/30/"), r"label 0 and person 9 disagree"),
    ("regdb", drop_a_person, r"lists of splits 1 and 3 have different"),
    ("llcm", remove("train_nir.txt"), r"train_nir\.txt is missing"),
    ("llcm", damage("train_vis.txt", "jpg 1", "jpg 0"), r"train_vis\.txt, line 2: label 0"),
    ("llcm", damage("test_id.txt", "102", "12"), r"training lists and test_id\.txt \(12\)"),
]


@pytest.mark.parametrize(("layout", "harm", "says"), DAMAGED)
def test_damaged_lists_are_refused_before_anything_is_written(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    layout: str,
    harm: Callable[[Path], None],
    says: str,
) -> None:
    folder = request.getfixturevalue({"sysu": "exp"}.get(layout, layout))
    harm(folder)
    with pytest.raises(InputError, match=says) as caught:
        LAYOUTS[layout](tmp_path / "set", like=folder, **SMALL)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_one_person_in_both_halves_of_regdb_is_refused(tmp_path: Path, regdb: Path) -> None:
    for name in ("visible", "thermal"):
        damage(f"train_{name}_5.txt", "/2/", "/30/")(regdb)
    with pytest.raises(InputError, match=r"split 5 and .* \(30\)"):
        LAYOUTS["regdb"](tmp_path / "set", like=regdb, **SMALL)


def test_what_the_lists_decide_cannot_be_asked_for(tmp_path: Path, exp: Path, llcm: Path) -> None:
    for layout, like in (("sysu", exp), ("llcm", llcm)):
        for asked in ({"identities": 4}, {"test_fraction": 0.5}):
            (name,) = asked
            with pytest.raises(InputError, match=rf"^{name}=.* does not go with like="):
                LAYOUTS[layout](tmp_path / "set", like=like, **asked)
    with pytest.raises(InputError, match=r"^images_per_modality=4 does not go with like="):
        LAYOUTS["sysu"](tmp_path / "set", like=exp, images_per_modality=4)
    with pytest.raises(InputError, match=r"^images_per_modality=0 .* out of range"):
        LAYOUTS["llcm"](tmp_path / "set", like=llcm, images_per_modality=0)
    assert not (tmp_path / "set").exists()


def test_a_folder_that_cannot_hold_the_lists_is_refused(tmp_path: Path, exp: Path) -> None:
    for place in (tmp_path / "nowhere", exp / "train_id.txt"):
        with pytest.raises(InputError, match=r"^like=.* is not a folder"):
            LAYOUTS["sysu"](tmp_path / "set", like=place)
    assert not (tmp_path / "set").exists()
