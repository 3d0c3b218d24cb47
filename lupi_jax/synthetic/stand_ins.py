"""Full-size stand-ins: what the lists of a published data set order, pictured by nobody real.

The lists tell which images the data set has without showing any, so a set that follows them has
the files, the splits and the protocols of the real one. They are checked as the readers of the data
set check them, before anything is rendered, and copied byte for byte.
"""

import itertools
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from lupi_jax.data.sources.folder import SPLITS
from lupi_jax.data.sources.lists import (
    Listed,
    read_identities,
    read_people,
    require_disjoint,
    require_images,
    require_one_label_each,
)
from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.data.sources.sysu_mm01 import read_permutation_file
from lupi_jax.errors import InputError
from lupi_jax.synthetic.plans import (
    LLCM_CAMERAS,
    LLCM_FOLDERS,
    REGDB_CAMERAS,
    SYSU_FOLDERS,
    llcm_camera,
    llcm_test_pictures,
    sysu_picture,
)
from lupi_jax.synthetic.writing import FORMATS, Content, Picture, tally

_SYSU_LISTS = tuple(f"{name}_id" for name in ("train", "val", "test", "available"))
_LLCM_PATH = re.compile(r"(?:[^/]+/)*([0-9]{1,9})/[^/]+")
_LLCM_CAMERA = re.compile(r"_c([0-9]{1,9})(?![0-9])")


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
    lists = {name: exp / f"{name}_id.txt" for name in ("train", "val", "test")}
    splits = {name: read_identities(file) for name, file in lists.items()}
    for first, second in itertools.combinations(splits, 2):
        require_disjoint(str(lists[first]), splits[first], str(lists[second]), splits[second])
    cells = read_permutation_file(exp / "rand_perm_cam.mat")
    for name, file in lists.items():
        require_images(file, splits[name], (identity for identity, _ in cells))
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
    images: dict[str, set[tuple[int, str]]] = {folder: set() for folder in REGDB_CAMERAS}
    counts: list[dict[str, dict[str, int]]] = []
    for trial in TRIALS:
        members: dict[str, set[int]] = {}
        counts.append({})
        for split in SPLITS:
            people = {}
            for folder in REGDB_CAMERAS:
                file = idx / f"{split}_{folder.lower()}_{trial}.txt"
                files.append(file)
                form = re.compile(rf"{folder}/([0-9]{{1,9}})/[^/]+")
                people[folder] = _read_images(file, form, f"{folder}/<person>/<image>")
                images[folder] |= {(person, image.path) for _, image, person in people[folder]}
            listed = [*people["Visible"], *people["Thermal"]]
            require_one_label_each(listed)
            members[split] = {person for _, _, person in listed}
            counts[-1][split] = {
                "identities": len(members[split]),
                "visible": len(people["Visible"]),
                "infrared": len(people["Thermal"]),
            }
        first, second = (f"{idx}: the {split} lists of split {trial}" for split in SPLITS)
        require_disjoint(first, members["train"], second, members["test"])
        if counts[-1] != counts[0]:
            raise InputError(
                f"{idx}: the lists of split {trial} have other numbers of people or images than "
                "those of split 1: restore the lists the data set came with"
            )
    pictures = [
        Picture(path, person, camera, n)
        for folder, camera in REGDB_CAMERAS.items()
        for person, path, n in _numbered(images[folder])
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
    tested = idx / "test_id.txt"
    identities = read_identities(tested)
    example = "<directory>/<person>/<image>, the person a number"
    people = {
        name: _read_images(idx / f"train_{name}.txt", _LLCM_PATH, example) for name in LLCM_CAMERAS
    }
    listed = list(itertools.chain(*people.values()))
    require_one_label_each(listed)
    trained = {person for _, _, person in listed}
    require_disjoint(f"{idx}: the training lists", trained, str(tested), identities)
    pictures = []
    for name, group in people.items():
        for person, path, n in _numbered({(person, image.path) for _, image, person in group}):
            camera = _LLCM_CAMERA.search(PurePosixPath(path).name)
            number = int(camera[1]) if camera else 1
            pictures.append(Picture(path, person, llcm_camera(name, number), n))
    pictures += llcm_test_pictures(identities, images_per_modality)
    counts = tally(pictures, {"train": trained, "test": identities})
    files = [tested, *(idx / f"train_{name}.txt" for name in LLCM_CAMERAS)]
    return Content(pictures, counts, _copies("idx", files), LLCM_FOLDERS)


def _read_images(file: Path, form: re.Pattern[str], example: str) -> list[tuple[Path, Listed, int]]:
    """(list, line of it, person) of each image, which must be of a kind that can be written."""
    people = read_people(file, form, example)
    for image, _ in people:
        if PurePosixPath(image.path).suffix.lower() not in FORMATS:
            raise InputError(
                f"{file}, line {image.line}: {image.path} is none of {', '.join(FORMATS)}: "
                "restore the list the data set came with"
            )
    return [(file, image, person) for image, person in people]


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
