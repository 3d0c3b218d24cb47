"""How many identities and images a data set has, and should have: as published, as generated."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lupi_jax.data.index import Index
from lupi_jax.data.sources import published, regdb, sysu_mm01
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.synthetic.writing import MANIFEST, MARKER, read_manifest


class Group(NamedTuple):
    """Images that are counted together: of a split, of one modality or "all", of a camera or all.

    The split is "train", "val" or "test", for RegDB with its number ("train 3"), or "all".
    """

    split: str
    modality: str = "all"
    camera: int | None = None


class Size(NamedTuple):
    """How many there are; None where nobody said."""

    identities: int | None
    images: int | None


UNKNOWN = Size(None, None)

_MODALITIES = (Modality.VISIBLE, Modality.INFRARED)


def count_groups(
    split: str, index: Index, asked: Collection[Group] = ()
) -> dict[Group, tuple[int, int]]:
    """Count the identities and images of each camera, of each modality and of all of a split.

    Args:
      split: its name in a `Group`.
      index: its images.
      asked: groups to count even where there is nothing, or the same as in another.
    """
    members = {
        Group(split, modality, camera): (index.modalities == modality) & (index.cameras == camera)
        for modality in _MODALITIES
        for camera in np.unique(index.cameras[index.modalities == modality]).tolist()
    }
    cameras = [group.modality for group in members]
    for modality in _MODALITIES:
        group = Group(split, modality)
        if cameras.count(modality) != 1 or group in asked:
            members[group] = index.modalities == modality
    members[Group(split)] = np.ones(len(index), bool)
    for group in asked:
        members.setdefault(group, np.zeros(len(index), bool))
    return {
        group: (len(np.unique(index.identities[members[group]])), int(members[group].sum()))
        for group in sorted(members, key=_place)
    }


def is_generated(root: Path) -> bool:
    """Whether a synthetic set was written or begun at `root`."""
    return (root / MANIFEST).exists() or (root / MARKER).exists()


def generated_sizes(name: str, root: Path) -> dict[Group, Size]:
    """What the manifest of a synthetic set says.

    Args:
      name: of the layout that it is read in, "sysu", "regdb", or another.
      root: of the set.

    Raises:
      InputError: the set is half-written, or its manifest damaged.
    """
    try:
        splits = {
            split: (count["identities"], count["visible"], count["infrared"])
            for split, count in read_manifest(root)["counts"].items()
        }
        if not all(isinstance(n, int) for numbers in splits.values() for n in numbers):
            raise TypeError
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{root / MANIFEST} does not say how many images the set has: generate it again"
        ) from error
    if name == "sysu" and {"train", "val"} <= splits.keys():  # which are trained on together
        both = zip(splits["train"], splits["val"], strict=True)
        splits["train"] = tuple(a + b for a, b in both)
    sizes = {}
    for split, (identities, visible, infrared) in splits.items():
        for trial in regdb.TRIALS if name == "regdb" else (None,):
            named = part_name(split, trial)
            sizes[Group(named)] = Size(identities, None)
            for modality, images in ((Modality.VISIBLE, visible), (Modality.INFRARED, infrared)):
                camera = None if trial is None else regdb.CAMERAS[modality]
                sizes[Group(named, modality, camera)] = Size(None, images)
    return sizes


def published_sizes(name: str) -> dict[Group, Size]:
    """What the authors of "sysu", "regdb" or "llcm" say; nothing of another data set."""
    match name:
        case "sysu":
            return _sysu()
        case "regdb":
            return _regdb()
        case "llcm":
            sizes = {Group(split): Size(n, None) for split, n in published.LLCM_IDENTITIES.items()}
            total = sum(published.LLCM_IDENTITIES.values())
            return sizes | {Group("all"): Size(total, published.LLCM_IMAGES)}
    return {}


def part_name(split: str, trial: int | None) -> str:
    """What a `Group` calls a split; `trial` is RegDB's."""
    return split if trial is None else f"{split} {trial}"


def _place(group: Group) -> tuple[int, bool, int]:
    """Visible first, and what others are parts of after them."""
    modality = [*_MODALITIES, "all"].index(group.modality)
    return modality, group.camera is None, group.camera or 0


def _sysu() -> dict[Group, Size]:
    identities = published.SYSU_IDENTITIES
    sizes = {
        Group("train", modality): Size(None, images)
        for modality, images in published.SYSU_TRAINING_IMAGES.items()
    }
    sizes[Group("train")] = Size(identities["train"] + identities["val"], None)
    sizes[Group("val")] = Size(identities["val"], None)
    sizes[Group("test")] = Size(identities["test"], None)
    for camera, images in published.SYSU_TEST_IMAGES.items():
        sizes[Group("test", sysu_mm01.CAMERAS[camera], camera)] = Size(None, images)
    return sizes


def _regdb() -> dict[Group, Size]:
    people, each = published.REGDB_IDENTITIES, published.REGDB_IMAGES
    sizes = {
        Group(part_name(split, trial), modality, camera): Size(people // 2, people // 2 * each)
        for trial in regdb.TRIALS
        for split in ("train", "test")
        for modality, camera in regdb.CAMERAS.items()
    }
    return sizes | {Group("all"): Size(people, 2 * people * each)}
