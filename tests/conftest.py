"""Tiny image folders for whoever needs real files."""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# {split: {modality: {identity directory: number of images}}}
Layout = Mapping[str, Mapping[str, Mapping[str, int]]]
SIZE = (48, 24)  # (height, width)


def _write_image(file: Path) -> None:
    """A JPEG that no other path has: coarse noise, seeded by the file's own place."""
    rng = np.random.default_rng(zlib.crc32("/".join(file.parts[-4:]).encode()))
    blocks = rng.integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(file, quality=90)


@pytest.fixture(scope="session")
def write_image() -> Callable[[Path], None]:
    return _write_image


@pytest.fixture(scope="session")
def write_layout() -> Callable[[Path, Layout], Path]:
    """Write `<split>/<modality>/<identity>/c<1 or 2>_<n>.jpg` and return the root."""

    def write(root: Path, layout: Layout) -> Path:
        for split, modalities in layout.items():
            for modality, people in modalities.items():
                for person, count in people.items():
                    for n in range(count):
                        name = f"c{1 + n % 2}_{n:04d}.jpg"
                        _write_image(root / split / modality / person / name)
        return root

    return write
