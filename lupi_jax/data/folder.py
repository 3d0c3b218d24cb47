"""The folder layout: `{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`."""

import re
from pathlib import Path

import numpy as np

from lupi_jax.data.index import Index
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

SPLITS = ("train", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_NUMBER = r"\d{1,9}"  # fits an int32
_IDENTITY = re.compile(_NUMBER)
_FILE = re.compile(rf"c({_NUMBER})_.+")


def read_folder(root: str | Path, split: str) -> Index:
    """Index one split of a data set in the folder layout, sorted by path.

    Identities are whole numbers (the directories' names, leading zeros allowed). A split may
    lack images of one modality; files of other kinds are passed over.

    Raises:
      InputError: the root or split is missing or empty, or a name does not fit the layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(
            f"no data at {root}: correct data.root (after training: --data-root), or make "
            f"synthetic people with `lupi make-synthetic --out {root}`"
        )
    if split not in SPLITS:
        raise InputError(f"split {split!r} is none of {', '.join(SPLITS)}")
    rows = []
    for modality in (Modality.VISIBLE, Modality.INFRARED):
        for person in sorted((root / split / modality).glob("*/")):
            if not _IDENTITY.fullmatch(person.name):
                raise InputError(
                    f"{person}: an identity's directory is named by a number of up to 9 digits"
                )
            for file in sorted(person.iterdir()):
                if file.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                match = _FILE.fullmatch(file.stem)
                if not match:
                    raise InputError(f"{file}: an image is named c<camera>_<n>, as c1_0001.jpg")
                path = file.relative_to(root).as_posix()
                rows.append((path, int(person.name), int(match[1]), str(modality)))
    if not rows:
        raise InputError(
            f"no images under {root / split}: expected "
            f"{split}/{{visible,infrared}}/<identity>/c<camera>_<n>.jpg"
        )
    paths, identities, cameras, modalities = zip(*rows, strict=True)
    return Index(
        root,
        np.array(paths),
        np.array(identities, np.int32),
        np.array(cameras, np.int32),
        np.array(modalities),
    )


def read_any_images(path: str | Path, modality: Modality) -> Index:
    """Index one image file, or all below a directory, whatever their names.

    Identities and cameras are -1: unknown.

    Raises:
      InputError: there is no such file or no image below the directory.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no image or folder at {path}")
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    files = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise InputError(f"no images at {path}: looked for {', '.join(IMAGE_SUFFIXES)}")
    root = path.parent if path.is_file() else path
    unknown = np.full(len(files), -1, np.int32)
    names = np.array([file.relative_to(root).as_posix() for file in files])
    return Index(root, names, unknown, unknown, np.full(len(files), str(modality)))
