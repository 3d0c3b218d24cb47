"""Images as data that a page contains."""

import base64
import dataclasses
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT = 144  # largest height in pixels; a page has hundreds of images


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """An image in a page: a data URI, its size in pixels, and its description."""

    uri: str
    width: int
    height: int
    alt: str


def thumbnail(image: NDArray[np.uint8], alt: str) -> Thumbnail:
    """A JPEG of an image [h, w, 3] uint8, scaled down to `HEIGHT` if it is higher."""
    picture = Image.fromarray(image)
    if picture.height > HEIGHT:
        width = max(1, round(picture.width * HEIGHT / picture.height))
        picture = picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    data = base64.b64encode(out.getvalue()).decode()
    return Thumbnail(f"data:image/jpeg;base64,{data}", picture.width, picture.height, alt)
