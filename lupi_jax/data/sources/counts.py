"""Counts a data set's identities and images, and compares them with the expected numbers."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lupi_jax.data.index import ROLES, Index
from lupi_jax.data.sources import published, regdb, sysu_mm01
from lupi_jax.data.sources.manifest import MANIFEST, is_generated, read_manifest
from lupi_jax.errors import InputError, plural
from lupi_jax.modality import Modality

_MODALITIES = (Modality.VISIBLE, Modality.INFRARED)


class Group(NamedTuple):
    """Images that are counted together.

    Attributes:
      split: "train", "val", "test" or "all"; for RegDB with the trial, as in "train 3".
      modality: "visible", "infrared" or "all".
      camera: number of a camera, or None for all cameras.
    """

    split: str
    modality: str = "all"
    camera: int | None = None


class Size(NamedTuple):
    """Expected numbers of identities and images; None if unknown."""

    identities: int | None = None
    images: int | None = None


@dataclasses.dataclass(frozen=True)
class Count:
    """The numbers of identities and images in a `Group`, or in SYSU-MM01's "in no list".

    The expected numbers are published, or come from a synthetic set's manifest; None if unknown.
    If `role` is set, only images with this role (`Index.roles`) count.
    """

    split: str
    modality: str
    camera: int | None
    identities: int
    images: int
    expected_identities: int | None = None
    expected_images: int | None = None
    role: str = ""

    @property
    def fault(self) -> str:
        """How the numbers differ from the expected ones; "" if they do not."""
        pairs = {
            "identity": (self.identities, self.expected_identities),
            "image": (self.images, self.expected_images),
        }
        wrong = [
            f"{plural(n, what)}, not {m}" for what, (n, m) in pairs.items() if m not in (None, n)
        ]
        if not wrong:
            return ""
        camera = "" if self.camera is None else f", camera {self.camera}"
        which = "" if self.modality == "all" else f" ({self.modality}{camera})"
        advice = "restore what is missing, or move away what was added"
        return f"{' and '.join(wrong)}{which}: {advice}"


def count_split(split: str, index: Index, expected: Mapping[Group, Size]) -> list[Count]:
    """Count the identities and images of a split: per camera, per modality and in all.

    A modality with one camera has only the camera's count, and no count of its own. A group in
    `expected` is always counted, even if it is empty or repeats another.
    """
    groups = {Group(split)} | {group for group in expected if group.split == split}
    for modality in _MODALITIES:
        cameras = np.unique(index.cameras[index.modalities == modality]).tolist()
        groups |= {Group(split, modality, camera) for camera in cameras}
        if len(cameras) != 1:
            groups.add(Group(split, modality))

    def place(group: Group) -> tuple[int, bool, int]:
        modality = [*_MODALITIES, "all"].index(group.modality)
        return modality, group.camera is None, group.camera or 0

    return [count_group(group, index, expected) for group in sorted(groups, key=place)]


def count_roles(split: str, index: Index) -> list[Count]:
    """Count the identities and images per modality and role; [] if no image has a role."""
    if index.roles is None:
        return []
    counts = []
    for modality in _MODALITIES:
        for role in ROLES:
            own = index[(index.modalities == modality) & (index.roles == role)]
            if len(own):
                people, images = len(own.classes), len(own)
                counts.append(Count(split, str(modality), None, people, images, role=role))
    return counts


def count_group(group: Group, index: Index, expected: Mapping[Group, Size]) -> Count:
    """Count the images of `index` with a group's modality and camera, and their identities."""
    of_group = np.ones(len(index), bool)
    if group.modality != "all":
        of_group &= index.modalities == group.modality
    if group.camera is not None:
        of_group &= index.cameras == group.camera
    found = len(index[of_group].classes), int(of_group.sum())
    split, modality, camera = group
    return Count(split, str(modality), camera, *found, *expected.get(group, Size()))


def expected_sizes(name: str, root: Path) -> dict[Group, Size]:
    """The expected sizes of a data set, as published or from a synthetic set's manifest.

    Raises:
      InputError: the synthetic set is unfinished, or its manifest is damaged.
    """
    if not os.path.isdir(root):  # the readers report it
        return {}
    generated = name == "synthetic" or is_generated(root)
    return _generated_sizes(name, root) if generated else published_sizes(name)


def _generated_sizes(name: str, root: Path) -> dict[Group, Size]:
    manifest = read_manifest(root)
    try:
        splits = {
            split: (int(count["identities"]), int(count["visible"]), int(count["infrared"]))
            for split, count in manifest["counts"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{root / MANIFEST} does not say how many images the set has: generate it again"
        ) from error
    if name == "sysu" and {"train", "val"} <= splits.keys():  # `read_sysu` joins the two
        (p, v, i), (q, w, j) = splits["train"], splits["val"]
        splits["train"] = p + q, v + w, i + j
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
    """The published sizes of "sysu", "regdb" or "llcm"; {} for another data set."""
    sizes = {}
    if name == "sysu":
        people = published.SYSU_IDENTITIES
        sizes[Group("train")] = Size(people["train"] + people["val"], None)
        sizes[Group("val")] = Size(people["val"], None)
        sizes[Group("test")] = Size(people["test"], None)
        for modality, images in published.SYSU_TRAINING_IMAGES.items():
            sizes[Group("train", modality)] = Size(None, images)
        for camera, images in published.SYSU_TEST_IMAGES.items():
            sizes[Group("test", sysu_mm01.CAMERAS[camera], camera)] = Size(None, images)
    elif name == "regdb":
        people, each = published.REGDB_IDENTITIES, published.REGDB_IMAGES
        for trial in regdb.TRIALS:
            for split in ("train", "test"):
                for modality, camera in regdb.CAMERAS.items():
                    group = Group(part_name(split, trial), modality, camera)
                    sizes[group] = Size(people // 2, people // 2 * each)
        sizes[Group("all")] = Size(people, 2 * people * each)
    elif name == "llcm":
        for split, people in published.LLCM_IDENTITIES.items():
            sizes[Group(split)] = Size(people, None)
        sizes[Group("all")] = Size(sum(published.LLCM_IDENTITIES.values()), published.LLCM_IMAGES)
    return sizes


def part_name(split: str, trial: int | None) -> str:
    """The name of a split in a `Group`; `trial` is RegDB's, else None."""
    return split if trial is None else f"{split} {trial}"


class Part(NamedTuple):
    """A split that could be read; `trial` is None except for RegDB."""

    split: str
    trial: int | None
    index: Index

    @property
    def name(self) -> str:
        """The name of the split in a `Group`."""
        return part_name(self.split, self.trial)
