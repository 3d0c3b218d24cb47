import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from lupi_jax import InputError, Modality
from lupi_jax.data.sources.sysu_mm01 import read_permutations, read_sysu
from lupi_jax.evaluation.metrics import sysu

# {camera: {identity: number of images}}
SEEN = {
    1: {2: 2, 5: 1, 11: 1},
    2: {2: 1, 30: 1},
    3: {2: 1, 5: 2, 30: 2},
    4: {5: 1, 11: 2},
    5: {11: 1, 30: 1},
    6: {2: 1, 30: 1},
}
LISTS = {"train": "30,2", "val": "5", "test": "11"}


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "SYSU-MM01"
    for camera, people in SEEN.items():
        for identity, count in people.items():
            folder = root / f"cam{camera}/{identity:04d}"
            folder.mkdir(parents=True)
            for n in range(count, 0, -1):
                (folder / f"{n:04d}.jpg").touch()
    (root / "exp").mkdir()
    for name, text in LISTS.items():
        (root / f"exp/{name}_id.txt").write_text(text)
    return root


def cell(cells: dict[int, list[list[int]]], size: int) -> np.ndarray:
    """A column of MATLAB cells, empty except the given ones (from 1)."""
    column = np.empty((size, 1), object)
    for i in range(size):
        column[i, 0] = np.array(cells.get(i + 1, np.empty((2, 0))), np.uint8)
    return column


def write_permutations(root: Path, cameras: dict[int, dict[int, list[list[int]]]]) -> None:
    column = np.empty((6, 1), object)
    for camera in range(1, 7):
        cells = cameras.get(camera, {})
        column[camera - 1, 0] = cell(cells, max(cells, default=3))
    savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": column})


def test_training_is_on_the_training_and_validation_identities(root):
    index = read_sysu(root, "train")
    assert list(index.paths) == [
        "cam1/0002/0001.jpg",
        "cam1/0002/0002.jpg",
        "cam1/0005/0001.jpg",
        "cam2/0002/0001.jpg",
        "cam2/0030/0001.jpg",
        "cam3/0002/0001.jpg",
        "cam3/0005/0001.jpg",
        "cam3/0005/0002.jpg",
        "cam3/0030/0001.jpg",
        "cam3/0030/0002.jpg",
        "cam4/0005/0001.jpg",
        "cam5/0030/0001.jpg",
        "cam6/0002/0001.jpg",
        "cam6/0030/0001.jpg",
    ]
    assert list(index.identities) == [2, 2, 5, 2, 30, 2, 5, 5, 30, 30, 5, 30, 2, 30]
    assert list(index.cameras) == [1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 5, 6, 6]
    visible, infrared = ["visible"], ["infrared"]
    assert list(index.modalities) == visible * 5 + infrared * 5 + visible * 2 + infrared * 2
    assert index.identities.dtype == index.cameras.dtype == np.int32


def test_testing_is_on_the_test_identities(root):
    index = read_sysu(str(root), "test")
    assert list(index.paths) == [
        "cam1/0011/0001.jpg",
        "cam4/0011/0001.jpg",
        "cam4/0011/0002.jpg",
        "cam5/0011/0001.jpg",
    ]
    assert set(index.identities) == {11}
    assert (index.count(Modality.VISIBLE), index.count(Modality.INFRARED)) == (4, 0)


def test_what_file_browsers_and_editors_leave_changes_nothing(root):
    before = read_sysu(root, "train").fingerprint
    (root / "cam1/.DS_Store").touch()
    (root / "cam1/0002/Thumbs.db").touch()
    (root / "cam1/0002/._0001.jpg").touch()
    (root / "train_rgb_resized_img.npy").touch()
    (root / "cam6/0333").mkdir()  # in no list, without images: so it is in the original
    (root / "cam4/0030").mkdir()  # an empty directory is a camera that did not see the person
    (root / "exp/train_id.txt").write_bytes(b"\xef\xbb\xbf 30, 2\r\n")
    assert read_sysu(root, "train").fingerprint == before


def test_a_missing_root_and_an_unknown_split_are_refused(root, tmp_path):
    with pytest.raises(InputError, match=r"no data at .*nowhere: correct data\.root"):
        read_sysu(tmp_path / "nowhere", "train")
    with pytest.raises(InputError, match=r"test_id\.txt is not a directory: correct data\.root"):
        read_sysu(root / "exp/test_id.txt", "train")
    with pytest.raises(InputError, match="'all' is not one of train, val, test"):
        read_sysu(root, "all")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train", None, r"exp/train_id\.txt is missing: set data\.root to the folder that"),
        ("val", "", r"exp/val_id\.txt is empty"),
        ("val", " \n\n", r"exp/val_id\.txt is empty"),
        ("test", "11,", r"test_id\.txt, item 2: expected numbers .*, got ''"),
        ("test", "11,12a", r"test_id\.txt, item 2: expected numbers .*, got '12a'"),
        ("test", "-11", r"item 1: expected .*, got '-11'"),
        (
            "test",
            "12345678901",
            r"item 1: expected numbers of up to 9 digits, .* got '12345678901'",
        ),
        ("test", b"\xff\xfe1\x001", r"test_id\.txt, line 1 is not UTF-8 text"),
        ("train", "2,30,2,30,2", r"train_id\.txt, item 3: expected numbers .*, each once, got '2'"),
        ("train", "2,30,11", r"both train_id\.txt and test_id\.txt \(11\)"),
        ("val", "5,2", r"both train_id\.txt and val_id\.txt \(2\)"),
        ("val", "5,11", r"both val_id\.txt and test_id\.txt \(11\)"),
        ("train", "2,30,77,78", r"train_id\.txt lists 2 identities without an image \(77, 78\)"),
        ("val", "5,79", r"val_id\.txt lists 1 identity without an image \(79\)"),
    ],
)
def test_a_damaged_list_is_refused(root, name, content, message):
    file = root / f"exp/{name}_id.txt"
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content)
    with pytest.raises(InputError, match=message) as refusal:
        read_sysu(root, "train")
    assert "\n" not in str(refusal.value)


def test_an_identity_with_empty_directories_only_has_no_image(root):
    (root / "cam1/0040").mkdir()
    (root / "exp/test_id.txt").write_text("11,40")
    with pytest.raises(InputError, match=r"test_id\.txt lists 1 .* without an image \(40\)"):
        read_sysu(root, "test")
    read_sysu(root, "train")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cam1/anna/0001.jpg", r"cam1/anna does not belong here: cam1 holds one directory per"),
        ("cam1/2/0001.jpg", r"cam1/2 does not belong here.*as 0007"),
        ("cam1/00002/0001.jpg", r"cam1/00002 does not belong here"),
        ("cam6/notes.txt", r"cam6/notes\.txt does not belong here"),
        ("cam3/0005/0003.png", r"cam3/0005/0003\.png does not belong here.*named as 0001\.jpg"),
        ("cam3/0005/3.jpg", r"cam3/0005/3\.jpg does not belong here"),
        ("cam3/0005/0003.jpg/x", r"cam3/0005/0003\.jpg is not an image file"),
        ("cam4/0002", r"cannot read the directory .*cam4/0002 \(Not a directory\): extract"),
    ],
)
def test_what_does_not_fit_the_layout_is_named(root, path, message):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).touch()
    with pytest.raises(InputError, match=message):
        read_sysu(root, "train")


def test_a_camera_that_is_missing_or_a_file_is_named(root):
    (root / "cam2").rename(root / "cam7")
    with pytest.raises(
        InputError, match=r"cannot read the directory .*cam2 \(No such file or dir.*\): extract"
    ):
        read_sysu(root, "test")
    (root / "cam2").touch()
    with pytest.raises(
        InputError, match=r"cannot read the directory .*cam2 \(Not a directory\): extract"
    ):
        read_sysu(root, "test")


def test_a_directory_that_may_not_be_read_is_named(root, monkeypatch):
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "0030":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(InputError, match=r"cannot read .*cam2/0030 \(Permission denied\)"):
        read_sysu(root, "train")
    assert len(read_sysu(root, "test"))  # of other people: nobody looks there


def test_a_list_that_may_not_be_read_is_named(root):
    (root / "exp/test_id.txt").unlink()
    (root / "exp/test_id.txt").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*test_id\.txt \(Is a directory\)"):
        read_sysu(root, "test")


def test_permutations_are_by_identity_and_camera_and_count_from_0(root):
    orders = {1: {2: [[2, 1, 3], [3, 1, 2]], 4: [[1], [1]]}, 6: {3: [[1, 2], [2, 1]]}}
    write_permutations(root, orders)
    permutations = read_permutations(root)
    assert sorted(permutations) == [(2, 1), (3, 6), (4, 1)]
    assert permutations[2, 1].tolist() == [[1, 0, 2], [2, 0, 1]]
    assert permutations[4, 1].tolist() == [[0], [0]]
    assert permutations[3, 6].tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("orders", [[[1, 3], [2, 1]], [[0, 1], [1, 0]], [[1, 1], [1, 2]]])
def test_what_is_no_permutation_is_named(root, orders):
    write_permutations(root, {3: {2: orders}})
    message = r"rand_perm_cam\.mat: identity 2 of camera 3 has no permutations of its images: res"
    with pytest.raises(InputError, match=message):
        read_permutations(root)


def test_a_file_of_permutations_that_cannot_be_used_is_refused(root):
    file = root / "exp/rand_perm_cam.mat"
    with pytest.raises(
        InputError, match=r"rand_perm_cam\.mat is missing.*evaluation\.protocol=agw"
    ):
        read_permutations(root)
    file.mkdir()
    with pytest.raises(InputError, match=r"cannot read .*rand_perm_cam\.mat \(Is a directory\)"):
        read_permutations(root)
    file.rmdir()
    damaged = r"rand_perm_cam\.mat is not a MATLAB file with rand_perm_cam"
    for content in (b"", b"no MATLAB file", b"\0" * 600):
        file.write_bytes(content)
        with pytest.raises(InputError, match=damaged):
            read_permutations(root)
    write_permutations(root, {1: {2: [[2, 1, 3], [3, 1, 2]]}})
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=damaged):
        read_permutations(root)
    savemat(file, {"permutations": np.ones(6)})
    with pytest.raises(InputError, match=damaged):
        read_permutations(root)
    five = np.empty((5, 1), object)
    five[:, 0] = [cell({}, 3)] * 5
    for other in (np.ones((6, 1)), five):
        savemat(file, {"rand_perm_cam": other})
        with pytest.raises(InputError, match=r"in one cell per camera \(6\)"):
            read_permutations(root)
    numbers = np.empty((6, 1), object)
    numbers[:, 0] = [np.arange(4)] * 6
    savemat(file, {"rand_perm_cam": numbers})
    with pytest.raises(InputError, match="permutations of images by identity"):
        read_permutations(root)


# -- The permutations, as MATLAB and SciPy write them --------------------------------------------

EMPTY = [(0, 0), (1, 0), (10, 0), (0, 1)]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(1, 9), st.sampled_from(range(1, 7))), st.integers(1, 12), max_size=12
    ),
    st.integers(1, 10),
    st.sampled_from(["uint8", "uint16", "int32", "float64"]),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.integers(0, 2**32 - 1),
)
def test_permutations_are_read_however_they_were_written(counts, trials, dtype, flags, seed):
    compressed, lying, lying_inside = flags
    rng = np.random.default_rng(seed)
    expected = {
        place: [rng.permutation(count).tolist() for _ in range(trials)]
        for place, count in counts.items()
    }
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cells = np.empty((rng.integers(9, 12), 1), object)
        for identity in range(1, len(cells) + 1):
            order = expected.get((identity, camera))
            empty = np.empty(EMPTY[rng.integers(len(EMPTY))])
            cells[identity - 1, 0] = (empty if order is None else np.add(order, 1)).astype(dtype)
        cameras[camera - 1, 0] = cells.T if lying_inside else cells
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "exp").mkdir()
        content = {"rand_perm_cam": cameras.T if lying else cameras, "other": np.ones(3)}
        savemat(f"{root}/exp/rand_perm_cam.mat", content, do_compression=compressed)
        permutations = read_permutations(root)
    assert {place: order.tolist() for place, order in permutations.items()} == expected
    assert {order.dtype for order in permutations.values()} <= {np.dtype(np.int32)}


def test_official_galleries_are_the_first_entries_of_the_trials_row(root):
    folder = root / "cam1/0011"
    for n in (2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13):  # with 0001, twelve: the fifth is 0006
        (folder / f"{n:04d}.jpg").touch()
    (root / "cam6/0011").mkdir()
    (root / "cam6/0011/0001.jpg").touch()
    orders = {
        1: {11: [[5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12], [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]]},
        4: {11: [[2, 1], [1, 2]]},
        5: {11: [[1], [1]]},
    }
    write_permutations(root, orders)
    index = read_sysu(root, "test")
    tasks = sysu(
        index, [(Modality.INFRARED, Modality.VISIBLE)], "official", 2, read_permutations(root)
    )
    galleries = {task.name: [index.paths[trial.gallery] for trial in task.trials] for task in tasks}

    def numbers(search: str, trial: int, camera: int) -> list[int]:
        paths = [path.split("/") for path in galleries[search][trial]]
        assert {identity for _, identity, _ in paths} == {"0011"}
        return [int(name[:4]) for folder, _, name in paths if folder == f"cam{camera}"]

    first = [6, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    second = [13, 12, 11, 10, 9, 8, 7, 6, 4, 3]
    for search in ("all-search", "indoor"):
        assert numbers(f"{search}, single-shot", 0, 1) == [6]
        assert numbers(f"{search}, single-shot", 1, 1) == [13]
        assert numbers(f"{search}, multi-shot", 0, 1) == first
        assert numbers(f"{search}, multi-shot", 1, 1) == second
    assert [numbers("all-search, single-shot", t, 4) for t in (0, 1)] == [[2], [1]]
    assert [numbers("all-search, multi-shot", t, 4) for t in (0, 1)] == [[2, 1], [1, 2]]
    assert [numbers("all-search, multi-shot", t, 5) for t in (0, 1)] == [[1], [1]]
    assert [numbers("indoor, multi-shot", t, 4) for t in (0, 1)] == [[], []]


def test_a_damaged_byte_is_refused_or_changes_nothing(root):
    write_permutations(root, {1: {2: [[2, 1, 3], [3, 1, 2]]}, 6: {3: [[1, 2], [2, 1]]}})
    file = root / "exp/rand_perm_cam.mat"
    # Compressed, as MATLAB writes it and the data set has it: that comes with a check sum.
    savemat(file, {"rand_perm_cam": loadmat(file)["rand_perm_cam"]}, do_compression=True)
    content, before = file.read_bytes(), read_permutations(root)
    flipped = [bytes([byte ^ 0x24]) for byte in content]
    damaged = [content[:n] + flipped[n] + content[n + 1 :] for n in range(124, len(content))]
    damaged += [content[:n] for n in range(len(content))]
    refusals = []
    for part in damaged:
        file.write_bytes(part)
        try:
            assert {k: v.tolist() for k, v in read_permutations(root).items()} == {
                k: v.tolist() for k, v in before.items()
            }
        except InputError as refusal:
            refusals.append(str(refusal))
    assert len(refusals) > 0.95 * len(damaged)
    assert all("exp/rand_perm_cam.mat" in text and "\n" not in text for text in refusals)


def test_matlab_files_of_other_formats_are_refused(root):
    file = root / "exp/rand_perm_cam.mat"
    # Version 7.3 is HDF5 behind a header of 512 bytes.
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    file.write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(InputError, match=r"is not a MATLAB file with rand_perm_cam.*: restore"):
        read_permutations(root)
    savemat(file, {"rand_perm_cam": np.ones((6, 1))}, format="4")  # which has no cells
    with pytest.raises(InputError, match=r"in one cell per camera \(6\)"):
        read_permutations(root)


@pytest.mark.parametrize(
    "orders",
    [
        [[1.0, 1.5]],
        [[np.nan, 1.0]],
        [[np.inf, 1.0]],
        [[-1, 1]],
        [[257]],
        [[1], [2], [3]],  # a row is a trial: this is three trials of one image
        [[[1]], [[1]]],
        [[1 + 0j, 2]],
        "abc",
        {"orders": 1.0},
        csc_matrix([[1.0, 2.0], [2.0, 1.0]]),
    ],
)
def test_a_cell_of_other_content_is_refused(root, orders):
    cells = np.empty((3, 1), object)
    cells[0, 0], cells[1, 0] = np.empty((10, 0)), np.array([[2, 1]])
    cells[2, 0] = np.array(orders) if isinstance(orders, list) else orders
    cameras = np.empty((6, 1), object)
    cameras[:, 0] = [cells] * 6
    savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": cameras})
    with pytest.raises(InputError, match="identity 3 of camera 1 has no permutations of its"):
        read_permutations(root)


@pytest.mark.parametrize("cells", [np.ones((3, 1)), "abc", {"a": 1.0}, csc_matrix(np.eye(3))])
def test_a_camera_without_cells_is_refused(root, cells):
    cameras = np.empty((6, 1), object)
    for camera in range(6):
        cameras[camera, 0] = cells
    savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": cameras})
    with pytest.raises(InputError, match=r"permutations of images by identity .*: restore it"):
        read_permutations(root)
