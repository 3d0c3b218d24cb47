"""RegDB: `Visible/<person>/`, `Thermal/<person>/` and the lists of ten splits in `idx/`.

Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible Light
and Thermal Cameras", Sensors 2017. Each split halves the people; a model is trained on one half
and tested on the other half of the same split.
"""

import re
from pathlib import Path

from lupi_jax.data.folder import SPLITS
from lupi_jax.data.index import Index
from lupi_jax.data.lists import (
    Listed,
    Row,
    check_source,
    make_index,
    read_labelled_paths,
    require_disjoint,
    require_files,
    require_one_label_each,
)
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

TRIALS = range(1, 11)
_FOLDERS = {Modality.VISIBLE: "Visible", Modality.INFRARED: "Thermal"}
_CAMERAS = {Modality.VISIBLE: 1, Modality.INFRARED: 2}


def read_regdb(root: str | Path, split: str, trial: int) -> Index:
    """Index one split of RegDB, visible images first, in the order of the lists.

    Identities are the people's own numbers, as in the paths: the labels in the lists count from 0
    in each split, for training and testing alike. Camera 1 is visible and 2 thermal.

    Args:
      root: directory of `Visible`, `Thermal` and `idx`.
      split: "train" or "test".
      trial: which of the ten splits, 1 to 10.

    Raises:
      InputError: the trial is out of range; the root or a list is missing, unreadable or damaged;
        labels and people disagree; training and test lists share a person; or a listed image is
        not there.
    """
    root = check_source(root, "RegDB", split)
    if trial not in TRIALS:
        raise InputError(f"data.trial = {trial!r} is out of range: RegDB has the splits 1 to 10")
    people = {
        (name, modality): _read_list(_list(root, name, modality, trial), _FOLDERS[modality])
        for name in SPLITS
        for modality in _FOLDERS
    }
    for name in SPLITS:
        require_one_label_each(
            (_list(root, name, modality, trial), image, person)
            for modality in _FOLDERS
            for image, person in people[name, modality]
        )
    train, test = (
        {person for modality in _FOLDERS for _, person in people[name, modality]} for name in SPLITS
    )
    require_disjoint(f"{root}: the training lists of split {trial}", train, "its test lists", test)
    rows = []
    for modality in _FOLDERS:
        chosen = people[split, modality]
        require_files(root, _list(root, split, modality, trial), (image for image, _ in chosen))
        rows += [
            Row(image.path, person, _CAMERAS[modality], str(modality)) for image, person in chosen
        ]
    return make_index(root, rows)


def _list(root: Path, split: str, modality: Modality, trial: int) -> Path:
    return root / f"idx/{split}_{_FOLDERS[modality].lower()}_{trial}.txt"


def _read_list(file: Path, folder: str) -> list[tuple[Listed, int]]:
    """The lines of a list, each with the number of the person in its path."""
    form = re.compile(rf"{folder}/(\d{{1,9}})/[^/]+")
    people = []
    for image in read_labelled_paths(file):
        match = form.fullmatch(image.path)
        if not match:
            raise InputError(
                f"{file}, line {image.line}: {image.path} is not {folder}/<person>/<image>: "
                "restore the list the data set came with"
            )
        people.append((image, int(match[1])))
    return people
