"""The three modalities, and which stem of a network takes which."""

import enum
from collections.abc import Collection


class Modality(enum.StrEnum):
    """A modality of an image, in the order their rows are stacked in a training batch.

    `INTERMEDIATE` is the privileged one: it is made from visible images (Eq. 4 of the paper), in
    training, and at test time only to measure what was learnt about it.
    """

    VISIBLE = "visible"
    INFRARED = "infrared"
    INTERMEDIATE = "intermediate"


def has_twins(modalities: Collection[str]) -> bool:
    """Whether visible images are among `modalities`, and the intermediate ones made of them."""
    return {Modality.VISIBLE, Modality.INTERMEDIATE} <= set(modalities)


def stem_for(modality: Modality, stems: Collection[Modality]) -> Modality | None:
    """The stem that images of `modality` go through in a network that has `stems`.

    Their own where there is one. A network of one modality takes every image through its only stem,
    and visible images and the intermediate ones made of them stand in for each other (Table 3 of
    the paper). None where nothing fits.
    """
    twins = {Modality.VISIBLE: Modality.INTERMEDIATE, Modality.INTERMEDIATE: Modality.VISIBLE}
    if modality in stems:
        return modality
    if len(stems) == 1:
        return next(iter(stems))
    twin = twins.get(modality)
    return twin if twin in stems else None
