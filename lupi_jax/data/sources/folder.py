"""Reads the folder layout: `{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lupi_jax.data.decoding import IMAGE_SUFFIXES, SUFFIX_PATTERN
from lupi_jax.data.index import JUNK, Index, Row, make_index
from lupi_jax.data.sources.files import (
    INDEX,
    NUMBER,
    OnFault,
    check_root,
    read_images,
    read_named,
    refuse,
    walk_links,
)
from lupi_jax.errors import InputError, some
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import expand

_IMAGE = re.compile("c([0-9]{1,9})_.+" + SUFFIX_PATTERN, re.IGNORECASE)
_IDENTITY = re.compile(rf"{JUNK}|{NUMBER.pattern}")
_MODALITIES = (Modality.VISIBLE, Modality.INFRARED)
_MODALITY = re.compile("|".join(_MODALITIES))


def read_folder(root: str | Path, split: str, report: OnFault = refuse) -> Index:
    """Index one split of a data set in the folder layout, sorted by path.

    Identities are the names of directories: whole numbers, possibly with leading zeros, or -1 for
    junk. A split may lack images of one modality. Hidden files, and files that file browsers
    write, are ignored.

    Args:
      root: directory that contains `train` and `test`.
      split: "train" or "test".
      report: called for every fault after which something can still be read; by default the first
        fault is raised.

    Raises:
      InputError: the root or split is missing or empty, a directory cannot be read, an identity
        has two directories or one without images, or a name does not fit the layout.
    """
    advice = f", or make synthetic people with `lupi make-synthetic --out {root}`"
    root = check_root(root, split, advice=advice)
    folder = root / split
    content = f"{split} holds visible and infrared"
    found = read_named(folder, _MODALITY, content, report) if os.path.isdir(folder) else ()
    names = {entry.name for entry, _ in found}
    rows = []
    for modality in _MODALITIES:
        if modality in names:
            rows += _read_modality(root, split, modality, report)
    if not rows:
        raise InputError(
            f"no images under {folder}: expected "
            f"{split}/{{visible,infrared}}/<identity>/c<camera>_<n>.jpg; for other names give a "
            f"table, {INDEX}; `lupi index` writes one"
        )
    return make_index(root, rows)


def _read_modality(root: Path, split: str, modality: Modality, report: OnFault) -> Iterator[Row]:
    directories: dict[int, str] = {}
    content = "an identity's directory is named by a number of up to 9 digits, or -1 (junk)"
    example = f"c1_0001.jpg (c<camera>_<n>; also {', '.join(IMAGE_SUFFIXES[1:])})"
    for person, _ in read_named(root / split / modality, _IDENTITY, content, report):
        identity = int(person.name)
        if (first := directories.setdefault(identity, person.name)) != person.name:
            what = f"{person.path} and {first} are both identity {identity}"
            report(person.path, f"{what}: rename one, or merge them")
        image = None
        for image, match in read_images(Path(person.path), _IMAGE, example, report):
            path = f"{split}/{modality}/{person.name}/{image}"
            yield Row(path, identity, int(match[1]), str(modality))
        if image is None and os.path.isdir(person.path):
            report(person.path, f"{person.path} holds no image: add one, or remove the directory")


def read_any_images(
    path: str | Path, modality: Modality, pass_over: Callable[[Path], None] = lambda file: None
) -> Index:
    """Index one image file, or all images below a directory, with any names.

    Identities and cameras are -1 (unknown). Hidden files, and files that file browsers write, are
    ignored. Links to directories are followed, and every directory is read once.

    Args:
      path: path of the file or the directory.
      modality: modality of all the images.
      pass_over: called for every other file, and for every link that is not followed because its
        directory was read already or contains the link.

    Raises:
      InputError: the path does not exist, or the directory contains no images.
      OSError: a directory cannot be read.
    """
    path = expand(path)
    if not path.exists():
        raise InputError(f"no image or folder at {path}")
    files = sorted(walk_links(path, pass_over)) if path.is_dir() else [path]
    images = []
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            images.append(file)
        else:
            pass_over(file)
    if not images:
        raise InputError(f"no images at {path}: looked for {', '.join(IMAGE_SUFFIXES)}")
    root = path if path.is_dir() else path.parent
    unknown = np.full(len(images), -1, np.int32)
    names = np.array([file.relative_to(root).as_posix() for file in images])
    return Index(root, names, unknown, unknown, np.full(len(images), str(modality)))


def note_passed_over(path: Path, passed_over: Sequence[Path]) -> Iterator[str]:
    """Lines that say which files and links below `path` were not read as images, and why."""
    links = [str(place) for place in passed_over if place.is_dir()]
    if links:
        yield (
            f"{path}: linked directories passed over: {len(links)} ({some(links)}); each "
            "directory is read once, and a link to a directory above is not followed"
        )
    if broken := [str(place) for place in passed_over if not place.exists()]:
        yield f"{path}: links that lead nowhere: {len(broken)} ({some(broken)})"
    if files := [file for file in passed_over if file.is_file()]:
        kinds = some(sorted({file.suffix.lower() or "no ending" for file in files}))
        yield (
            f"{path}: files passed over: {len(files)} ({kinds}); images are "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )


def name_people(index: Index) -> tuple[Path | None, Index]:
    """Read identities and cameras from the paths of images, if they are in the folder layout.

    Returns:
      The data set's root, without links, and the images with identities and cameras. If a path
      does not fit the layout, or the images belong to several data sets, None and `index` itself.
    """
    roots, rows = set(), []
    folder = index.root.resolve()
    for path, modality in zip(index.paths.tolist(), index.modalities.tolist(), strict=True):
        file = folder / path
        split, kind, person = (parent.name for parent in reversed(tuple(file.parents)[:3]))
        image = _IMAGE.fullmatch(file.name)
        named = split in ("train", "test") and _MODALITY.fullmatch(kind)
        if not (image and named and _IDENTITY.fullmatch(person)):
            return None, index
        roots.add(file.parents[3])
        rows.append(Row(path, int(person), int(image[1]), modality))
    return (roots.pop(), make_index(index.root, rows)) if len(roots) == 1 else (None, index)
