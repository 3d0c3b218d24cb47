"""The three modalities a network is trained on."""

import enum


class Modality(enum.StrEnum):
    """A modality of an image, in the order their rows are stacked in a training batch.

    `INTERMEDIATE` is the privileged one: it is made from visible images during training only
    (Eq. 4 of the paper) and is never asked for at test time.
    """

    VISIBLE = "visible"
    INFRARED = "infrared"
    INTERMEDIATE = "intermediate"
