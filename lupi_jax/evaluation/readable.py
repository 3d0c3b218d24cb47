"""Images that nobody has checked: features of those that can be read, and how coloured they are."""

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
"""Levels of 255 between an image's lowest and highest channel, on average over its pixels: up to
`GREY` it has no colour, from `COLOURED` on it has. A grey picture saved in colour has 0, as a JPEG
of any quality, and 3 with noise of 3 levels in every channel; 19 of 20 photographs of people by
day have 6 and more, half of them 18."""


class Readable(NamedTuple):
    """What embedding unchecked images gave.

    Attributes:
      features: of the m images that could be read, in their order.
      faults: a line on each of the others, which names it.
      spreads: [m] float, the colour of each image in the unit of `COLOURED`.
    """

    features: Features
    faults: list[str]
    spreads: np.ndarray


def colour_spread(image: np.ndarray) -> float:
    """How coloured an image [h, w, 3] uint8 is, from 0 to 255, in the unit of `COLOURED`."""
    return float(np.mean(image.max(-1) - image.min(-1)))


def doubt(spreads: np.ndarray, modality: str) -> tuple[str, str]:
    """What speaks against images being of `modality`, and which they may be; "" where nothing does.

    Args:
      spreads: [n] `colour_spread` of each.
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
    """As `embed_index`, without the images of `index` that cannot be read.

    Raises:
      InputError: none of them can be read, or as `embed_index`.
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
        others = f"; and no other of {len(index)} images can be read" if len(index) > 1 else ""
        raise InputError(f"{faults[0]}{others}")
    kept = np.array([row not in faults for row in range(len(index))])
    lines = [faults[row] for row in sorted(faults)]
    return Readable(features if kept.all() else features[kept], lines, spreads[kept])
