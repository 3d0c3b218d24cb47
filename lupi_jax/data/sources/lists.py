"""The lists that published data sets come with: of identities, and of images with their labels."""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.data.sources.files import NUMBER, OnFault, leads_out, read_text, refuse
from lupi_jax.errors import InputError, plural, some

_RESTORE = "restore the list the data set came with"


class Listed(NamedTuple):
    """One line of a list of images: its place, and what it says."""

    file: Path
    line: int
    path: str
    label: int
    person: int


def read_identities(file: Path, report: OnFault = refuse) -> list[int]:
    """The identities of a comma-separated list, ascending.

    A fault is that the list cannot be read, is empty, repeats an identity or holds anything else.
    """
    lines = _read_lines(file, report)
    items = ",".join(line for _, line in lines).split(",") if lines else []
    identities: set[int] = set()
    for place, item in enumerate(map(str.strip, items), 1):
        if NUMBER.fullmatch(item) and int(item) not in identities:
            identities.add(int(item))
        else:
            want = "want numbers of up to 9 digits, each once"
            report(file, f"{file}, item {place}: {want}, got {item[:80]!r}: {_RESTORE}")
    return sorted(identities)


def read_list(
    file: Path, form: re.Pattern[str], example: str, report: OnFault = refuse
) -> list[Listed]:
    """The lines `path label` of a list of images, in their order.

    A path must match `form`, whose first group is the person's number; `example` says in messages
    what that looks like. A fault is that the list cannot be read or is empty, or that a line does
    not fit, leads out of the data set or repeats an earlier path.
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
        want = f"want `{example} label`, each image once"
        report(file, f"{file}, line {line}: {want}, got {text[:80]!r}: {_RESTORE}")
    return list(listed.values())


def require_one_label_each(images: Iterable[Listed], report: OnFault = refuse) -> None:
    """Check that the labels and the people of a split correspond one to one."""
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
    """Those of the listed images that are there; a fault names the file, or the directory."""
    there = []
    for image in images:
        path = root / image.path
        if os.path.isfile(path):
            there.append(image)
            continue
        # Ten lists of RegDB may name it, so that no list is named here.
        folders = [place for place in reversed(path.parents) if place.is_relative_to(root)]
        place = next((folder for folder in folders if not os.path.isdir(folder)), path)
        report(
            place,
            f"{place} is listed in {image.file.parent}, but missing or unreadable: extract the "
            "data set again, whole, or restore its lists",
        )
    return there


def require_images(
    file: Path, identities: Iterable[int], found: Iterable[int], report: OnFault = refuse
) -> None:
    """Check that everybody in a list of identities is among those `found`, who have an image."""
    lacking = sorted(set(identities) - set(found))
    if lacking:
        what = f"lists {plural(len(lacking), 'identity')} without an image ({some(lacking)})"
        report(file, f"{file} {what}: extract the data set again, whole, or {_RESTORE}")


def make_split(root: Path, split: str, rows: Collection[Row]) -> Index:
    """The index of what is left of a split, without what was reported.

    Raises:
      InputError: nothing is.
    """
    if not rows:
        raise InputError(f"{root}: no image of the split {split} can be used: extract it again")
    return make_index(root, list(rows))


def _read_lines(file: Path, report: OnFault) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers, stripped."""
    place = file if os.path.isdir(file.parent) else file.parent
    missing = (
        f"{place} is missing: data.root is the folder that holds {file.parent.name}/ with the "
        "lists the data set came with"
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
