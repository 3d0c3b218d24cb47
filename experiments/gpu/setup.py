"""The setup of every part: sizes, places, and the images and configurations that it makes."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.benchmarks.work import Work
from experiments.gpu.figures import Record


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything to measure.

    Attributes:
      work: the network and its batch.
      factor: how many times as large the large batch is.
      steps: steps per timed turn.
      rounds: timed turns.
      images: images per training identity and modality.
      test: (identities, visible images per identity, infrared images per identity) to evaluate.
      trained: steps of an end-to-end training, and steps per row of its log.
      extracted: images whose features are extracted.
      compared: images whose features are compared between programs.
      small: the network of the evaluations that run at once.
      at_once: number of evaluations that run at once.
      side: side of the square matrices whose product is timed.
      length: length of the array whose copy is timed.
    """

    work: Work
    factor: int
    steps: int
    rounds: int
    images: int
    test: tuple[int, int, int]
    trained: tuple[int, int]
    extracted: int
    compared: int
    small: Work
    at_once: int
    side: int
    length: int


FULL = Sizes(
    work=Work(8, 4, dtype="bfloat16"),
    factor=4,
    steps=20,
    rounds=3,
    images=4,
    test=(100, 14, 13),
    trained=(600, 20),
    extracted=2048,
    compared=64,
    small=Work(8, 4, (96, 48), backbone="resnet18"),
    at_once=6,
    side=8192,
    length=2**28,
)

TINY = Sizes(
    work=Work(2, 2, (64, 32), classes=4, backbone="thin", dtype="bfloat16", stored=16),
    factor=2,
    steps=1,
    rounds=1,
    images=2,
    test=(3, 2, 2),
    trained=(6, 2),
    extracted=8,
    compared=4,
    small=Work(2, 2, (48, 32), classes=4, backbone="thin"),
    at_once=2,
    side=256,
    length=2**16,
)


@dataclasses.dataclass(frozen=True)
class Setup:
    """The setup of a run of the command.

    Attributes:
      scratch: directory for images, runs and compiled programs; deleted at the end.
      record: path of `gpu.json`, with the figures of earlier parts.
      tiny: whether sizes are for trying the command, not for measuring.
      seconds: seconds that the part may take.
    """

    scratch: str
    record: str
    tiny: bool
    seconds: float

    @property
    def sizes(self) -> Sizes:
        """How much of everything to measure."""
        return TINY if self.tiny else FULL

    @property
    def folder(self) -> Path:
        """Directory of the images, in the `folder` layout."""
        return self.at("images")

    @property
    def prepared(self) -> Path:
        """Directory of the same images, made by `lupi prepare`."""
        return self.at("prepared")

    @property
    def programs(self) -> Path:
        """Directory of the compiled programs that parts share."""
        return self.at("programs")

    def at(self, name: str) -> Path:
        """A path in the scratch directory."""
        return Path(self.scratch) / name

    def known(self, part: str, name: str) -> float | None:
        """A figure of an earlier part, None if that part has not found it."""
        return Record(Path(self.record)).value(part, name)


def make_images(setup: Setup) -> int:
    """Write the training and test images as JPEG files.

    Each person has a pattern and each image its own noise, so that training does not diverge. The
    images have the network's size.

    Returns:
      The number of images.
    """
    sizes = setup.sizes
    height, width = sizes.work.size
    people, *tested = sizes.test
    counts = [
        ("train", range(sizes.work.classes), (sizes.images, sizes.images)),
        ("test", range(sizes.work.classes, sizes.work.classes + people), tested),
    ]
    files = [
        (setup.folder / split / modality / f"{person:04d}" / f"c{1 + n % 2}_{n:04d}.jpg", person, n)
        for split, persons, (visible, infrared) in counts
        for modality, count in (("visible", visible), ("infrared", infrared))
        for person in persons
        for n in range(count)
    ]

    def write(file: tuple[Path, int, int]) -> None:
        path, person, n = file
        pattern = np.random.default_rng(person).integers(0, 200, (6, 3, 3))
        noise = np.random.default_rng((person, n, len(path.parts[-3]))).integers(0, 56, (6, 3, 3))
        image = Image.fromarray((pattern + noise).astype(np.uint8))
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((width, height), Image.Resampling.BILINEAR).save(path, quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, files))
    return len(files)


def write_config(path: Path, fields: dict[str, Any]) -> None:
    """Write a configuration file for `lupi`, from nested plain values."""
    path.write_text(
        "from ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict({fields!r})\n"
    )
