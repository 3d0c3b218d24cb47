"""Reads RegDB: `Visible/<person>/`, `Thermal/<person>/` and the lists of ten splits in `idx/`.

Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible Light
and Thermal Cameras", Sensors 2017. Each split halves the people; a model is trained on one half
and tested on the other half of the same split.
"""

import itertools
import re
from pathlib import Path

from lupi_jax.data.index import Index, Row
from lupi_jax.data.sources.files import SPLITS, OnFault, check_root, refuse, require_disjoint
from lupi_jax.data.sources.lists import (
    Listed,
    make_split,
    read_list,
    require_files,
    require_one_label_each,
)
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

TRIALS = range(1, 11)
FOLDERS = {Modality.VISIBLE: "Visible", Modality.INFRARED: "Thermal"}
CAMERAS = {Modality.VISIBLE: 1, Modality.INFRARED: 2}


def read_regdb(root: str | Path, split: str, trial: int, report: OnFault = refuse) -> Index:
    """Index one split of RegDB, visible images first, in the order of the lists.

    Identities are the people's numbers in the paths. The labels in the lists are not used, since
    they count from 0 in every list, both for training and for testing. Camera 1 is visible, camera
    2 thermal.

    Args:
      root: directory that contains `Visible`, `Thermal` and `idx`.
      split: "train" or "test".
      trial: number of the split into training and test people, 1 to 10.
      report: called for every fault after which something can still be read; by default the first
        fault is raised.

    Raises:
      InputError: the trial is out of range; a file is missing, unreadable or damaged; labels and
        people disagree; or training and test lists share a person.
    """
    root = check_root(root, split, advice="; RegDB is available from its authors")
    if trial not in TRIALS:
        raise InputError(f"data.trial = {trial!r} is out of range: RegDB has the splits 1 to 10")
    rows = [
        Row(image.path, image.person, CAMERAS[modality], str(modality))
        for modality, images in read_lists(root / "idx", trial, report)[split].items()
        for image in require_files(root, images, report)
    ]
    return make_split(root, split, rows)


def read_lists(
    idx: Path, trial: int, report: OnFault = refuse
) -> dict[str, dict[Modality, list[Listed]]]:
    """The images of "train" and "test" by modality, from the lists in the folder `idx`."""
    lists = {}
    people = {}
    for split in SPLITS:
        images = {}
        for modality, folder in FOLDERS.items():
            file = list_file(idx, split, modality, trial)
            form = re.compile(rf"{folder}/([0-9]{{1,9}})/[^/]+")
            images[modality] = read_list(file, form, f"{folder}/<person>/<image>", report)
        lists[split] = images
        both = list(itertools.chain(*images.values()))
        require_one_label_each(both, report)
        people[f"the {split} lists of split {trial}"] = {image.person for image in both}
    require_disjoint(idx, people, report)
    return lists


def list_file(idx: Path, split: str, modality: Modality, trial: int) -> Path:
    """The file that lists a split's images in one modality."""
    return idx / f"{split}_{FOLDERS[modality].lower()}_{trial}.txt"
