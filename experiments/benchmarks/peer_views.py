# pyright: reportMissingImports=false, reportArgumentType=false
"""The peer's images: Pillow augments them one by one, and a sampler draws batches."""

import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from experiments.benchmarks.work import Work

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (0.4914, 0.4822, 0.4465)  # the released code's fill of erased rectangles
PAD = 10


def augment(image: Image.Image) -> Tensor:
    """A view [3, h, w] of one image: pad, crop, flip, normalise, erase."""
    width, height = image.size
    image = ImageOps.expand(image, PAD)
    left, top = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
    image = image.crop((left, top, left + width, top + height))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    view = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)
    view = (view - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    if random.random() < 0.5:
        erase(view)
    return view


def erase(view: Tensor) -> None:
    """Random erasing, in place."""
    _, height, width = view.shape
    for _ in range(100):
        area, aspect = random.uniform(0.02, 0.4) * height * width, random.uniform(0.3, 1 / 0.3)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            view[:, top : top + h, left : left + w] = torch.tensor(FILL)[:, None, None]
            return


def random_channel(image: Image.Image) -> Image.Image:
    """The intermediate image of a visible one."""
    weights = np.array([random.random() for _ in range(3)])
    grey = (np.asarray(image) @ (weights / weights.sum())).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, 2))


class Views(torch.utils.data.Dataset):
    """The three views of the rows of a batch, from images held in memory as uint8."""

    def __init__(self, visible: np.ndarray, infrared: np.ndarray, labels: np.ndarray) -> None:
        self.visible, self.infrared, self.labels = visible, infrared, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor, int]:
        visible = Image.fromarray(self.visible[row])
        infrared = Image.fromarray(self.infrared[row])
        views = augment(visible), augment(infrared), augment(random_channel(visible))
        return *views, int(self.labels[row])


class Batches(torch.utils.data.Sampler):
    """Endless batches: identities without replacement, images of each with."""

    def __init__(self, work: Work, labels: np.ndarray) -> None:
        self.work = work
        self.rows = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            chosen = random.sample(list(self.rows), self.work.identities)
            yield [
                i for label in chosen for i in random.choices(self.rows[label], k=self.work.images)
            ]
