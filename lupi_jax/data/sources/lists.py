"""The lists that published data sets come with: of identities, and of images with their labels."""

import itertools
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.data.sources.files import NUMBER, OnFault, is_file, leads_out, read_text, refuse
from lupi_jax.errors import InputError, some

BY_AGREEMENT = "; {} comes from its authors, by agreement"
_RESTORE = "restore the list the data set came with"


class Listed(NamedTuple):
    """One line of a list of images: its place, and what it says."""

    file: Path
    line: int
    path: str
    label: int
    person: int


def read_identities(file: Path, report: OnFault = refuse) -> list[int]:
    """The identities of a comma-separated list, ascending, each once.

    A fault is that the list cannot be read, is empty, repeats an identity or holds anything else.
    """
    lines = _read_lines(file, report)
    items = ",".join(line for _, line in lines).split(",") if lines else []
    identities = []
    for place, item in enumerate(items, 1):
        if NUMBER.fullmatch(item.strip()):
            identities.append(int(item))
        else:
            what = f"item {place} is {item.strip()[:80]!r}, not a number of up to 9 digits"
            report(file, f"{file}: {what}: {_RESTORE}")
    repeated = sorted({a for a, b in itertools.pairwise(sorted(identities)) if a == b})
    if repeated:
        what = f"lists {len(repeated)} identities more than once ({some(repeated)})"
        report(file, f"{file} {what}: {_RESTORE}")
    return sorted(set(identities))


def read_list(
    file: Path, form: re.Pattern[str], example: str, report: OnFault = refuse
) -> list[Listed]:
    """The lines `path label` of a list of images, in their order.

    A path must match `form`, whose first group is the person's number; `example` says in messages
    what that looks like. A fault is that the list cannot be read or is empty, or that a line does
    not fit, leads out of the data set or repeats an earlier one.
    """
    listed = []
    seen: dict[PurePosixPath, int] = {}
    for line, text in _read_lines(file, report):
        path, *rest = text.rsplit(maxsplit=1)
        match = form.fullmatch(path)
        if len(rest) != 1 or not NUMBER.fullmatch(rest[0]):
            fault = f"{text[:80]!r} is not a path and a label: {_RESTORE}"
        elif outside := leads_out(path):
            fault = f"{path} {outside}"
        elif (first := seen.setdefault(PurePosixPath(path), line)) != line:
            fault = f"{path} is listed on line {first} already: {_RESTORE}"
        elif not match:
            fault = f"{path} is not {example}: {_RESTORE}"
        else:
            listed.append(Listed(file, line, path, int(rest[0]), int(match[1])))
            continue
        report(file, f"{file}, line {line}: {fault}")
    return listed


def require_one_label_each(images: Iterable[Listed], report: OnFault = refuse) -> None:
    """Check that the labels and the people of a split correspond one to one."""
    person_of: dict[int, int] = {}
    label_of: dict[int, int] = {}
    told = set()
    for file, line, _, label, person in images:
        known = person_of.setdefault(label, person), label_of.setdefault(person, label)
        if known != (person, label) and (person, label) not in told:
            told.add((person, label))  # their other lines are wrong, too
            report(
                file,
                f"{file}, line {line}: label {label} and person {person} disagree with "
                f"earlier lines (label {label}: person {known[0]}; person {person}: label "
                f"{known[1]}): {_RESTORE}",
            )


def require_files(root: Path, images: Iterable[Listed], report: OnFault = refuse) -> list[Listed]:
    """Those of the listed images that are there; a fault names the file, or the directory."""
    there = []
    for image in images:
        path = root / image.path
        try:
            if is_file(path):
                there.append(image)
                continue
        except InputError as error:
            report(path, str(error))
            continue
        # Ten lists of RegDB may name it, so that no list is named here.
        folders = [place for place in reversed(path.parents) if place.is_relative_to(root)]
        place = next((folder for folder in folders if not os.path.isdir(folder)), path)
        kind = "file" if place == path else "directory"
        report(
            place,
            f"{place} is listed in {image.file.parent}, but missing or no {kind}: extract the data "
            "set again, whole, or restore its lists",
        )
    return there


def require_images(
    file: Path, identities: Iterable[int], found: Iterable[int], report: OnFault = refuse
) -> None:
    """Check that everybody in a list of identities is among those `found`, who have an image."""
    lacking = sorted(set(identities) - set(found))
    if lacking:
        report(
            file,
            f"{file} lists {len(lacking)} identities that have no image ({some(lacking)}): "
            "extract the data set again, whole, or restore the list it came with",
        )


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
