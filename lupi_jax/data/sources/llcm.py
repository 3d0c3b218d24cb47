"""LLCM: lists of training images, and test images by camera and identity.

Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-identification", CVPR 2023. `idx/train_{vis,nir}.txt` list lines as
`vis/0001/0001_c01_s185535_f7010_vis.jpg 0`; test images are `test_{vis,nir}/cam<n>/<identity>/*`
for the identities of `idx/test_id.txt`. A camera has the same number in both modalities.
"""

import itertools
import os
import re
from pathlib import Path

from lupi_jax.data.decoding import SUFFIX_PATTERN
from lupi_jax.data.index import Index, Row
from lupi_jax.data.sources.files import (
    OnFault,
    check_root,
    read_camera,
    read_named,
    refuse,
    require_disjoint,
)
from lupi_jax.data.sources.lists import (
    Listed,
    make_split,
    read_identities,
    read_list,
    require_files,
    require_images,
    require_one_label_each,
)
from lupi_jax.modality import Modality

_NAMES = {Modality.VISIBLE: "vis", Modality.INFRARED: "nir"}
_CAMERAS = {
    Modality.VISIBLE: {1, 2, 3, 4, 5, 6, 7, 8, 9},
    Modality.INFRARED: {1, 2, 4, 5, 6, 7, 8, 9},
}
_TRAINING_PATH = re.compile(r"(?:[^/]+/)*([0-9]{1,9})/[^/]+")
_TRAINING_CAMERA = re.compile(r"_c([0-9]{1,9})(?![0-9])")
_CAMERA_FOLDER = re.compile(r"cam([1-9])")
_TEST_IMAGE = re.compile(".+" + SUFFIX_PATTERN, re.IGNORECASE)


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
      InputError: something is missing, unreadable, damaged or misnamed; labels and people
        disagree; a person is in both splits; or a test identity has no image.
    """
    root = check_root(root, split, advice="; LLCM comes from its authors, by agreement")
    images, identities = read_lists(root / "idx", report)
    rows = []
    if split == "train":
        for modality, listed in images.items():
            for image in require_files(root, listed, report):
                camera = training_camera(image.path)
                rows.append(Row(image.path, image.person, camera, str(modality)))
        return make_split(root, split, rows)
    people = set(identities)
    for modality, name in _NAMES.items():
        folder = root / f"test_{name}"
        content = f"{folder.name} holds cam1 to cam9"
        found = {int(match[1]) for _, match in read_named(folder, _CAMERA_FOLDER, content, report)}
        # A camera that is missing is told of by reading it, unless the whole folder is.
        for camera in sorted(found | _CAMERAS[modality]) if os.path.isdir(folder) else ():
            place, example = folder / f"cam{camera}", f"0003_c01_*_{name}.jpg"
            for identity, path in read_camera(place, people, _TEST_IMAGE, example, report):
                path = f"{folder.name}/{place.name}/{path}"
                rows.append(Row(path, identity, camera, str(modality)))
    require_images(root / "idx/test_id.txt", identities, (row.identity for row in rows), report)
    return make_split(root, split, rows)


def read_lists(
    idx: Path, report: OnFault = refuse
) -> tuple[dict[Modality, list[Listed]], list[int]]:
    """The training images in each modality, and the test identities, by the lists in `idx`."""
    identities = read_identities(idx / "test_id.txt", report)
    example = "<directory>/<person>/<image>"
    images = {
        modality: read_list(idx / f"train_{name}.txt", _TRAINING_PATH, example, report)
        for modality, name in _NAMES.items()
    }
    both = list(itertools.chain(*images.values()))
    require_one_label_each(both, report)
    trained = {image.person for image in both}
    require_disjoint(idx, {"the training lists": trained, "test_id.txt": identities}, report)
    return images, identities


def training_camera(path: str) -> int:
    """The camera that a training image's name tells (`_c01`), or -1."""
    match = _TRAINING_CAMERA.search(path.rpartition("/")[2])
    return int(match[1]) if match else -1
