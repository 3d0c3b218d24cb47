"""Unchecked images: the features of all that can be read, and how coloured the images are."""

from typing import Any, NamedTuple

import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import Index, make_reader
from lupi_jax.errors import InputError, plural
from lupi_jax.evaluation.embedding import embed_index
from lupi_jax.evaluation.features import Features
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.progress import Show, silent

GREY = 1.0
COLOURED = 5.0
"""Difference between a pixel's highest and lowest channel, from 0 to 255, averaged over an image.
Up to `GREY` an image counts as grey, from `COLOURED` on as coloured. A grey picture saved in colour
has 0, also as a JPEG of any quality, and 3 with noise of 3 levels in every channel. 19 of 20
photographs of people by day have 6 or more; the median is 18."""


class Readable(NamedTuple):
    """The result of embedding unchecked images.

    Attributes:
      features: features of the m images that could be read, in the given order.
      faults: one line per other image, which names the image and its fault.
      spreads: [m] float, `colour_spread` of each image that could be read.
    """

    features: Features
    faults: list[str]
    spreads: np.ndarray


def colour_spread(image: np.ndarray) -> float:
    """How coloured an image [h, w, 3] uint8 is, from 0 to 255, in the unit of `COLOURED`."""
    return float(np.mean(image.max(-1) - image.min(-1)))


def doubt(spreads: np.ndarray, modality: str) -> tuple[str, str]:
    """Why images may not have the modality that was given, and the modality they may have instead.

    Both are "" if nothing looks wrong.

    Args:
      spreads: [n] `colour_spread` of each image.
      modality: "visible" or "infrared".
    """
    count, coloured = len(spreads), int((spreads >= COLOURED).sum())
    if modality == Modality.INFRARED and coloured:
        return f"{coloured} of {plural(count, 'image')} look coloured", str(Modality.VISIBLE)
    if modality == Modality.VISIBLE and count and (spreads <= GREY).all():
        return f"all of {plural(count, 'image')} look grey", str(Modality.INFRARED)
    return "", ""


def embed_readable(
    config: Config, model: EmbedNet, variables: Any, index: Index, show: Show = silent
) -> Readable:
    """Embed the images of `index` that can be read.

    Args:
      config: as in `embed_index`.
      model: as in `embed_index`.
      variables: as in `embed_index`.
      index: the images.
      show: shows how many images are embedded.

    Raises:
      InputError: no image can be read, or `embed_index` raises it for another reason.
    """
    size = config.data.image_size
    read = make_reader(index, size, config.data.prepared)
    faults: dict[int, str] = {}
    spreads = np.zeros(len(index))

    def read_if_any(row: int) -> np.ndarray:
        try:
            image = read(row)
        except InputError as error:
            faults[row] = str(error)
            return np.zeros((*size, 3), np.uint8)  # its feature is dropped below
        spreads[row] = colour_spread(image)
        return image

    features = embed_index(config, model, variables, index, show=show, read=read_if_any)
    if len(faults) == len(index):
        others = (
            f"; the other images cannot be read either ({len(index)} in all)"
            if len(index) > 1
            else ""
        )
        raise InputError(f"{faults[0]}{others}")
    kept = np.array([row not in faults for row in range(len(index))])
    lines = [faults[row] for row in sorted(faults)]
    return Readable(features if kept.all() else features[kept], lines, spreads[kept])
