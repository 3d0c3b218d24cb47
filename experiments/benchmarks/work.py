"""The work of both sides: sizes, and images drawn from a seed."""

import dataclasses
from typing import Any, Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """A network and a batch.

    Attributes:
      identities: identities per batch.
      images: images per identity and modality.
      size: (height, width) in pixels.
      classes: training identities, SYSU-MM01's by default.
      backbone: our backbone; the peer has only resnet50.
      dtype: our dtype; the peer computes in float32, on a GPU with TF32.
      stored: images per modality to draw batches from.
    """

    identities: int = 4
    images: int = 2
    size: tuple[int, int] = (288, 144)
    classes: int = 395
    backbone: Literal["resnet50", "resnet34", "resnet18", "thin"] = "resnet50"
    dtype: Literal["float32", "bfloat16"] = "float32"
    stored: int = 512

    @property
    def rows(self) -> int:
        """Images per modality in a batch."""
        return self.identities * self.images


def fields(work: Work) -> dict[str, Any]:
    """Our configuration of `work`, nested by field; its images come from memory."""
    return {
        "steps": 1,
        "recipe": "released",
        "dtype": work.dtype,
        "data": {"name": "sysu", "root": "memory", "image_size": work.size},
        "batch": {"identities": work.identities, "images": work.images},
        "model": {"backbone": work.backbone},
        # The heads' rate is the paper's during warm-up.
        "optimizer": {"rate": 0.01, "warmup": 0, "milestones": (), "factors": ()},
    }


def make_images(work: Work, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visible and infrared images [count, h, w, 3] uint8 and their labels [count] int32."""
    rng = np.random.default_rng(0)
    shape = (2, count, *work.size, 3)
    visible, infrared = rng.integers(0, 256, shape, np.uint8)
    labels = np.arange(count, dtype=np.int32) // work.images % work.classes
    return visible, infrared, labels
