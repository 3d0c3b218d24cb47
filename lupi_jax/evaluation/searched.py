"""The images and tasks that a configuration asks to measure, and their names in results."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import Index, read_permutations
from lupi_jax.data.index import JUNK
from lupi_jax.data.sources import published
from lupi_jax.data.sources.manifest import is_generated
from lupi_jax.errors import InputError, plural, some
from lupi_jax.evaluation.embedding import with_intermediate
from lupi_jax.evaluation.metrics import Task, all_images, llcm, sysu
from lupi_jax.evaluation.metrics.protocols import is_test_set
from lupi_jax.evaluation.metrics.tasks import Pair, SameModality
from lupi_jax.modality import Modality
from lupi_jax.views import check_intermediate

SEARCHED_SPLITS = ("test", "val")
"""Splits of people outside training, for which a data set's own protocol is meant."""


def _pairs(config: Config) -> tuple[Pair, ...]:
    sides = (name.split("_to_") for name in config.evaluation.pairs)
    return tuple((Modality(query), Modality(gallery)) for query, gallery in sides)


def images_asked_for(config: Config, index: Index) -> Index:
    """The images of the configured pairs, with intermediate images added if a pair needs them.

    Junk is left out. Distractors stay, for galleries.

    Raises:
      InputError: a pair needs intermediate images, and the user's own function for them cannot be
        used.
    """
    wanted = {m for pair in _pairs(config) for m in pair}
    index = index[index.identities != JUNK]
    if Modality.INTERMEDIATE in wanted:
        check_intermediate(config.views, config.data.image_size)
        index = with_intermediate(index)
    return index[np.isin(index.modalities, [str(m) for m in wanted])]


def same_modality_rule(config: Config) -> SameModality:
    """The rule within a modality: as configured, or by default the data set's usual rule."""
    asked = config.evaluation.same_modality
    if asked != "auto":
        return asked
    return "camera" if config.data.name == "sysu" else "identity_and_camera"


def make_tasks(config: Config, index: Index, split: str = "test") -> tuple[Task, ...]:
    """The tasks of a split, by the data set's own protocol.

    Training images are measured by the protocol of all images.

    Raises:
      InputError: the images do not fit the protocol.
    """
    asked, pairs, rule = config.evaluation, _pairs(config), same_modality_rule(config)
    match config.data.name if split in SEARCHED_SPLITS else "":
        case "sysu":
            official = asked.protocol == "official"
            permutations = read_permutations(config.data.root) if official else None
            return sysu(index, pairs, asked.protocol, asked.trials, permutations, rule)
        case "llcm":
            return llcm(index, pairs, asked.trials, rule)
    return all_images(index, pairs, rule)


def protocol_name(config: Config, index: Index, split: str = "test") -> str:
    """The protocol of a split in words, which say if the split is not the published test set."""
    data, trials = config.data, config.evaluation.trials
    name, whole = "all images", True
    match data.name if split in SEARCHED_SPLITS else "":
        case "sysu":
            name = f"SYSU-MM01 {config.evaluation.protocol}, {plural(trials, 'trial')}"
            whole = is_test_set(index)
        case "llcm":
            name = f"LLCM, {plural(trials, 'trial')}"
            whole = len(index.classes) == published.LLCM_IDENTITIES["test"]
        case "regdb":
            name = f"RegDB split {data.trial}, all images"
            people = published.REGDB_IDENTITIES // 2
            whole = len(index.classes) == people and all(
                index.count(m) == people * published.REGDB_IMAGES
                for m in (Modality.VISIBLE, Modality.INFRARED)
            )
    if split == "val":
        name += ", validation identities"
    elif not whole:
        people = plural(len(index.classes), "person", "people")
        name += f", not its whole test set ({people}, {plural(len(index), 'image')})"
    if data.name in published.NAMES and is_generated(Path(data.root)):
        name += ", rendered people"
    junk, nobody = int(np.sum(index.identities == JUNK)), int(np.sum(~index.is_person))
    if nobody > junk:
        name += f", {plural(nobody - junk, 'distractor')}"
    if junk:
        name += f", without {plural(junk, 'junk image')}"
    asked, searched = int(np.sum(~index.in_gallery)), int(np.sum(~index.in_queries))
    if asked or searched:
        name += f", {plural(asked, 'image')} only as queries, {searched} only in the gallery"
    if config.evaluation.reranking != "none":
        name += ", with k-reciprocal re-ranking"
    return name


def require_unseen(config: Config, index: Index, split: str, trained_on: Collection[int]) -> None:
    """Raise InputError if the network was trained on people of a split."""
    shared = np.intersect1d(index.classes, np.array(list(trained_on), int)).tolist()
    if not shared:
        return
    which, mend = f"the split {split!r}", "evaluate it on other people"
    if config.data.name == "regdb":
        which = f"split {config.data.trial} of RegDB"
        mend = "evaluate it on its own split (data.trial)"
    elif split == "val":
        mend = "train with data.validation_split to hold them out"
    raise InputError(
        f"this network was trained on {len(shared)} of the {len(index.classes)} people in {which} "
        f"({some(shared)}): {mend}"
    )
