import os
from pathlib import Path

import numpy as np
import pytest

from lupi_jax import InputError
from lupi_jax.data.sources.regdb import read_regdb

PEOPLE = {"train": (285, 9), "test": (31, 100)}


def lines(folder: str, people: tuple[int, ...], images: int = 2) -> list[str]:
    """Labels count from 0 in every list."""
    letter = folder[0].lower()
    return [
        f"{folder}/{person}/male_back_{letter}_{n:05d}_{person}.bmp {label}"
        for label, person in enumerate(people)
        for n in range(images, 0, -1)
    ]


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "RegDB"
    (root / "idx").mkdir(parents=True)
    for split, people in PEOPLE.items():
        for folder in ("Visible", "Thermal"):
            listed = lines(folder, people)
            (root / f"idx/{split}_{folder.lower()}_3.txt").write_text("\n".join(listed) + "\n")
            for line in listed:
                file = root / line.split()[0]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    return root


def rewrite(root: Path, name: str, listed: list[str]) -> None:
    (root / f"idx/{name}_3.txt").write_text("\n".join(listed))


def test_people_keep_their_numbers_and_the_lists_their_order(root):
    index = read_regdb(root, "train", 3)
    assert list(index.paths) == [
        "Visible/285/male_back_v_00002_285.bmp",
        "Visible/285/male_back_v_00001_285.bmp",
        "Visible/9/male_back_v_00002_9.bmp",
        "Visible/9/male_back_v_00001_9.bmp",
        "Thermal/285/male_back_t_00002_285.bmp",
        "Thermal/285/male_back_t_00001_285.bmp",
        "Thermal/9/male_back_t_00002_9.bmp",
        "Thermal/9/male_back_t_00001_9.bmp",
    ]
    assert list(index.identities) == [285, 285, 9, 9] * 2
    assert list(index.cameras) == [1] * 4 + [2] * 4
    assert list(index.modalities) == ["visible"] * 4 + ["infrared"] * 4
    assert index.identities.dtype == index.cameras.dtype == np.int32
    test = read_regdb(str(root), "test", 3)
    assert list(test.identities) == [31, 31, 100, 100] * 2
    assert not set(test.classes) & set(index.classes)


def test_a_list_may_come_from_windows_and_leave_lines_blank(root):
    before = read_regdb(root, "test", 3).fingerprint
    text = "\r\n\r\n".join(lines("Visible", PEOPLE["test"]))
    (root / "idx/test_visible_3.txt").write_text("\ufeff" + text, encoding="utf-8")
    assert read_regdb(root, "test", 3).fingerprint == before


def test_a_missing_root_split_or_trial_is_refused(root, tmp_path):
    with pytest.raises(InputError, match=r"no data at .*nowhere: correct data\.root.*RegDB"):
        read_regdb(tmp_path / "nowhere", "train", 3)
    with pytest.raises(InputError, match="'all' is not one of train, test"):
        read_regdb(root, "all", 3)
    for trial in (0, 11):
        with pytest.raises(InputError, match=rf"data\.trial = {trial} is out of range"):
            read_regdb(root, "train", trial)
    with pytest.raises(InputError, match=r"idx/train_visible_4\.txt is missing"):
        read_regdb(root, "train", 4)


VISIBLE = lines("Visible", PEOPLE["train"])


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], r"idx/train_visible_3\.txt is empty"),
        (
            [*VISIBLE, "Visible/9/x.bmp"],
            r"line 5: expected `Visible/<person>/<image> label`.* got 'Visible/9/x\.bmp'",
        ),
        ([*VISIBLE, "Visible/9/x.bmp one"], r"line 5: expected .* got 'Visible/9/x\.bmp one'"),
        ([*VISIBLE, "Visible/9/x.bmp -1"], r"line 5: expected .* got 'Visible/9/x\.bmp -1'"),
        (["Visible/../secret.bmp 0"], r"line 1: expected .* got 'Visible/\.\./secret\.bmp 0'"),
        (["../RegDB/Visible/9/x.bmp 0"], r"line 1: expected .* got '\.\./RegDB"),
        (["/Visible/9/x.bmp 0"], r"line 1: expected .* got '/Visible/9/x\.bmp 0'"),
        (["Thermal/9/x.bmp 0"], r"line 1: expected `Visible/.* got 'Thermal/9/x\.bmp 0'"),
        (["Visible/anna/x.bmp 0"], r"line 1: expected .* got 'Visible/anna/x\.bmp 0'"),
        (["Visible/9/a/x.bmp 0"], r"line 1: expected .* got 'Visible/9/a/x\.bmp 0'"),
        ([*VISIBLE, "Visible//9/x.bmp 1"], r"line 5: expected .* got 'Visible//9/x\.bmp 1'"),
        (
            [*VISIBLE, VISIBLE[1]],
            r"line 5: expected .* each image once, got '.*00001_285\.bmp 0': rest",
        ),
        (
            [*VISIBLE[:2], "Visible/285/male_back_v_00007_285.bmp 1"],
            r"train_visible_3\.txt, line 3: label 1 and person 285 disagree with",
        ),
        (
            [*VISIBLE[:2], "Visible/9/male_back_v_00002_9.bmp 0"],
            r"train_visible_3\.txt, line 3: label 0 and person 9 disagree with",
        ),
        (
            ["Visible/9/male_back_v_00001_9.bmp 0"],
            r"train_thermal_3\.txt, line 1: label 0 and person 285 disagree",
        ),
        (
            [*VISIBLE, "Visible/9/a.bmp 1", "Visible/9/b.bmp 1"],
            r"Visible/9/a\.bmp is listed in .*RegDB/idx, but missing or unreadable: extract",
        ),
        ([*VISIBLE, "Visible/77/a.bmp 7"], r"RegDB/Visible/77 is listed in .*: extract"),
    ],
)
def test_a_damaged_list_is_refused(root, listed, message):
    rewrite(root, "train_visible", listed)
    with pytest.raises(InputError, match=message) as refusal:
        read_regdb(root, "train", 3)
    assert "\n" not in str(refusal.value)


def test_reading_past_faults_tells_them_all_and_keeps_the_rest(root):
    wrong = [line.replace(" 1", " 0") for line in VISIBLE[2:]]
    unknown = ["Visible/anna/x.bmp 4", "Visible/77/a.bmp 7"]
    rewrite(root, "train_visible", ["Visible/9", *VISIBLE[:2], *wrong, *unknown])
    told = []
    index = read_regdb(root, "train", 3, lambda where, message: told.append(message))
    expected = [
        "train_visible_3.txt, line 1: expected `Visible/<person>/<image> label`",
        "train_visible_3.txt, line 6: expected `Visible/<person>/<image> label`",
        "train_visible_3.txt, line 4: label 0 and person 9 disagree",  # nor is line 5 right
        "train_thermal_3.txt, line 3: label 1 and person 9 disagree",
        "RegDB/Visible/77 is listed in",
    ]
    assert len(told) == len(expected)
    assert all(words in message for words, message in zip(expected, told, strict=True))
    assert list(index.identities) == [285, 285, 9, 9] * 2


def test_a_person_in_training_and_test_lists_is_named(root):
    rewrite(root, "test_thermal", lines("Thermal", (31, 100, 9)))
    for split in ("train", "test"):
        with pytest.raises(InputError, match=r"train lists of split 3 and the test .* \(9\)"):
            read_regdb(root, split, 3)


def test_only_the_images_of_the_split_have_to_be_there(root):
    (root / "Thermal/31/male_back_t_00001_31.bmp").unlink()
    assert len(read_regdb(root, "train", 3)) == 8
    with pytest.raises(InputError, match=r"31/male_back_t_00001_31\.bmp is listed in"):
        read_regdb(root, "test", 3)


def test_a_directory_is_no_image(root):
    image = root / "Visible/9/male_back_v_00001_9.bmp"
    image.unlink()
    image.mkdir()
    with pytest.raises(InputError, match=r"00001_9\.bmp is listed in .* missing or unreadable"):
        read_regdb(root, "train", 3)
    (root / "Visible/285").rename(root / "Visible/286")
    (root / "Visible/285").touch()
    with pytest.raises(InputError, match=r"Visible/285 is listed in .* missing or unreadable"):
        read_regdb(root, "train", 3)


def test_a_directory_that_may_not_be_entered_is_named(root, monkeypatch):
    stat = os.stat

    def guarded(path, *args, **kwargs):
        if Path(path).parent.name == "9":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", guarded)
    with pytest.raises(InputError, match=r"Visible/9/.* is listed in .* unreadable"):
        read_regdb(root, "train", 3)
