"""Reads LLCM: lists of training images, and test images by camera and identity.

Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-identification", CVPR 2023. A line of `idx/train_{vis,nir}.txt` is
`vis/0001/0001_c01_s185535_f7010_vis.jpg 0`. Test images are `test_{vis,nir}/cam<n>/<identity>/*`
for the identities in `idx/test_id.txt`. A camera has the same number in both modalities.
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

    Training images are in the order of the lists, test images are sorted by camera, identity and
    file name. Identities are the people's numbers in the paths; the labels in the lists must agree
    with them, and are not used otherwise. The camera of a training image is read from its name
    (`_c01`), and is -1 (unknown) if the name does not tell.

    Args:
      root: directory that contains `vis`, `nir`, `test_vis`, `test_nir` and `idx`.
      split: "train" or "test".
      report: called for every fault after which something can still be read; by default the first
        fault is raised.

    Raises:
      InputError: a file is missing, unreadable, damaged or misnamed; labels and people disagree; a
        person is in both splits; or a test identity has no image.
    """
    root = check_root(root, split, advice="; LLCM is available from its authors")
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
        # Reading a missing camera reports it. If the whole folder is missing, one report is enough.
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
    """The training images by modality, and the test identities, from the lists in `idx`."""
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
    """The camera in a training image's name (`_c01`), or -1 if the name does not tell."""
    match = _TRAINING_CAMERA.search(path.rpartition("/")[2])
    return int(match[1]) if match else -1
