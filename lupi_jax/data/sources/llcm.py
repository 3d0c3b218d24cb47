"""LLCM: lists of training images, and test images by camera and identity.

Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-identification", CVPR 2023. `idx/train_{vis,nir}.txt` list lines as
`vis/0001/0001_c01_s185535_f7010_vis.jpg 0`; test images are `test_{vis,nir}/cam<n>/<identity>/*`
for the identities of `idx/test_id.txt`. A camera has the same number in both modalities.
"""

import os
import re
from pathlib import Path

from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.data.sources.lists import (
    OnFault,
    check_source,
    read_camera,
    read_directory,
    read_identities,
    read_people,
    refuse,
    require_disjoint,
    require_files,
    require_images,
    require_one_label_each,
    require_some,
)
from lupi_jax.modality import Modality

_NAMES = {Modality.VISIBLE: "vis", Modality.INFRARED: "nir"}
_CAMERAS = {
    Modality.VISIBLE: (1, 2, 3, 4, 5, 6, 7, 8, 9),
    Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9),
}
_TRAINING_PATH = re.compile(r"(?:[^/]+/)*([0-9]{1,9})/([^/]+)")
_TRAINING_CAMERA = re.compile(r"_c([0-9]{1,9})(?![0-9])")
_CAMERA_FOLDER = re.compile(r"cam([1-9])")
_TEST_IMAGE = re.compile(r".+\.(?:jpe?g|png|bmp)", re.IGNORECASE)


def read_llcm(root: str | Path, split: str, report: OnFault = refuse) -> Index:
    """Index one split of LLCM, visible images first.

    Training images come in the order of their lists, test images by camera, identity and file
    name. Identities are the people's own numbers, as in the paths; the labels of the lists only
    have to agree with them. The camera of a training image is read from its name (`_c01`), and -1
    (unknown) where that does not tell.

    Args:
      root: directory of `vis`, `nir`, `test_vis`, `test_nir` and `idx`.
      split: "train" or "test".
      report: told of every fault that leaves something to read; by default the first is raised.

    Raises:
      InputError: the root, a list or a camera's directory is missing or unreadable; a list is
        damaged, or its labels and people disagree; a person is in both splits; a listed image or
        every image of a test identity is not there; or a name does not fit the layout.
    """
    root = check_source(root, "LLCM", split)
    tested = root / "idx/test_id.txt"
    identities = read_identities(tested, report)
    lists = {modality: root / f"idx/train_{name}.txt" for modality, name in _NAMES.items()}
    example = "<directory>/<person>/<image>, the person a number"
    people = {m: read_people(file, _TRAINING_PATH, example, report) for m, file in lists.items()}
    require_one_label_each(
        (
            (lists[modality], image, person)
            for modality in _NAMES
            for image, person in people[modality]
        ),
        report,
    )
    for modality in _NAMES:
        trained = (person for _, person in people[modality])
        require_disjoint(str(lists[modality]), trained, str(tested), identities, report)
    rows = []
    if split == "train":
        for modality, file in lists.items():
            rows += [
                Row(image.path, person, _training_camera(image.path), str(modality))
                for image, person in require_files(root, file, people[modality], report)
            ]
        require_some(root, split, rows)
        return make_index(root, rows)
    for modality, name in _NAMES.items():
        folder = root / f"test_{name}"
        for camera in _test_cameras(folder, modality, report):
            images = read_camera(
                folder / f"cam{camera}",
                set(identities),
                _TEST_IMAGE,
                f"0003_c01_*_{name}.jpg",
                report,
            )
            rows += [
                Row(f"test_{name}/cam{camera}/{path}", identity, camera, str(modality))
                for identity, path in images
            ]
    require_images(tested, identities, (row.identity for row in rows), report)
    require_some(root, split, rows)
    return make_index(root, rows)


def _training_camera(path: str) -> int:
    match = _TRAINING_CAMERA.search(path.rpartition("/")[2])
    return int(match[1]) if match else -1


def _test_cameras(folder: Path, modality: Modality, report: OnFault) -> list[int]:
    """The cameras of a modality, ascending, once all the data set has are known to be there."""
    cameras = []
    for entry in read_directory(folder, report):
        match = _CAMERA_FOLDER.fullmatch(entry.name)
        if match:
            cameras.append(int(match[1]))
        else:
            report(
                entry.path,
                f"{entry.path} does not belong here: {folder.name} holds cam1 to cam9; "
                "move it away",
            )
    lacking = sorted(set(_CAMERAS[modality]) - set(cameras))
    if lacking and os.path.isdir(folder):
        report(
            folder,
            f"{folder} lacks cam{', cam'.join(map(str, lacking))}: extract the data set again, "
            "whole, below data.root",
        )
    return cameras
