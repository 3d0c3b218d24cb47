from pathlib import Path

import numpy as np
import pytest

from lupi_jax import InputError
from lupi_jax.data.sources.llcm import read_llcm

TRAIN = {
    "vis": [
        "vis/0012/0012_c01_s185535_f7010_vis.jpg 1",
        "vis/0001/0001_c09_s185535_f7010_vis.jpg 0",
        "vis/0001/0001_c02_s185535_f7020_vis.jpg 0",
    ],
    "nir": [
        "nir/0001/0001_c04_s200656_f4830_nir.jpg 0",
        "nir/0012/0012_c08_s200656_f4830_nir.jpg 1",
    ],
}
TEST = [
    "test_vis/cam1/0003/0003_c01_s1_f20_vis.jpg",
    "test_vis/cam1/0003/0003_c01_s1_f10_vis.jpg",
    "test_vis/cam9/0102/0102_c09_s1_f10_vis.jpg",
    "test_vis/cam3/0102/0102_c03_s1_f10_vis.jpg",
    "test_vis/cam3/0003/0003_c03_s1_f10_vis.jpg",
    "test_nir/cam2/0003/0003_c02_s1_f10_nir.jpg",
    "test_nir/cam1/0102/0102_c01_s1_f10_nir.JPG",
]


def touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "LLCM"
    for name, cameras in (("vis", "123456789"), ("nir", "12456789")):
        for camera in cameras:
            (root / f"test_{name}/cam{camera}").mkdir(parents=True)
        for line in TRAIN[name]:
            touch(root / line.split()[0])
    for path in TEST:
        touch(root / path)
    (root / "idx").mkdir()
    for name, listed in TRAIN.items():
        (root / f"idx/train_{name}.txt").write_text("\n".join(listed) + "\n")
    (root / "idx/test_id.txt").write_text("102,3\n")
    return root


def test_training_images_are_listed(root):
    index = read_llcm(root, "train")
    assert list(index.paths) == [line.split()[0] for line in TRAIN["vis"] + TRAIN["nir"]]
    assert list(index.identities) == [12, 1, 1, 1, 12]
    assert list(index.cameras) == [1, 9, 2, 4, 8]
    assert list(index.modalities) == ["visible"] * 3 + ["infrared"] * 2
    assert index.identities.dtype == index.cameras.dtype == np.int32


def test_test_images_are_found_by_camera_and_identity(root):
    (root / "test_vis/.DS_Store").touch()
    (root / "test_vis/cam1/0003/Thumbs.db").touch()
    touch(root / "test_vis/cam1/0777/0777_c01_s1_f10_vis.jpg")  # nobody tests on this person
    index = read_llcm(str(root), "test")
    assert list(index.paths) == [
        "test_vis/cam1/0003/0003_c01_s1_f10_vis.jpg",
        "test_vis/cam1/0003/0003_c01_s1_f20_vis.jpg",
        "test_vis/cam3/0003/0003_c03_s1_f10_vis.jpg",
        "test_vis/cam3/0102/0102_c03_s1_f10_vis.jpg",
        "test_vis/cam9/0102/0102_c09_s1_f10_vis.jpg",
        "test_nir/cam1/0102/0102_c01_s1_f10_nir.JPG",
        "test_nir/cam2/0003/0003_c02_s1_f10_nir.jpg",
    ]
    assert list(index.identities) == [3, 3, 3, 102, 102, 102, 3]
    assert list(index.cameras) == [1, 1, 3, 3, 9, 1, 2]
    assert list(index.modalities) == ["visible"] * 5 + ["infrared"] * 2


@pytest.mark.parametrize(
    ("path", "camera"),
    [
        ("vis/0012/0012_c10_s1_vis.jpg", 10),
        ("some/where/0012/0012_c07.jpg", 7),
        ("vis/0012/frame_20.jpg", -1),
        ("vis_c05/0012/frame_20.jpg", -1),
        ("vis/0012/0012_cam3.jpg", -1),
        ("vis/0012/basic7.jpg", -1),
    ],
)
def test_the_camera_of_a_training_image_is_in_its_name(root, path, camera):
    touch(root / path)
    (root / "idx/train_vis.txt").write_text(f"{path} 1\n")
    assert read_llcm(root, "train").cameras[0] == camera


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train_nir", None, r"idx/train_nir\.txt is missing"),
        ("train_nir", "", r"idx/train_nir\.txt is empty"),
        ("test_id", None, r"idx/test_id\.txt is missing"),
        ("test_id", "3;102", r"test_id\.txt, item 1: expected numbers .*, got '3;102'"),
        ("test_id", "3,102,1", r"1 .* in both the training lists and test_id\.txt \(1\)"),
        ("test_id", "3,102,4", r"test_id\.txt lists 1 identity without an image \(4\)"),
        ("train_vis", "vis/0001/a.jpg", r"line 1: expected `<directory>/<person>/<image> label`"),
        ("train_vis", "0001_c01.jpg 0", r"line 1: expected .* got '0001_c01\.jpg 0'"),
        ("train_vis", "vis/anna/a.jpg 0", r"line 1: expected .* got 'vis/anna/a\.jpg 0'"),
        ("train_vis", "../vis/0001/a.jpg 0", r"line 1: expected .* got '\.\./vis/0001/a\.jpg 0'"),
        ("train_vis", "/vis/0001/a.jpg 0", r"line 1: expected .* got '/vis/0001/a\.jpg 0'"),
        (
            "train_vis",
            "a/1/b.jpg 0\na/1/b.jpg 0",
            r"line 2: expected .* each image once, got 'a/1/b\.jpg 0'",
        ),
        ("train_vis", "vis/0012/a.jpg 0", r"train_nir\.txt, line 1: label 0 and person 1 disagree"),
        ("train_vis", "vis/0001/a.jpg 0", r"vis/0001/a\.jpg is listed in .*idx, but missing"),
    ],
)
def test_a_damaged_list_is_refused(root, file, content, message):
    path = root / f"idx/{file}.txt"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    split = "test" if "without an image" in message else "train"
    with pytest.raises(InputError, match=message) as refusal:
        read_llcm(root, split)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("test_vis/cam10/0003/x.jpg", r"test_vis/cam10 does not belong here: .*cam1 to cam9"),
        ("test_vis/notes.txt", r"test_vis/notes\.txt does not belong here"),
        ("test_nir/cam1/anna/x.jpg", r"cam1/anna does not belong here"),
        ("test_nir/cam1/0003/x.txt", r"cam1/0003/x\.txt does not belong here"),
        ("test_nir/cam5/0003", r"cannot read the directory .*cam5/0003 \(Not a directory\)"),
    ],
)
def test_what_does_not_fit_the_layout_is_named(root, path, message):
    touch(root / path)
    with pytest.raises(InputError, match=message):
        read_llcm(root, "test")
    read_llcm(root, "train")


def test_a_missing_root_directory_or_camera_is_named(root, tmp_path):
    with pytest.raises(InputError, match=r"no data at .*nowhere: correct data\.root.*LLCM"):
        read_llcm(tmp_path / "nowhere", "test")
    with pytest.raises(InputError, match="'val' is not one of train, test"):
        read_llcm(root, "val")
    (root / "test_nir/cam6").rmdir()
    (root / "test_nir/cam7").rmdir()
    with pytest.raises(
        InputError, match=r"cannot read the directory .*test_nir/cam6 \(No such.*: extract"
    ):
        read_llcm(root, "test")
    (root / "test_nir").rename(root / "nir_test")
    with pytest.raises(
        InputError, match=r"cannot read the directory .*test_nir \(No such.*: extract"
    ):
        read_llcm(root, "test")
