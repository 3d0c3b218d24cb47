"""The two sides of a search, queries and gallery: images of any names, or stored features."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lupi_jax.data import Index, read_any_images
from lupi_jax.data.sources.folder import note_passed_over
from lupi_jax.errors import InputError
from lupi_jax.evaluation.features import Features, holds_features, load_features
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import expand

Place = str | os.PathLike[str]
Images = Place | Sequence[Place] | Index
"""A picture file, a directory of pictures, a sequence of picture files, or an index of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """Queries or a gallery.

    Attributes:
      role: "query" or "gallery".
      name: what was given, for messages.
      modality: "visible" or "infrared".
      index: the images.
      features: the features of the images if they are stored; None if they are yet to be made.
      notes: lines about what was given and is not searched.
    """

    role: str
    name: str
    modality: Modality
    index: Index
    features: Features | None = None
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return [self.index.root / path for path in self.index.paths]


def read_query(images: Images, modality: Modality | str) -> Side:
    """The queries of a search.

    Raises:
      InputError: the file or directory is missing, or contains no images.
      OSError: a directory cannot be read.
      ValueError: the modality is neither visible nor infrared.
    """
    return _of_images("query", images, _of_a_camera("query", modality))


def read_gallery(images: Images | Features, modality: Modality | str) -> Side:
    """The gallery of a search, images or the features that `lupi export` stored.

    Raises:
      InputError: the file or directory is missing, or contains no images of the modality.
      OSError: a directory cannot be read.
      ValueError: the modality is neither visible nor infrared.
    """
    modality = _of_a_camera("gallery", modality)
    if isinstance(images, str | os.PathLike) and holds_features(expand(images)):
        return _of_features(str(images), load_features(expand(images)), modality)
    if isinstance(images, Features):
        return _of_features("gallery", images, modality)
    return _of_images("gallery", images, modality)


def _of_a_camera(role: str, modality: Modality | str) -> Modality:
    if modality not in (Modality.VISIBLE, Modality.INFRARED):
        raise ValueError(f"{role}_modality must be visible or infrared, not {str(modality)!r}")
    return Modality(modality)


def _of_images(role: str, images: Images, modality: Modality) -> Side:
    if isinstance(images, Index):
        return Side(role, str(images.root), modality, images)
    if isinstance(images, str | os.PathLike):
        passed_over: list[Path] = []
        index = read_any_images(expand(images), modality, passed_over.append)
        notes = tuple(note_passed_over(Path(images), passed_over))
        return Side(role, str(images), modality, index, notes=notes)
    paths = [expand(image).as_posix() for image in images]
    if not paths:
        raise InputError(f"no {role} images are given: give at least one path")
    unknown = np.full(len(paths), -1, np.int32)
    modalities = np.full(len(paths), str(modality))
    index = Index(Path(), np.array(paths), unknown, unknown, modalities)
    return Side(role, f"{len(paths)} paths", modality, index)


def _of_features(name: str, features: Features, modality: Modality) -> Side:
    index = features.index
    of_modality = index.modalities == modality
    if not of_modality.any():
        raise InputError(
            f"{name}: no {modality} features in it: give another --gallery-modality or export such "
            "images"
        )
    notes = []
    if queries := int((of_modality & ~index.in_gallery).sum()):
        what = f"{queries} of {of_modality.sum()} {modality} images"
        if queries == of_modality.sum():
            raise InputError(f"{name}: {what} have the role query: give a gallery to search")
        notes.append(f"{name}: {what} are passed over, because their role is query")
    return Side("gallery", name, modality, index, features, tuple(notes))
