"""Full-size stand-ins: what the lists of a published data set order, pictured by nobody real.

The lists tell which images the data set has without showing any, so a set that follows them has
the files, the splits and the protocols of the real one. They are checked as the readers of the data
set check them, before anything is rendered, and copied byte for byte.
"""

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from lupi_jax.data.decoding import FORMATS
from lupi_jax.data.sources import llcm, regdb, sysu_mm01
from lupi_jax.data.sources.lists import Listed, require_images
from lupi_jax.errors import InputError
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

    Every cell of `exp/rand_perm_cam.mat`, an identity and a camera, has as many images as it
    orders, `cam<camera>/<identity>/<n>.jpg`, also those of identities that are in no list.

    Args:
        exp: folder of {train,val,test}_id.txt and rand_perm_cam.mat. Their MATLAB twins and
            available_id.txt are copied where they are there.

    Raises:
        InputError: a list or the permutations are missing or damaged; two lists share an identity,
            or one of them has no image.
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
    """Returns the images that RegDB's lists name, near-infrared ones in place of the thermal ones.

    Args:
        idx: folder of {train,test}_{visible,thermal}_{1..10}.txt.

    Raises:
        InputError: a list is missing or damaged; within a split, labels and people disagree, or
            training and test lists share a person; or a split has other numbers of people and
            images than the first, which a manifest cannot tell.
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
                f"{idx}: the lists of split {trial} have other numbers of people or images than "
                "those of split 1: restore the lists the data set came with"
            )
    pictures = [
        Picture(path, person, REGDB_CAMERAS[folder], n)
        for modality, folder in regdb.FOLDERS.items()
        for person, path, n in _numbered(images[modality])
    ]
    return Content(pictures, counts[0], _copies("idx", files))


def llcm_like(idx: Path, images_per_modality: int) -> Content:
    """Returns the training images that LLCM's lists name, and images of the people it tests on.

    Args:
        idx: folder of train_vis.txt, train_nir.txt and test_id.txt.
        images_per_modality: pictures of each identity that is tested on, in each modality, over
            the cameras: the lists do not tell how many there are.

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
    """The same images, which must be of a kind that can be written."""
    for image in listed:
        if PurePosixPath(image.path).suffix.lower() not in FORMATS:
            raise InputError(
                f"{image.file}, line {image.line}: {image.path} is not one of "
                f"{', '.join(FORMATS)}: restore the list the data set came with"
            )
    return listed


def _numbered(images: Collection[tuple[int, str]]) -> Iterator[tuple[int, str, int]]:
    """Yields person, path and number: a person's images count from 1, in the order of paths."""
    for person, group in itertools.groupby(sorted(images), key=lambda image: image[0]):
        for n, (_, path) in enumerate(group, 1):
            yield person, path, n


def _copies(folder: str, files: list[Path]) -> dict[str, bytes]:
    """The content of lists by their paths in the set."""
    try:
        return {f"{folder}/{file.name}": file.read_bytes() for file in files}
    except OSError as error:
        raise InputError(
            f"cannot read {error.filename} ({error.strerror}): check its permissions"
        ) from error
