"""Reads the lists in published data sets: identities, and images with their labels."""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.data.sources.files import NUMBER, OnFault, leads_out, read_text, refuse
from lupi_jax.errors import InputError, plural, some

_RESTORE = "restore the data set's own list"


class Listed(NamedTuple):
    """One line of a list of images, with its file and its number from 1."""

    file: Path
    line: int
    path: str
    label: int
    person: int


def read_identities(file: Path, report: OnFault = refuse) -> list[int]:
    """The identities in a comma-separated list, ascending.

    Faults are a list that cannot be read or is empty, and an item that is repeated or not a number
    of up to 9 digits.
    """
    lines = _read_lines(file, report)
    items = ",".join(line for _, line in lines).split(",") if lines else []
    identities: set[int] = set()
    for place, item in enumerate(map(str.strip, items), 1):
        if NUMBER.fullmatch(item) and int(item) not in identities:
            identities.add(int(item))
        else:
            expected = "expected numbers of up to 9 digits, each once"
            report(file, f"{file}, item {place}: {expected}, got {item[:80]!r}: {_RESTORE}")
    return sorted(identities)


def read_list(
    file: Path, form: re.Pattern[str], example: str, report: OnFault = refuse
) -> list[Listed]:
    """The lines `path label` of a list of images, in order.

    Faults are a list that cannot be read or is empty, and a line that does not fit, leads out of
    the data set or repeats an earlier path.

    Args:
      file: the list.
      form: what a path matches; the first group is the person's number.
      example: what a path looks like, for messages.
      report: called for every fault; by default the first is raised.
    """
    listed: dict[PurePosixPath, Listed] = {}
    for line, text in _read_lines(file, report):
        path, *rest = text.rsplit(maxsplit=1)
        match = form.fullmatch(path)
        label = rest[0] if rest else ""
        if match and NUMBER.fullmatch(label) and not leads_out(path):
            image = Listed(file, line, path, int(label), int(match[1]))
            if listed.setdefault(PurePosixPath(path), image) is image:
                continue
        expected = f"expected `{example} label`, each image once"
        report(file, f"{file}, line {line}: {expected}, got {text[:80]!r}: {_RESTORE}")
    return list(listed.values())


def require_one_label_each(images: Iterable[Listed], report: OnFault = refuse) -> None:
    """Check that every label in a split belongs to one person, and every person has one label."""
    person_of: dict[int, int] = {}
    label_of: dict[int, int] = {}
    told = set()
    for file, line, _, label, person in images:
        pair = label, person
        if (label_of.setdefault(person, label), person_of.setdefault(label, person)) != pair:
            if pair not in told:
                what = f"label {label} and person {person} disagree with earlier lines"
                report(file, f"{file}, line {line}: {what}: {_RESTORE}")
            told.add(pair)


def require_files(root: Path, images: Iterable[Listed], report: OnFault = refuse) -> list[Listed]:
    """The listed images that exist; a missing one is a fault.

    The message names the image, or the topmost of its directories that is missing.
    """
    there = []
    for image in images:
        path = root / image.path
        if os.path.isfile(path):
            there.append(image)
            continue
        # The message names no list, because ten lists of RegDB may name the image.
        folders = [place for place in reversed(path.parents) if place.is_relative_to(root)]
        place = next((folder for folder in folders if not os.path.isdir(folder)), path)
        report(
            place,
            f"{place} is listed in {image.file.parent}, but missing or unreadable: extract the "
            "whole data set again, or restore its lists",
        )
    return there


def require_images(
    file: Path, identities: Iterable[int], found: Iterable[int], report: OnFault = refuse
) -> None:
    """Check that every identity in the list `file` is also in `found`, and so has an image."""
    lacking = sorted(set(identities) - set(found))
    if lacking:
        what = f"lists {plural(len(lacking), 'identity')} without an image ({some(lacking)})"
        report(file, f"{file} {what}: extract the whole data set again, or {_RESTORE}")


def make_split(root: Path, split: str, rows: Collection[Row]) -> Index:
    """The index of the images in a split that can be used.

    Raises:
      InputError: `rows` is empty.
    """
    if not rows:
        raise InputError(f"{root}: no image of the split {split} can be used: extract it again")
    return make_index(root, list(rows))


def _read_lines(file: Path, report: OnFault) -> list[tuple[int, str]]:
    """(number from 1, text without outer blanks) of the lines in a file that are not blank."""
    place = file if os.path.isdir(file.parent) else file.parent
    missing = (
        f"{place} is missing: set data.root to the folder that contains {file.parent.name}/ with "
        "the data set's lists"
    )
    try:
        text = read_text(file, missing, _RESTORE)
    except InputError as error:
        report(file, str(error))
        return []
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        report(file, f"{file} is empty: {_RESTORE}")
    return lines
