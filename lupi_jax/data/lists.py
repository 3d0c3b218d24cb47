"""What published data sets come with, directories and lists, read or refused in one line."""

import itertools
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lupi_jax.data.folder import SPLITS
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError

_NUMBER = re.compile(r"\d{1,9}")  # fits an int32
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")  # by file browsers, besides hidden files


class Row(NamedTuple):
    """One image of an `Index`."""

    path: str
    identity: int
    camera: int
    modality: str


class Listed(NamedTuple):
    """One line of a list of images: the path as written, its label, and the line's number."""

    path: str
    label: int
    line: int


def make_index(root: Path, rows: list[Row]) -> Index:
    """The index of `rows` in their order; at least one."""
    paths, identities, cameras, modalities = zip(*rows, strict=True)
    return Index(
        root,
        np.array(paths),
        np.array(identities, np.int32),
        np.array(cameras, np.int32),
        np.array(modalities),
    )


def some(items: Collection[object]) -> str:
    """The first ten of `items`, for a message."""
    return ", ".join(map(str, list(items)[:10])) + (", ..." if len(items) > 10 else "")


def check_source(root: str | Path, name: str, split: str) -> Path:
    """The root of the data set `name`, once it is known to be a directory and `split` a split.

    Raises:
      InputError: the root is no directory, or the split is unknown.
    """
    root = Path(root)
    if not os.path.isdir(root):  # unlike Path's, never raises
        what = f"{root} is no directory" if os.path.exists(root) else f"no data at {root}"
        raise InputError(
            f"{what}: correct data.root (after training: --data-root); "
            f"{name} comes from its authors, by agreement"
        )
    if split not in SPLITS:
        raise InputError(f"split {split!r} is none of {', '.join(SPLITS)}")
    return root


def read_directory(folder: Path) -> list[os.DirEntry[str]]:
    """What a directory holds, sorted by name, without hidden files and the like.

    Raises:
      InputError: it is missing, not a directory or not readable.
    """
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not _left_behind(entry.name)]
    except FileNotFoundError:
        raise InputError(
            f"{folder} is missing: extract the data set again, whole, below data.root"
        ) from None
    except NotADirectoryError:
        raise InputError(
            f"{folder} is a file where a directory should be: extract the data set again"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot read the directory {folder} ({error.strerror}): check its permissions"
        ) from error
    return sorted(entries, key=lambda entry: entry.name)


def read_camera(
    folder: Path, identities: Collection[int], name: re.Pattern[str], example: str
) -> Iterator[tuple[int, str]]:
    """(identity, `<identity>/<file>`) of the images of one camera, sorted by both.

    Args:
      folder: the camera's, `<identity>/<file>` below; identities of four digits or more. Those
        not asked for are not opened.
      identities: those asked for; a camera need not have seen them all.
      name: what an image's name must match.
      example: an image's name, for messages.

    Raises:
      InputError: a directory cannot be read, or a name does not fit.
    """
    for person in read_directory(folder):
        if not _NUMBER.fullmatch(person.name) or person.name != f"{int(person.name):04d}":
            raise InputError(
                f"{person.path} does not belong here: {folder.name} holds one directory per "
                "identity, named by its number as 0007; move it away"
            )
        if int(person.name) not in identities:
            continue
        for image in read_directory(Path(person.path)):
            if not name.fullmatch(image.name) or not _is_file(image):
                raise InputError(
                    f"{image.path} does not belong here: {folder.name}/{person.name} holds "
                    f"images named as {example}; move it away"
                )
            yield int(person.name), f"{person.name}/{image.name}"


def read_identities(file: Path) -> list[int]:
    """The identities of a comma-separated list, ascending.

    Raises:
      InputError: the list cannot be read, is empty, repeats an identity or holds anything else.
    """
    items = ",".join(line for _, line in _read_lines(file)).split(",")
    for place, item in enumerate(items, 1):
        if not _NUMBER.fullmatch(item.strip()):
            raise InputError(
                f"{file}: item {place} is {item.strip()!r}, not a number of up to 9 digits: "
                "restore the list the data set came with"
            )
    identities = sorted(map(int, items))
    repeated = sorted({a for a, b in itertools.pairwise(identities) if a == b})
    if repeated:
        raise InputError(
            f"{file} lists {len(repeated)} identities more than once ({some(repeated)}): "
            "restore the list the data set came with"
        )
    return identities


def read_labelled_paths(file: Path) -> list[Listed]:
    """The lines `path label` of a list of images, in their order.

    Raises:
      InputError: the list cannot be read or is empty, a line does not fit, a path leads out of
        the data set, or one is listed twice.
    """
    listed = []
    seen: dict[str, int] = {}
    for line, text in _read_lines(file):
        path, *rest = text.rsplit(maxsplit=1)
        if len(rest) != 1 or not _NUMBER.fullmatch(rest[0]):
            raise InputError(
                f"{file}, line {line}: {text[:80]!r} is not a path and a label: "
                "restore the list the data set came with"
            )
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(
                f"{file}, line {line}: {path} leads out of the data set: "
                "paths are relative to data.root, without .."
            )
        if seen.setdefault(path, line) != line:
            raise InputError(
                f"{file}, line {line}: {path} is listed on line {seen[path]} already: "
                "restore the list the data set came with"
            )
        listed.append(Listed(path, int(rest[0]), line))
    return listed


def require_files(root: Path, file: Path, listed: Iterable[Listed]) -> None:
    """Check that every image of a list is there.

    Raises:
      InputError: names the first that is not and counts them, or one that cannot be looked at.
    """
    missing = []
    for image in listed:
        try:
            found = stat.S_ISREG(os.stat(root / image.path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            found = False
        except OSError as error:
            raise InputError(
                f"cannot read {root / image.path} ({error.strerror}): check its permissions"
            ) from error
        if not found:
            missing.append(image)
    if missing:
        raise InputError(
            f"{file} lists {len(missing)} images that are not there, the first on line "
            f"{missing[0].line}: {root / missing[0].path}; extract the data set again, whole"
        )


def require_one_label_each(people: Iterable[tuple[Path, Listed, int]]) -> None:
    """Check that labels and people correspond one to one.

    Args:
      people: (list, line of it, number of the person in its path) of all images of a split.

    Raises:
      InputError: names the first line where one label has two people, or one person two labels.
    """
    person_of: dict[int, int] = {}
    label_of: dict[int, int] = {}
    for file, image, person in people:
        known = person_of.setdefault(image.label, person), label_of.setdefault(person, image.label)
        if known != (person, image.label):
            raise InputError(
                f"{file}, line {image.line}: label {image.label} and person {person} disagree with "
                f"earlier lines (label {image.label}: person {known[0]}; person {person}: label "
                f"{known[1]}): restore the lists the data set came with"
            )


def require_disjoint(
    first: str, first_people: Iterable[int], second: str, second_people: Iterable[int]
) -> None:
    """Check that two lists, named `first` and `second`, share nobody.

    Raises:
      InputError: names those they share.
    """
    shared = sorted(set(first_people) & set(second_people))
    if shared:
        raise InputError(
            f"{first} and {second} share {len(shared)} people ({some(shared)}): nobody may be in "
            "both; restore the lists the data set came with"
        )


def require_images(file: Path, identities: Iterable[int], found: Iterable[int]) -> None:
    """Check that everybody in a list of identities has an image.

    Raises:
      InputError: names those who have none.
    """
    lacking = sorted(set(identities) - set(found))
    if lacking:
        raise InputError(
            f"{file} lists {len(lacking)} identities that have no image ({some(lacking)}): "
            "extract the data set again, whole, or restore the list it came with"
        )


def _left_behind(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to where nobody may look
        return False


def _read_lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers, stripped."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing: data.root is the folder that holds {file.parent.name}/ with the "
            "lists the data set came with"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot read the list {file} ({error.strerror}): check it and its permissions"
        ) from error
    except UnicodeDecodeError:
        raise InputError(f"{file} is not text: restore the list the data set came with") from None
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{file} is empty: restore the list the data set came with")
    return lines
