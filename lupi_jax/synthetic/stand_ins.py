"""Full-size stand-ins: synthetic pictures for all images in the lists of a published data set.

The lists name the images of the data set but do not show them. A set that follows the lists has
the same files, splits and protocols as the real one. Before anything is rendered, the lists are
checked as the data set's reader checks them. They are copied byte for byte.
"""

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from lupi_jax.data.decoding import FORMATS
from lupi_jax.data.sources import llcm, regdb, sysu_mm01
from lupi_jax.data.sources.lists import Listed, require_images
from lupi_jax.errors import InputError, reason
from lupi_jax.modality import Modality
from lupi_jax.synthetic.plans import (
    LLCM_CAMERAS,
    LLCM_FOLDERS,
    REGDB_CAMERAS,
    SYSU_FOLDERS,
    llcm_camera,
    llcm_test_pictures,
    sysu_picture,
)
from lupi_jax.synthetic.writing import Content, Picture, tally

_SYSU_LISTS = tuple(f"{name}_id" for name in ("train", "val", "test", "available"))


def sysu_like(exp: Path) -> Content:
    """Returns the images that SYSU-MM01's permutations order.

    For every identity and camera in `exp/rand_perm_cam.mat`, even if no list has the identity, the
    set has as many images as the permutations order, `cam<camera>/<identity>/<n>.jpg`.

    Args:
        exp: folder of {train,val,test}_id.txt and rand_perm_cam.mat. The lists' .mat versions and
            available_id.txt are copied if they exist.

    Raises:
        InputError: a list or the permutations are missing or damaged, two lists share an identity,
            or an identity in a list has no image.
    """
    splits = sysu_mm01.read_lists(exp)
    cells = sysu_mm01.read_permutation_file(exp / "rand_perm_cam.mat")
    for name, members in splits.items():
        require_images(exp / f"{name}_id.txt", members, (identity for identity, _ in cells))
    pictures = [
        sysu_picture(identity, camera, n)
        for (identity, camera), orders in cells.items()
        for n in range(1, orders.shape[-1] + 1)
    ]
    names = [f"{name}.{kind}" for name in _SYSU_LISTS for kind in ("txt", "mat")]
    files = [file for name in (*names, "rand_perm_cam.mat") if (file := exp / name).is_file()]
    return Content(pictures, tally(pictures, splits), _copies("exp", files), SYSU_FOLDERS)


def regdb_like(idx: Path) -> Content:
    """Returns the images in RegDB's lists, with near-infrared images instead of thermal ones.

    Args:
        idx: folder of {train,test}_{visible,thermal}_{1..10}.txt.

    Raises:
        InputError: a list is missing or damaged; within a split, labels and people disagree, or
            training and test lists share a person; or the splits differ in their numbers of people
            or images, which a manifest cannot express.
    """
    files = []
    images: dict[Modality, set[tuple[int, str]]] = {modality: set() for modality in regdb.FOLDERS}
    counts: list[dict[str, dict[str, int]]] = []
    for trial in regdb.TRIALS:
        counts.append({})
        for split, lists in regdb.read_lists(idx, trial).items():
            members = {image.person for listed in lists.values() for image in listed}
            counts[-1][split] = {"identities": len(members)}
            for modality, listed in lists.items():
                files.append(regdb.list_file(idx, split, modality, trial))
                images[modality] |= {(image.person, image.path) for image in _writable(listed)}
                counts[-1][split][str(modality)] = len(listed)
        if counts[-1] != counts[0]:
            raise InputError(
                f"{idx}: the lists of splits 1 and {trial} have different numbers of people or "
                "images: restore the data set's own lists"
            )
    pictures = [
        Picture(path, person, REGDB_CAMERAS[folder], n)
        for modality, folder in regdb.FOLDERS.items()
        for person, path, n in _numbered(images[modality])
    ]
    return Content(pictures, counts[0], _copies("idx", files))


def llcm_like(idx: Path, images_per_modality: int) -> Content:
    """Returns the training images in LLCM's lists, and images of the test identities.

    Args:
        idx: folder of train_vis.txt, train_nir.txt and test_id.txt.
        images_per_modality: pictures per test identity and modality, by all cameras together. The
            lists do not tell this number.

    Raises:
        InputError: a list is missing or damaged, labels and people disagree, or training and test
            lists share a person.
    """
    images, identities = llcm.read_lists(idx)
    pictures = []
    for name, listed in zip(LLCM_CAMERAS, images.values(), strict=True):
        for person, path, n in _numbered({(i.person, i.path) for i in _writable(listed)}):
            number = llcm.training_camera(path)
            number = 1 if number < 0 else number
            pictures.append(Picture(path, person, llcm_camera(name, number), n))
    pictures += llcm_test_pictures(identities, images_per_modality)
    trained = {image.person for image in itertools.chain(*images.values())}
    counts = tally(pictures, {"train": trained, "test": identities})
    files = [idx / "test_id.txt", *(idx / f"train_{name}.txt" for name in LLCM_CAMERAS)]
    return Content(pictures, counts, _copies("idx", files), LLCM_FOLDERS)


def _writable(listed: list[Listed]) -> list[Listed]:
    """Returns `listed`, after a check that images of these file types can be written."""
    for image in listed:
        if PurePosixPath(image.path).suffix.lower() not in FORMATS:
            raise InputError(
                f"{image.file}, line {image.line}: {image.path} is not one of "
                f"{', '.join(FORMATS)}: restore the data set's own list"
            )
    return listed


def _numbered(images: Collection[tuple[int, str]]) -> Iterator[tuple[int, str, int]]:
    """Yields person, path and number; a person's images are numbered from 1 in order of path."""
    for person, group in itertools.groupby(sorted(images), key=lambda image: image[0]):
        for n, (_, path) in enumerate(group, 1):
            yield person, path, n


def _copies(folder: str, files: list[Path]) -> dict[str, bytes]:
    """{path in the set: content} for the lists."""
    try:
        return {f"{folder}/{file.name}": file.read_bytes() for file in files}
    except OSError as error:
        raise InputError(
            f"cannot read {error.filename} ({reason(error)}): check its permissions"
        ) from error
