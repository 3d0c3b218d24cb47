"""LLCM: lists of training images, and test images by camera and identity.

Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-identification", CVPR 2023. `idx/train_{vis,nir}.txt` list lines as
`vis/0001/0001_c01_s185535_f7010_vis.jpg 0`; test images are `test_{vis,nir}/cam<n>/<identity>/*`
for the identities of `idx/test_id.txt`. A camera has the same number in both modalities.
"""

import re
from pathlib import Path

from lupi_jax.data.index import Index
from lupi_jax.data.lists import (
    Listed,
    Row,
    check_source,
    make_index,
    read_camera,
    read_directory,
    read_identities,
    read_labelled_paths,
    require_disjoint,
    require_files,
    require_images,
    require_one_label_each,
)
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

_NAMES = {Modality.VISIBLE: "vis", Modality.INFRARED: "nir"}
_CAMERAS = {
    Modality.VISIBLE: (1, 2, 3, 4, 5, 6, 7, 8, 9),
    Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9),
}
_TRAINING_PATH = re.compile(r"(?:[^/]+/)*(\d{1,9})/([^/]+)")
_TRAINING_CAMERA = re.compile(r"_c(\d{1,9})(?!\d)")
_CAMERA_FOLDER = re.compile(r"cam([1-9])")
_TEST_IMAGE = re.compile(r".+\.(?:jpe?g|png|bmp)", re.IGNORECASE)


def read_llcm(root: str | Path, split: str) -> Index:
    """Index one split of LLCM, visible images first.

    Training images come in the order of their lists, test images by camera, identity and file
    name. Identities are the people's own numbers, as in the paths; the labels of the lists only
    have to agree with them. The camera of a training image is read from its name (`_c01`), and -1
    (unknown) where that does not tell.

    Raises:
      InputError: the root, a list or a camera's directory is missing or unreadable; a list is
        damaged, or its labels and people disagree; a person is in both splits; a listed image or
        every image of a test identity is not there; or a name does not fit the layout.
    """
    root = check_source(root, "LLCM", split)
    tested = root / "idx/test_id.txt"
    identities = read_identities(tested)
    lists = {modality: root / f"idx/train_{name}.txt" for modality, name in _NAMES.items()}
    people = {modality: _read_list(file) for modality, file in lists.items()}
    require_one_label_each(
        (lists[modality], image, person)
        for modality in _NAMES
        for image, person in people[modality]
    )
    for modality in _NAMES:
        trained = (person for _, person in people[modality])
        require_disjoint(str(lists[modality]), trained, str(tested), identities)
    rows = []
    if split == "train":
        for modality, file in lists.items():
            require_files(root, file, (image for image, _ in people[modality]))
            rows += [
                Row(image.path, person, _training_camera(image.path), str(modality))
                for image, person in people[modality]
            ]
        return make_index(root, rows)
    for modality, name in _NAMES.items():
        folder = root / f"test_{name}"
        for camera in _test_cameras(folder, modality):
            images = read_camera(
                folder / f"cam{camera}", set(identities), _TEST_IMAGE, f"0003_c01_*_{name}.jpg"
            )
            rows += [
                Row(f"test_{name}/cam{camera}/{path}", identity, camera, str(modality))
                for identity, path in images
            ]
    require_images(tested, identities, (row.identity for row in rows))
    return make_index(root, rows)


def _read_list(file: Path) -> list[tuple[Listed, int]]:
    """The lines of a list, each with the number of the person in its path."""
    people = []
    for image in read_labelled_paths(file):
        match = _TRAINING_PATH.fullmatch(image.path)
        if not match:
            raise InputError(
                f"{file}, line {image.line}: {image.path} is not <directory>/<person>/<image>, the "
                "person a number: restore the list the data set came with"
            )
        people.append((image, int(match[1])))
    return people


def _training_camera(path: str) -> int:
    match = _TRAINING_CAMERA.search(path.rpartition("/")[2])
    return int(match[1]) if match else -1


def _test_cameras(folder: Path, modality: Modality) -> list[int]:
    """The cameras of a modality, ascending, once all the data set has are known to be there."""
    cameras = []
    for entry in read_directory(folder):
        match = _CAMERA_FOLDER.fullmatch(entry.name)
        if not match:
            raise InputError(
                f"{entry.path} does not belong here: {folder.name} holds cam1 to cam9; move it away"
            )
        cameras.append(int(match[1]))
    lacking = sorted(set(_CAMERAS[modality]) - set(cameras))
    if lacking:
        raise InputError(
            f"{folder} lacks cam{', cam'.join(map(str, lacking))}: extract the data set again, "
            "whole, below data.root"
        )
    return cameras
