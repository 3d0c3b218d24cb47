from pathlib import Path

import numpy as np
import pytest

from lupi_jax import InputError, Modality
from lupi_jax.data import read_any_images, read_folder, require_modalities
from lupi_jax.data.index import hold_out
from lupi_jax.data.sources.folder import name_people

BOTH = (Modality.VISIBLE, Modality.INFRARED)
PEOPLE = {"0002": 2, "0010": 1, "7": 3}


@pytest.fixture
def root(tmp_path, write_layout) -> Path:
    infrared = {"7": 1, "0010": 2, "0002": 1}
    return write_layout(
        tmp_path / "people",
        {"train": {"visible": PEOPLE, "infrared": infrared}, "test": {"visible": {"31": 1}}},
    )


def test_a_split_is_indexed_in_the_order_of_its_paths(root):
    (root / "train/visible/7/Thumbs.db").write_text("passed over")
    (root / "train/visible/.DS_Store").write_text("no identity")
    (root / "README").write_text("beside the splits")
    index = read_folder(root, "train")
    assert list(index.paths) == [
        "train/visible/0002/c1_0000.jpg",
        "train/visible/0002/c2_0001.jpg",
        "train/visible/0010/c1_0000.jpg",
        "train/visible/7/c1_0000.jpg",
        "train/visible/7/c1_0002.jpg",
        "train/visible/7/c2_0001.jpg",
        "train/infrared/0002/c1_0000.jpg",
        "train/infrared/0010/c1_0000.jpg",
        "train/infrared/0010/c2_0001.jpg",
        "train/infrared/7/c1_0000.jpg",
    ]
    assert list(index.identities) == [2, 2, 10, 7, 7, 7, 2, 10, 10, 7]
    assert list(index.cameras) == [1, 2, 1, 1, 1, 2, 1, 1, 2, 1]
    assert list(index.modalities) == ["visible"] * 6 + ["infrared"] * 4
    # Labels are positions among the identities as numbers, not as names.
    assert list(index.classes) == [2, 7, 10]
    assert list(index.labels) == [0, 0, 2, 1, 1, 1, 0, 2, 2, 1]
    assert (index.count(Modality.VISIBLE), index.count(Modality.INFRARED)) == (6, 4)
    assert index.identities.dtype == index.cameras.dtype == index.labels.dtype == np.int32


def test_a_split_may_lack_a_modality(root):
    index = read_folder(root, "test")
    assert list(index.paths) == ["test/visible/31/c1_0000.jpg"]
    assert index.count(Modality.INFRARED) == 0


def test_rows_of_an_index_keep_their_columns_together(root):
    index = read_folder(root, "train")
    some = index[np.array([9, 2])]
    assert list(some.paths) == ["train/infrared/7/c1_0000.jpg", "train/visible/0010/c1_0000.jpg"]
    assert list(some.identities) == [7, 10]
    assert list(some.modalities) == ["infrared", "visible"]
    assert (root / some.paths[0]).is_file()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_root_and_an_empty_split_are_named(tmp_path, split):
    with pytest.raises(InputError, match=r"no data at .*nowhere.*data\.root.*make-synthetic"):
        read_folder(tmp_path / "nowhere", split)
    (tmp_path / split / "visible").mkdir(parents=True)
    message = f"no images under .*{split}: expected {split}/.*, data.index .*; `lupi index` writes"
    with pytest.raises(InputError, match=message):
        read_folder(tmp_path, split)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("0001/frame_1.jpg", r"0001/frame_1\.jpg does not belong here: .*\(c<camera>_<n>; "),
        ("0001/c_1.jpg", r"c_1\.jpg does not belong here: infrared/0001 holds images named as c1_"),
        ("0001/c12345678901_1.jpg", r"c12345678901_1\.jpg does not belong here"),
        ("0001/c1_1.jpg/c1_1.jpg", r"0001/c1_1\.jpg is not an image file"),
        ("0001/day/c1_1.jpg", r"0001/day does not belong here"),
        ("anna/c1_1.jpg", r"anna does not belong here: an identity's directory is named by a num"),
        ("-2/c1_1.jpg", r"-2 does not belong here: an identity's directory is named by a number"),
        ("12345678901/c1_1.jpg", r"12345678901 does not belong here: .* up to 9 digits"),
        ("c1_1.jpg", r"infrared/c1_1\.jpg does not belong here: an identity's directory"),
        ("../c1_1.jpg", r"train/c1_1\.jpg does not belong here: train holds visible and infrared"),
        ("../thermal/1/c1_1.jpg", r"train/thermal does not belong here: train holds visible and i"),
    ],
)
def test_a_misnamed_file_or_folder_is_named(tmp_path, write_image, path, message):
    write_image(tmp_path / "train/visible/0002/c1_1.jpg")
    write_image(tmp_path / "train/infrared" / path)
    with pytest.raises(InputError, match=message):
        read_folder(tmp_path, "train")


@pytest.mark.parametrize("name", ["notes.txt", "c1_0009.txt", "c1_0009.heic", "c1_0009"])
def test_what_is_no_image_is_not_passed_over(root, name):
    (root / "test/visible/31" / name).touch()
    with pytest.raises(InputError, match=rf"31/{name} does not belong here: visible/31 holds im"):
        read_folder(root, "test")
    read_folder(root, "train")


def test_an_identity_has_one_directory_with_images(root, write_image):
    (root / "train/infrared/0003").mkdir()
    with pytest.raises(InputError, match=r"infrared/0003 holds no image: add one, or remove"):
        read_folder(root, "train")
    write_image(root / "train/infrared/0003/c1_1.jpg")
    write_image(root / "train/infrared/3/c1_1.jpg")
    with pytest.raises(InputError, match=r"infrared/3 and 0003 are both identity 3: rename one"):
        read_folder(root, "train")


def test_reading_past_faults_tells_them_all_and_keeps_the_rest(root):
    (root / "train/visible/7/c1_0000.jpg").rename(root / "train/visible/7/first.jpg")
    (root / "train/visible/anna").mkdir()
    (root / "train/infrared/0002/c1_0000.jpg").rename(root / "train/infrared/0002/c1_0000")
    told = []
    index = read_folder(root, "train", lambda where, message: told.append((str(where), message)))
    paths = ["train/visible/7/first.jpg", "train/visible/anna", "train/infrared/0002/c1_0000"]
    # The last but one image of its directory is gone, too.
    assert [where for where, _ in told] == [
        *(str(root / p) for p in paths),
        f"{root}/train/infrared/0002",
    ]
    assert all(message.startswith(where) for where, message in told)
    assert len(index) == 10 - 2


def test_an_unknown_split_is_refused(root):
    with pytest.raises(InputError, match="'val' is not one of train, test"):
        read_folder(root, "val")


def test_identities_in_one_modality_only_are_named(tmp_path, write_layout):
    layout = {"visible": {"1": 1, "2": 1, "30": 1}, "infrared": {"1": 1, "4": 2}}
    index = read_folder(write_layout(tmp_path, {"train": layout}), "train")
    with pytest.raises(InputError, match=r"no infrared image of 2 of its identities \(2, 30\)"):
        require_modalities(index, (Modality.INFRARED,))
    with pytest.raises(InputError, match=r"no visible image of 1 of its identities \(4\)"):
        require_modalities(index, BOTH)
    require_modalities(index[np.isin(index.identities, [1])], BOTH)
    visible = index[index.modalities == Modality.VISIBLE]
    require_modalities(visible, (Modality.VISIBLE,))
    with pytest.raises(InputError, match=r"in every modality; add images or remove them$"):
        require_modalities(index, BOTH)
    remedy = (
        r"in every modality; add images, or use visible images alone, "
        r"--config\.modalities=\"\('visible',\)\" "
        r"--config\.evaluation\.pairs=\"\('visible_to_visible',\)\"$"
    )
    with pytest.raises(InputError, match=remedy):
        require_modalities(visible, BOTH)


def test_a_long_list_of_lacking_identities_is_cut_short(tmp_path, write_layout):
    people = {str(i): 1 for i in range(1, 13)}
    index = read_folder(write_layout(tmp_path, {"train": {"visible": people}}), "train")
    with pytest.raises(InputError, match=r"of 12 of its identities \(1, 2, .*, 9, 10, \.\.\.\)"):
        require_modalities(index, BOTH)


def test_holding_out_parts_identities_and_loses_no_image(tmp_path, write_layout):
    people = {str(i): 1 + i % 3 for i in range(8)}
    root = write_layout(tmp_path, {"train": {"visible": people, "infrared": people}})
    index = read_folder(root, "train")
    train, held = hold_out(index, 3, seed=0)
    assert (len(train.classes), len(held.classes)) == (5, 3)
    assert not set(train.classes) & set(held.classes)
    assert sorted([*train.paths, *held.paths]) == sorted(index.paths)
    # Both modalities of a person go the same way, and labels stay contiguous.
    require_modalities(held, BOTH)
    assert sorted(set(train.labels)) == [0, 1, 2, 3, 4]
    again = hold_out(index, 3, seed=0)[1]
    assert list(again.paths) == list(held.paths)
    draws = {tuple(hold_out(index, 3, seed)[1].classes) for seed in range(8)}
    assert len(draws) > 4


def test_holding_out_leaves_two_identities_to_train_on(tmp_path, write_layout):
    people = {"1": 1, "2": 1, "3": 1}
    root = write_layout(tmp_path, {"train": {"visible": people, "infrared": people}})
    index = read_folder(root, "train")
    assert len(hold_out(index, 1, 0)[0].classes) == 2
    with pytest.raises(InputError, match=r"validation_identities = 2 .* of the 3 training"):
        hold_out(index, 2, 0)


def test_any_images_are_found_whatever_their_names(tmp_path, write_image):
    for name in ("b/holiday.JPG", "a.png", "b/c/1.bmp"):
        write_image(tmp_path / name)
    for name in ("b/._holiday.JPG", ".thumbnails/a.png"):  # no images: what file browsers leave
        write_image(tmp_path / name)
    (tmp_path / "b/notes.txt").write_text("no image")
    passed_over = []
    index = read_any_images(tmp_path, Modality.INFRARED, passed_over.append)
    assert passed_over == [tmp_path / "b/notes.txt"]
    assert list(index.paths) == ["a.png", "b/c/1.bmp", "b/holiday.JPG"]
    assert set(index.identities) == set(index.cameras) == {-1}
    assert set(index.modalities) == {"infrared"}
    one = read_any_images(tmp_path / "b/holiday.JPG", Modality.VISIBLE)
    assert list(one.paths) == ["holiday.JPG"]
    assert (one.root / one.paths[0]).is_file()


def test_no_image_at_all_is_said(tmp_path):
    with pytest.raises(InputError, match=r"no image or folder at .*gone\.jpg"):
        read_any_images(tmp_path / "gone.jpg", Modality.VISIBLE)
    with pytest.raises(InputError, match=r"no images at .*: looked for \.jpg"):
        read_any_images(tmp_path, Modality.VISIBLE)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"no images at .*notes\.txt"):
        read_any_images(tmp_path / "notes.txt", Modality.VISIBLE)


def test_links_to_directories_are_followed_once_each(tmp_path, write_image):
    gallery, other = tmp_path / "gallery", tmp_path / "other"
    write_image(gallery / "b/1.jpg")
    write_image(other / "deep/2.jpg")
    write_image(tmp_path / "3.jpg")
    (gallery / "a").symlink_to("b")  # the directory itself comes first
    (gallery / "c").symlink_to(other)
    (gallery / "d").symlink_to(other / "deep")  # within what is read by then
    (gallery / "b/up").symlink_to("..")
    (gallery / "out").symlink_to(tmp_path)
    (other / "deep/self").symlink_to(".")
    passed_over = []
    index = read_any_images(gallery, Modality.VISIBLE, passed_over.append)
    assert list(index.paths) == ["b/1.jpg", "c/deep/2.jpg"]
    links = ["a", "d", "out", "b/up", "c/deep/self"]
    assert passed_over == [gallery / link for link in links]
    linked = tmp_path / "linked"
    linked.symlink_to(gallery)
    assert list(read_any_images(linked, Modality.VISIBLE).paths) == ["b/1.jpg", "c/deep/2.jpg"]


def test_paths_of_the_layout_say_who_is_seen_by_which_camera(root, tmp_path, write_image):
    day = read_any_images(root / "train/visible", Modality.VISIBLE)
    found, named = name_people(day)
    assert found == root
    assert named.identities.tolist() == [2, 2, 10, 7, 7, 7]
    assert named.cameras.tolist() == [1, 2, 1, 1, 1, 2]
    assert named.paths.tolist() == day.paths.tolist()
    assert (named.root, named.modalities.tolist()) == (day.root, ["visible"] * 6)
    (tmp_path / "link").symlink_to(root)
    linked = read_any_images(tmp_path / "link/test/visible/31/c1_0000.jpg", Modality.VISIBLE)
    assert name_people(linked)[0] == root
    for path in ("train/visible/7/other.jpg", "val/visible/7/c1_0.jpg", "train/other/7/c1_0.jpg"):
        write_image(root / path)
        other = read_any_images(root / path, Modality.VISIBLE)
        assert name_people(other) == (None, other)


def test_people_of_two_data_sets_are_not_named_together(tmp_path, write_image):
    for place in ("a", "b"):
        write_image(tmp_path / place / "test/visible/1/c1_0.jpg")
    both = read_any_images(tmp_path, Modality.VISIBLE)
    assert name_people(both) == (None, both)
