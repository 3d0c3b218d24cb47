"""The index of a data set: arrays of path, identity, camera and modality."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lupi_jax.errors import InputError, some
from lupi_jax.modality import Modality

JUNK = -1
"""The identity of images that an evaluation ignores, as in Market-1501: bad detections, and people
without a label."""

DISTRACTOR = 0
"""The identity of Market-1501's distractors, other people who are in the gallery but never a query.
In other data sets 0 is a person; `Index.distractors` tells the two apart."""

ROLES = ("query", "gallery")
"""The roles of an image in an evaluation, if it does not have both."""


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """n images on disk.

    Attributes:
      root: directory that contains the data set.
      paths: [n] str, relative to `root`, with forward slashes.
      identities: [n] int32, the data set's own numbers.
      cameras: [n] int32, the data set's own numbers.
      modalities: [n] str, values of `Modality`.
      distractors: whether identity 0 is `DISTRACTOR` rather than a person.
      roles: [n] str, one of `ROLES`, or "" for an image with both roles; None if all have both.
    """

    root: Path
    paths: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    modalities: np.ndarray
    distractors: bool = dataclasses.field(default=False, kw_only=True)
    roles: np.ndarray | None = dataclasses.field(default=None, kw_only=True)

    @property
    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.paths, self.identities, self.cameras, self.modalities

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: np.ndarray) -> "Index":
        """The images of `rows`, a boolean mask or row numbers."""
        columns = (column[rows] for column in self._columns)
        roles = None if self.roles is None else self.roles[rows]
        return Index(self.root, *columns, distractors=self.distractors, roles=roles)

    def count(self, modality: Modality) -> int:
        """Number of images in a modality."""
        return int(np.sum(self.modalities == modality))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any path, identity, camera, modality or role."""
        digest = hashlib.sha256()
        roles = () if self.roles is None or not self.has_roles else (self.roles,)
        for array in (*self._columns, *roles):
            digest.update("\0".join(map(str, array)).encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()[:16]

    @property
    def is_person(self) -> np.ndarray:
        """[n] bool, False for junk and distractors; only people are trained on and searched for."""
        return ~np.isin(self.identities, [JUNK, DISTRACTOR] if self.distractors else [JUNK])

    @property
    def has_roles(self) -> bool:
        """Whether any image is only a query, or only in the gallery."""
        return self.roles is not None and bool((self.roles != "").any())

    @property
    def in_queries(self) -> np.ndarray:
        """[n] bool, False for images that are only in the gallery."""
        return np.ones(len(self), bool) if self.roles is None else self.roles != "gallery"

    @property
    def in_gallery(self) -> np.ndarray:
        """[n] bool, False for images that are only queries."""
        return np.ones(len(self), bool) if self.roles is None else self.roles != "query"

    @property
    def classes(self) -> np.ndarray:
        """Sorted distinct identities of people; a training label is a position in this array."""
        return np.unique(self.identities[self.is_person])

    @property
    def labels(self) -> np.ndarray:
        """[n] int32 training labels, 0..len(classes)-1; every image must show a person."""
        return np.searchsorted(self.classes, self.identities).astype(np.int32)


class Row(NamedTuple):
    """One image of an `Index`."""

    path: str
    identity: int
    camera: int
    modality: str
    role: str = ""


def make_index(root: Path, rows: list[Row]) -> Index:
    """The index of `rows` in their order; at least one row."""
    paths, identities, cameras, modalities, roles = zip(*rows, strict=True)
    return Index(
        root,
        np.array(paths),
        np.array(identities, np.int32),
        np.array(cameras, np.int32),
        np.array(modalities),
        roles=np.array(roles) if any(roles) else None,
    )


def concatenate(parts: Sequence[Index]) -> Index:
    """The images of all `parts`, in order; at least one part, and all with the same root."""
    columns = zip(*(part._columns for part in parts), strict=True)
    joined = map(np.concatenate, columns)
    roles = None
    if any(part.roles is not None for part in parts):
        every = [np.full(len(p), "") if p.roles is None else p.roles for p in parts]
        roles = np.concatenate(every)
    return Index(parts[0].root, *joined, distractors=parts[0].distractors, roles=roles)


def require_modalities(index: Index, modalities: tuple[Modality, ...]) -> None:
    """Check that every identity has at least one image in each of `modalities`.

    Raises:
      InputError: identities lack a modality; the message names them.
    """
    for modality in modalities:
        present = np.unique(index.identities[index.modalities == modality])
        mend = "add images or remove them"
        if not len(present) and len(only := np.unique(index.modalities)) == 1:
            mend = f"add images, or use {alone(only[0])}"
        lacking = np.setdiff1d(index.classes, present)
        if len(lacking):
            raise InputError(
                f"{index.root}: no {modality} image of {len(lacking)} of its identities "
                f"({some(lacking.tolist())}): training needs every identity in every modality; "
                f"{mend}"
            )


def alone(modality: str) -> str:
    """How to use images of one modality without the other, for messages."""
    return (
        f"{modality} images alone, --config.modalities=\"('{modality}',)\" "
        f"--config.evaluation.pairs=\"('{modality}_to_{modality}',)\""
    )


def hold_out(index: Index, identities: int, seed: int) -> tuple[Index, Index]:
    """Hold out `identities` identities, drawn by `seed`; returns (the rest, the held-out images).

    Raises:
      InputError: fewer than two identities would remain.
    """
    classes = index.classes
    if identities > len(classes) - 2:
        raise InputError(
            f"data.validation_identities = {identities} leaves fewer than two of the "
            f"{len(classes)} training identities of {index.root}: hold out fewer"
        )
    held = np.random.default_rng([seed, 0x5E1]).choice(classes, identities, replace=False)
    mask = np.isin(index.identities, held)
    return index[~mask], index[mask]
