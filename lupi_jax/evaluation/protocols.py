"""Who queries whom: evaluation protocols as plain data."""

import dataclasses

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One retrieval task over the rows of a set of features.

    Attributes:
      query: [q] row numbers.
      gallery: [g] row numbers.
      cmc: what CMC counts, "image" or "identity".
    """

    query: np.ndarray
    gallery: np.ndarray
    cmc: str


NAME = "all against all, CMC over images"

DIRECTIONS = (
    (Modality.INFRARED, Modality.VISIBLE),
    (Modality.VISIBLE, Modality.INFRARED),
)


def all_against_all(modalities: np.ndarray, query: Modality, gallery: Modality) -> Trial:
    """Every image of one modality queries every image of the other; CMC over images.

    The protocol of the `folder` layout, and RegDB's.

    Args:
      modalities: [n] modality of every row.
      query: modality of the queries.
      gallery: modality of the gallery.

    Raises:
      InputError: one side is empty.
    """
    sides = [np.flatnonzero(modalities == m) for m in (query, gallery)]
    for modality, rows in zip((query, gallery), sides, strict=True):
        if not len(rows):
            raise InputError(f"the split has no {modality} image to evaluate {query} -> {gallery}")
    return Trial(sides[0], sides[1], "image")
