"""The three modalities, and the choice of a network's stem for each."""

import enum
from collections.abc import Collection


class Modality(enum.StrEnum):
    """A modality of an image, in the order of the rows in a training batch.

    `INTERMEDIATE` is the privileged modality. Its images are made from visible ones (Eq. 4 of the
    paper) for training, and at test time only to measure what the network learnt about them.
    """

    VISIBLE = "visible"
    INFRARED = "infrared"
    INTERMEDIATE = "intermediate"


def has_twins(modalities: Collection[str]) -> bool:
    """Whether `modalities` has both visible images and the intermediate ones made from them."""
    return {Modality.VISIBLE, Modality.INTERMEDIATE} <= set(modalities)


def stem_for(modality: Modality, stems: Collection[Modality]) -> Modality | None:
    """Choose the stem for images of `modality` in a network that has `stems`.

    Images go through the stem of their own modality if the network has it. A network of one
    modality takes every image through its only stem. Visible and intermediate images may use each
    other's stem (Table 3 of the paper).

    Returns:
      The modality of the stem, or None if no stem fits.
    """
    twins = {Modality.VISIBLE: Modality.INTERMEDIATE, Modality.INTERMEDIATE: Modality.VISIBLE}
    if modality in stems:
        return modality
    if len(stems) == 1:
        return next(iter(stems))
    twin = twins.get(modality)
    return twin if twin in stems else None
