"""Pixels to images that a page holds in itself."""

import base64
import dataclasses
import io

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

HEIGHT = 144
"""Pixels of a thumbnail at most: a page holds hundreds."""


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """An image in a page.

    Attributes:
      uri: a data URI.
      width: in pixels.
      height: in pixels.
      alt: what it shows, for whoever does not see it.
    """

    uri: str
    width: int
    height: int
    alt: str


def thumbnail(image: NDArray[np.uint8], alt: str) -> Thumbnail:
    """A JPEG of an image [h, w, 3] uint8, scaled down to `HEIGHT` where it is higher."""
    picture = Image.fromarray(image)
    if picture.height > HEIGHT:
        width = max(1, round(picture.width * HEIGHT / picture.height))
        picture = picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    data = base64.b64encode(out.getvalue()).decode()
    return Thumbnail(f"data:image/jpeg;base64,{data}", picture.width, picture.height, alt)


def heat(image: NDArray[np.uint8], shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A map laid over the grey image.

    Args:
      image: [h, w, 3] uint8.
      shares: [a, b], not negative; 0 is dark, the largest bright.

    Returns:
      [h, w, 3] uint8.
    """
    height, width = image.shape[:2]
    scaled = Image.fromarray((shares / max(shares.max(), 1e-12)).astype(np.float32))
    smooth = np.asarray(scaled.resize((width, height), Image.Resampling.BICUBIC))
    colours = colormaps["inferno"](np.clip(smooth, 0, 1))[..., :3] * 255
    grey = image.astype(np.float64).mean(-1, keepdims=True)
    return (0.35 * grey + 0.65 * colours).round().astype(np.uint8)
