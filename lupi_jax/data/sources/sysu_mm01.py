"""Reads SYSU-MM01: `cam{1..6}/<identity>/<n>.jpg` and the lists in `exp/`.

Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017. Cameras 1, 2, 4 and 5
are visible, 3 and 6 near-infrared. A person need not be seen by all of them.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.data.index import Index, Row
from lupi_jax.data.sources import matlab
from lupi_jax.data.sources.files import (
    OnFault,
    check_root,
    read_bytes,
    read_camera,
    refuse,
    require_disjoint,
)
from lupi_jax.data.sources.lists import make_split, read_identities, require_images
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import expand

CAMERAS = {
    1: Modality.VISIBLE,
    2: Modality.VISIBLE,
    3: Modality.INFRARED,
    4: Modality.VISIBLE,
    5: Modality.VISIBLE,
    6: Modality.INFRARED,
}
_LISTS = {"train": ("train", "val"), "val": ("val",), "test": ("test",)}
"""{split: the lists of its identities}."""
PERMUTATIONS = "exp/rand_perm_cam.mat"
_IMAGE = re.compile(r"[0-9]{4}\.jpg")


def read_sysu(root: str | Path, split: str, report: OnFault = refuse) -> Index:
    """Index one split of SYSU-MM01, sorted by camera, identity and file name.

    "train" has the training and the validation identities (296 + 99 in the original), because
    published models are trained on both. "val" has the validation identities, "test" the test
    identities (96).

    Args:
      root: directory that contains `cam1` to `cam6` and `exp`.
      split: "train", "val" or "test".
      report: called for every fault after which something can still be read; by default the first
        fault is raised.

    Raises:
      InputError: a file is missing, unreadable, damaged or misnamed; two lists share an identity;
        or an identity of the split has no image.
    """
    advice = "; SYSU-MM01 is available from its authors"
    root = check_root(root, split, tuple(_LISTS), advice)
    people = read_lists(root / "exp", report)
    wanted = {identity for name in _LISTS[split] for identity in people[name]}
    rows = [
        Row(f"cam{camera}/{path}", identity, camera, str(modality))
        for camera, modality in CAMERAS.items()
        for identity, path in read_camera(root / f"cam{camera}", wanted, _IMAGE, "0001.jpg", report)
    ]
    for name in _LISTS[split]:
        file = root / f"exp/{name}_id.txt"
        require_images(file, people[name], (row.identity for row in rows), report)
    return make_split(root, split, rows)


def read_lists(exp: Path, report: OnFault = refuse) -> dict[str, list[int]]:
    """The identities of "train", "val" and "test", from the lists in the folder `exp`."""
    people = {name: read_identities(exp / f"{name}_id.txt", report) for name in _LISTS}
    require_disjoint(exp, {f"{name}_id.txt": those for name, those in people.items()}, report)
    return people


def read_permutations(root: str | Path) -> dict[tuple[int, int], np.ndarray]:
    """`read_permutation_file` of `exp/rand_perm_cam.mat` below `root`."""
    return read_permutation_file(expand(root) / PERMUTATIONS)


def read_permutation_file(file: Path) -> dict[tuple[int, int], np.ndarray]:
    """The orders in which the official protocol draws its galleries.

    Args:
      file: the data set's `rand_perm_cam.mat`.

    Returns:
      {(identity, camera): orders}, int32 [trials, n]. A row orders the identity's n images by that
      camera, which are sorted by name and counted from 0. Pairs without images are left out.

    Raises:
      InputError: the file is missing, unreadable or has another form.
    """
    by_seed = "draw the galleries by seed with --config.evaluation.protocol=agw"
    advice = f"restore it from the data set, or {by_seed}"
    content = read_bytes(file, f"{file} is missing: {advice}", matlab.MAX_BYTES)
    damaged = InputError(
        f"{file} is not a MATLAB file with rand_perm_cam, which holds permutations of images by "
        f"identity in one cell per camera ({len(CAMERAS)}): restore it from the data set"
    )
    try:
        cameras = matlab.read_variable(content, "rand_perm_cam")
    except ValueError as error:
        raise damaged from error
    if not isinstance(cameras, list) or len(cameras) != len(CAMERAS):
        raise damaged
    permutations = {}
    for camera, cells in zip(CAMERAS, cameras, strict=True):
        if cells is None or (isinstance(cells, np.ndarray) and cells.size):
            raise damaged
        for identity, orders in enumerate(cells, 1):
            if isinstance(orders, np.ndarray) and not orders.size:
                continue
            if not _are_permutations(orders):
                raise InputError(
                    f"{file}: identity {identity} of camera {camera} has no permutations of its "
                    "images: restore it from the data set"
                )
            permutations[identity, camera] = orders.astype(np.int32) - 1
    return permutations


def _are_permutations(orders: Any) -> bool:
    if not isinstance(orders, np.ndarray):  # cells within a cell
        return False
    return bool(np.all(np.sort(orders, axis=1) == np.arange(1, orders.shape[1] + 1)))
