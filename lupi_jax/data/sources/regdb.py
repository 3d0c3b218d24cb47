"""RegDB: `Visible/<person>/`, `Thermal/<person>/` and the lists of ten splits in `idx/`.

Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible Light
and Thermal Cameras", Sensors 2017. Each split halves the people; a model is trained on one half
and tested on the other half of the same split.
"""

import re
from pathlib import Path

from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.data.sources.lists import (
    SPLITS,
    OnFault,
    check_source,
    read_people,
    refuse,
    require_disjoint,
    require_files,
    require_one_label_each,
    require_some,
)
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

TRIALS = range(1, 11)
_FOLDERS = {Modality.VISIBLE: "Visible", Modality.INFRARED: "Thermal"}
CAMERAS = {Modality.VISIBLE: 1, Modality.INFRARED: 2}


def read_regdb(root: str | Path, split: str, trial: int, report: OnFault = refuse) -> Index:
    """Index one split of RegDB, visible images first, in the order of the lists.

    Identities are the people's own numbers, as in the paths: the labels in the lists count from 0
    in each split, for training and testing alike. Camera 1 is visible and 2 thermal.

    Args:
      root: directory of `Visible`, `Thermal` and `idx`.
      split: "train" or "test".
      trial: which of the ten splits, 1 to 10.
      report: told of every fault that leaves something to read; by default the first is raised.

    Raises:
      InputError: the trial is out of range; the root or a list is missing, unreadable or damaged;
        labels and people disagree; training and test lists share a person; or a listed image is
        not there.
    """
    root = check_source(root, "RegDB", split)
    if trial not in TRIALS:
        raise InputError(f"data.trial = {trial!r} is out of range: RegDB has the splits 1 to 10")
    people = {
        (name, modality): read_people(
            _list(root, name, modality, trial),
            re.compile(rf"{folder}/([0-9]{{1,9}})/[^/]+"),
            f"{folder}/<person>/<image>",
            report,
        )
        for name in SPLITS
        for modality, folder in _FOLDERS.items()
    }
    for name in SPLITS:
        require_one_label_each(
            (
                (_list(root, name, modality, trial), image, person)
                for modality in _FOLDERS
                for image, person in people[name, modality]
            ),
            report,
        )
    train, test = (
        {person for modality in _FOLDERS for _, person in people[name, modality]} for name in SPLITS
    )
    require_disjoint(
        f"{root}: the training lists of split {trial}", train, "its test lists", test, report
    )
    rows = []
    for modality in _FOLDERS:
        file = _list(root, split, modality, trial)
        rows += [
            Row(image.path, person, CAMERAS[modality], str(modality))
            for image, person in require_files(root, file, people[split, modality], report)
        ]
    require_some(root, split, rows)
    return make_index(root, rows)


def _list(root: Path, split: str, modality: Modality, trial: int) -> Path:
    return root / f"idx/{split}_{_FOLDERS[modality].lower()}_{trial}.txt"
