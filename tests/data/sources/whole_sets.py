"""Small whole data sets in every layout, and what tests do to copies of them."""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lupi_jax.data.sources.manifest import GENERATOR


class Layout(NamedTuple):
    """What is where in a small whole data set.

    `victim` is a training image; `other` one of another identity, `twin` one of the same identity
    in the other modality, `tested` a test image.
    """

    victim: str
    other: str
    twin: str
    tested: str
    lists: tuple[str, ...] = ()


MANIFEST = "synthetic.json"

LAYOUTS = {
    "folder": Layout(
        "train/visible/0001/c1_0001.jpg",
        "train/visible/0002/c1_0001.jpg",
        "train/infrared/0001/c1_0001.jpg",
        "test/visible/0007/c1_0001.jpg",
    ),
    "sysu": Layout(
        "cam1/0001/0001.jpg",
        "cam1/0002/0001.jpg",
        "cam3/0001/0001.jpg",
        "cam1/0004/0001.jpg",
        ("exp/train_id.txt", "exp/val_id.txt", "exp/test_id.txt"),
    ),
    "regdb": Layout(
        "Visible/1/v_1.bmp",
        "Visible/2/v_1.bmp",
        "Thermal/1/t_1.bmp",
        "Visible/3/v_1.bmp",
        ("idx/train_visible_1.txt", "idx/test_thermal_1.txt"),
    ),
    "llcm": Layout(
        "vis/0001/0001_c01_1_vis.jpg",
        "vis/0002/0002_c01_1_vis.jpg",
        "nir/0001/0001_c01_1_nir.jpg",
        "test_vis/cam1/0003/0003_c01_1_vis.jpg",
        ("idx/train_vis.txt", "idx/train_nir.txt", "idx/test_id.txt"),
    ),
}


def save(file: Path, mode: str = "RGB", **options) -> None:
    """An image that no other path has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32("/".join(file.parts[-4:]).encode()))
    image = Image.fromarray(rng.integers(0, 256, (8, 4, 3), np.uint8)).convert(mode)
    image.save(file, **options)


def save_all(root: Path, paths: list[str]) -> None:
    for path in paths:
        save(root / path)


def write_folder(root: Path) -> None:
    save_all(
        root,
        [
            f"{split}/{modality}/{person:04d}/c{n}_0001.jpg"
            for split, people in (("train", (1, 2, 3)), ("test", (7, 8)))
            for modality in ("visible", "infrared")
            for person in people
            for n in (1, 2)
        ],
    )


def write_sysu(root: Path) -> None:
    cameras, people = range(1, 7), range(1, 6)
    save_all(root, [f"cam{c}/{person:04d}/0001.jpg" for c in cameras for person in people])
    (root / "exp").mkdir()
    for name, text in (("train", "1,2"), ("val", "3"), ("test", "4,5")):
        (root / f"exp/{name}_id.txt").write_text(text + "\n")


def write_regdb(root: Path) -> None:
    (root / "idx").mkdir(parents=True)
    for trial in range(1, 11):
        halves = ((1, 2), (3, 4)) if trial % 2 else ((3, 1), (4, 2))
        for split, people in zip(("train", "test"), halves, strict=True):
            for folder in ("Visible", "Thermal"):
                paths = [
                    (f"{folder}/{person}/{folder[0].lower()}_{n}.bmp", label)
                    for label, person in enumerate(people)
                    for n in (1, 2)
                ]
                save_all(root, [path for path, _ in paths if trial == 1])
                lines = "".join(f"{path} {label}\n" for path, label in paths)
                (root / f"idx/{split}_{folder.lower()}_{trial}.txt").write_text(lines)


def write_llcm(root: Path) -> None:
    (root / "idx").mkdir(parents=True)
    (root / "idx/test_id.txt").write_text("3,4\n")
    for name, cameras in (("vis", "123456789"), ("nir", "12456789")):
        lines = ""
        for label, person in enumerate((1, 2)):
            for n in (1, 2):
                path = f"{name}/{person:04d}/{person:04d}_c0{n}_{n}_{name}.jpg"
                save(root / path)
                lines += f"{path} {label}\n"
        (root / f"idx/train_{name}.txt").write_text(lines)
        for camera in cameras:
            (root / f"test_{name}/cam{camera}").mkdir(parents=True)
        for person in (3, 4):
            for c in (1, 2):
                save(root / f"test_{name}/cam{c}/{person:04d}/{person:04d}_c0{c}_1_{name}.jpg")


COUNTS = {
    "folder": {"train": (3, 6), "test": (2, 4)},
    "sysu": {"train": (2, 8), "val": (1, 4), "test": (2, 8)},
    "regdb": {"train": (2, 4), "test": (2, 4)},
    "llcm": {"train": (2, 4), "test": (2, 4)},
}
"""Layout -> split -> identities, and visible images (as many infrared ones, except in sysu)."""


def write_whole(root: Path, layout: str) -> Path:
    """A data set, with the manifest that tells how many images it has."""
    {"folder": write_folder, "sysu": write_sysu, "regdb": write_regdb, "llcm": write_llcm}[layout](
        root
    )
    counts = {
        split: {
            "identities": identities,
            "visible": visible,
            "infrared": visible // 2 if layout == "sysu" else visible,
        }
        for split, (identities, visible) in COUNTS[layout].items()
    }
    manifest = {"generator": GENERATOR, "layout": layout, "counts": counts}
    (root / MANIFEST).write_text(json.dumps(manifest))
    return root


class Site(NamedTuple):
    """A copy of a whole data set, to be damaged."""

    root: Path
    layout: Layout

    @property
    def file(self) -> Path:
        return self.root / self.layout.victim

    @property
    def person(self) -> Path:
        return self.file.parent

    def put(self, make: Callable[[Path], object]) -> None:
        """Something else in the victim's place."""
        self.file.unlink()
        make(self.file)

    def swap(self, make: Callable[[Path], object]) -> None:
        """Something else in the place of the victim's directory."""
        shutil.rmtree(self.person)
        make(self.person)

    def suffix(self, suffix: str) -> None:
        self.file.rename(self.file.with_suffix(suffix))

    def rename(self, name: str) -> None:
        """Another name for the victim, in the lists, too."""
        self.file.rename(self.person / name)
        for file in self.root.glob("idx/*.txt"):
            text = file.read_text().replace(f"/{self.person.name}/{self.file.name}", "\0")
            file.write_text(text.replace("\0", f"/{self.person.name}/{name}"), encoding="utf-8")

    def elsewhere(self, path: Path) -> None:
        """Move something out of the data set and leave a link."""
        moved = self.root.parent / "elsewhere"
        path.rename(moved)
        path.symlink_to(moved)

    def append(self, path: str, text: str) -> None:
        (self.root / path).write_text((self.root / path).read_text() + text, encoding="utf-8")

    def write(self, path: str, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def copy(self, path: str, to: str) -> None:
        copy = shutil.copytree if (self.root / path).is_dir() else shutil.copyfile
        copy(self.root / path, self.root / to)

    def remove(self, path: str) -> None:
        remove = shutil.rmtree if (self.root / path).is_dir() else os.unlink
        remove(self.root / path)
