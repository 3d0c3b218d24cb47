"""Tables made from the names of images: the ready patterns, and what a pattern cannot be."""

import os
import signal
import threading
from pathlib import Path

import pytest

from lupi_jax import InputError
from lupi_jax.data.sources import naming
from lupi_jax.data.sources.naming import NAMINGS, Naming, read_names, table_text
from lupi_jax.data.sources.table import read_table

CELLS = r"(?P<split>\w+)/(?P<modality>\w+)/(?P<identity>[^_/]*)_(?P<camera>[^_/]*)_.*"


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def rows_of(root: Path, naming: Naming) -> list[str]:
    found = read_names(root, naming)
    assert (found.unmatched, found.faults) == ([], [])
    return [",".join(row) for row in found.rows]


MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0007_c3s3_077419_03.jpg.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/0000_c6s1_000151_01.jpg",
    "bounding_box_test/1501_c6s4_001902_01.jpg",
    "query/1501_c5s3_065187_00.jpg",
    "query/0012_c10_f0044158.jpg",  # as DukeMTMC-reID has it
)


def test_names_as_in_market1501(tmp_path):
    root = touch(tmp_path, *MARKET, "gt_bbox/0001_c1s1_001051_00.jpg", "query/Thumbs.db", "a.txt")
    assert rows_of(root, NAMINGS["market1501"]) == [
        "bounding_box_test/-1_c1s1_000401_03.jpg,-1,1,visible,test,gallery",
        "bounding_box_test/0000_c6s1_000151_01.jpg,0,6,visible,test,gallery",
        "bounding_box_test/1501_c6s4_001902_01.jpg,1501,6,visible,test,gallery",
        "bounding_box_train/0002_c1s1_000451_03.jpg,2,1,visible,train,",
        "bounding_box_train/0007_c3s3_077419_03.jpg.jpg,7,3,visible,train,",
        "query/0012_c10_f0044158.jpg,12,10,visible,test,query",
        "query/1501_c5s3_065187_00.jpg,1501,5,visible,test,query",
    ]
    found = read_names(root, NAMINGS["market1501"])
    assert found.left_out == 1
    assert found.passed_over == [root / "a.txt"]


def test_folders_of_queries_and_of_the_gallery(tmp_path):
    root = touch(
        tmp_path,
        "train/visible/5_c1_a.png",
        "query/infrared/0007/c03.JPG",
        "query/infrared/8_c3x.png",
        "gallery/visible/-1/c1_b.png",
        "gallery/visible/0007/c2_b.png",
    )
    assert rows_of(root, NAMINGS["query-gallery"]) == [
        "gallery/visible/-1/c1_b.png,-1,1,visible,test,gallery",
        "gallery/visible/0007/c2_b.png,7,2,visible,test,gallery",
        "query/infrared/0007/c03.JPG,7,3,infrared,test,query",
        "query/infrared/8_c3x.png,8,3,infrared,test,query",
        "train/visible/5_c1_a.png,5,1,visible,train,",
    ]


def test_the_table_is_read_back_as_it_was_meant(tmp_path):
    names = ('a "b", c_7_0012_x.png', " d_007_0_é.png", "e_00_9_.png")
    root = touch(tmp_path / "images", *names)
    pattern = r".*?_(?P<identity>\d+)_(?P<camera>\d+)_.*"
    naming = Naming(pattern, {"modality": "infrared", "split": "val"}, {"camera": {"0012": "3"}})
    rows = read_names(root, naming).rows
    text = table_text(rows)
    assert text.splitlines()[0] == "path,identity,camera,modality,split"
    file = tmp_path / "table.csv"
    file.write_bytes(text.encode())
    index = read_table(file, root, "val")
    assert index.paths.tolist() == sorted(names)
    assert index.identities.tolist() == [7, 7, 0]
    assert index.cameras.tolist() == [0, 3, 9]
    assert index.roles is None
    file.write_text(table_text([rows[0], (*rows[1][:-1], "query"), rows[2]]))
    assert read_table(file, root, "val").in_gallery.tolist() == [True, False, True]


def test_a_constant_stands_in_for_a_group_that_is_not_there(tmp_path):
    root = touch(tmp_path, "1_1_a.png", "ir/2_1_a.png")
    pattern = r"(?:(?P<modality>ir)/)?(?P<identity>\d)_(?P<camera>\d)_.*"
    constants = {"split": "test", "modality": "visible"}
    naming = Naming(pattern, constants, {"modality": {"ir": "infrared"}})
    assert [row[3] for row in read_names(root, naming).rows] == ["visible", "infrared"]
    assert read_names(root, naming).defaulted == {"modality", "split"}
    lacking = Naming(pattern, {"split": "test"}, naming.values)
    assert read_names(root, lacking).faults == [
        f"{root}/1_1_a.png: the name does not say modality: give --modality for all such images"
    ]


def test_a_pattern_matches_a_whole_path(tmp_path):
    root = touch(tmp_path, "test/visible/1_1_a.png", "more/test/visible/1_1_b.png", "x.png")
    found = read_names(root, Naming(CELLS))
    assert [row[0] for row in found.rows] == ["test/visible/1_1_a.png"]
    assert found.unmatched == ["more/test/visible/1_1_b.png", "x.png"]
    assert len(read_names(root, Naming(CELLS.removesuffix("_.*"))).unmatched) == 3


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("p7_1_a.png", "identity 'p7' is not a whole number from 0 to 2147483647"),
        ("٣_1_a.png", "identity '٣' is not a whole number"),
        ("-2_1_a.png", "identity '-2' is not a whole number"),
        ("2147483648_1_a.png", "identity '2147483648' is not a whole number"),
        ("1_-1_a.png", "camera '-1' is not a whole number"),
        ("1__a.png", "the name does not say camera: give --camera for all such images"),
        ("1_1_\n.png", "must be relative to the root"),
        ("1_1_\\.png", "must be relative to the root"),
        (os.fsdecode(b"1_1_\xff.png"), "the name is not UTF-8; rename it"),
    ],
)
def test_what_a_table_cannot_hold(tmp_path, name, fault):
    root = touch(tmp_path, f"test/visible/{name}", "test/visible/0000000000012_1_a.png")
    pattern = CELLS.replace(".*", r"(?s:.*)")
    found = read_names(root, Naming(pattern))
    assert [row[1] for row in found.rows] == ["12"]
    (line,) = found.faults
    assert line.startswith(f"{root}/test/visible/{name}: ")
    assert fault in line


def test_one_file_under_two_names(tmp_path):
    root = touch(tmp_path / "images", "test/visible/1_1_a.png", "test/visible/2_1_a.png")
    folder = root / "test/visible"
    (folder / "1_1_b.png").symlink_to(folder / "1_1_a.png")
    os.link(folder / "2_1_a.png", folder / "3_1_a.png")
    (root / "gone_1_1.png").symlink_to(root / "nothing")
    found = read_names(root, Naming(CELLS))
    same = "the same file as test/visible"
    assert found.faults == [
        f"{folder}/1_1_b.png: {same}/1_1_a.png; remove one of the two names",
        f"{folder}/3_1_a.png: {same}/2_1_a.png; remove one of the two names",
    ]


def test_nobody_is_in_two_splits_but_who_may_be_nobody(tmp_path):
    root = touch(tmp_path, *(f"{s}/visible/{i}_1_a.png" for s in ("val", "test") for i in (-1, 0)))
    assert len(read_names(root, Naming(CELLS)).rows) == 4
    touch(root, "val/visible/04_1_a.png", "test/visible/4_1_a.png")
    with pytest.raises(InputError, match=r"1 identity in both test and val \(4\)"):
        read_names(root, Naming(CELLS))


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        (Naming("(?P<identity>"), r"^--pattern '\(\?P<identity>' is not a regular expression \("),
        (Naming(r"(?P<person>\d)"), "names the groups person: it may name identity, camera, mod"),
        (
            Naming(r"(?P<identity>\d)(?P<camera>\d)", {"split": "test"}),
            r"does not say modality: name a group, such as \(\?P<modality>\.\.\.\), or give the "
            "value for all images, --modality VALUE$",
        ),
        (Naming("market"), r"does not say identity, .* pattern \(market1501, query-gallery\)$"),
        (
            Naming(CELLS, {}, {"role": {"q": "query"}}),
            r"^--role maps texts, but --pattern .* has no such group: add \(\?P<role>",
        ),
    ],
)
def test_patterns_that_are_none(tmp_path, naming, message):
    touch(tmp_path, "test/visible/1_1_a.png")
    with pytest.raises(InputError, match=message):
        read_names(tmp_path, naming)


def test_more_images_than_a_table_lists(tmp_path, monkeypatch):
    root = touch(tmp_path, *(f"test/visible/{i}_1_a.png" for i in range(3)))
    monkeypatch.setattr(naming, "MAX_ROWS", 3)
    assert len(read_names(root, Naming(CELLS)).rows) == 3
    monkeypatch.setattr(naming, "MAX_ROWS", 2)
    with pytest.raises(InputError, match=r" has 3 images, and a table at most 2: divide"):
        read_names(root, Naming(CELLS))


def test_roots_without_images(tmp_path):
    with pytest.raises(InputError, match=r"^no images below .*: looked for \.jpg, "):
        read_names(touch(tmp_path, "a.txt", ".b.jpg"), Naming(CELLS))
    with pytest.raises(InputError, match=r"^no data at .*nowhere"):
        read_names(tmp_path / "nowhere", Naming(CELLS))


def test_a_pattern_that_would_take_years_is_stopped(tmp_path):
    name = "test/visible/" + 40 * "a" + "!.png"
    root = touch(tmp_path, name)
    before = signal.getsignal(signal.SIGVTALRM)
    slow = Naming(CELLS + r"|test/visible/(?:a+)+\.png")
    with pytest.raises(InputError, match=r"^--pattern .* takes too long on 'test/visible/aaa.*\+"):
        read_names(root, slow)
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_other_threads_read_names_too(tmp_path):
    root = touch(tmp_path, "test/visible/1_1_a.png")
    rows: list[str] = []
    thread = threading.Thread(target=lambda: rows.extend(rows_of(root, Naming(CELLS))))
    thread.start()
    thread.join()
    assert rows == ["test/visible/1_1_a.png,1,1,visible,test,"]
