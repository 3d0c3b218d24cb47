"""What data sets come with, directories and lists, read or refused in one line."""

import itertools
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

from lupi_jax.errors import InputError, some

SPLITS = ("train", "test")

ROOT = "data.root (--data-root after training; --root of check-data, prepare and the tables)"
"""What a message calls the option that names a data set's directory."""

INDEX = "data.index (--index of check-data and prepare)"
"""The same for the table of images."""

OnFault = Callable[[Path | str, str], None]
"""Told the path at fault and a message of one line; the reader then goes on without what is wrong.

Every function here that checks something takes one. `refuse`, the default, ends the reading.
"""

_NUMBER = re.compile(r"[0-9]{1,9}")  # fits an int32
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")  # by file browsers, besides hidden files


class Listed(NamedTuple):
    """One line of a list of images: the path as written, its label, and the line's number."""

    path: str
    label: int
    line: int


def refuse(where: Path | str, message: str) -> NoReturn:
    """Raises InputError: the message."""
    raise InputError(message)


def check_source(root: str | Path, name: str, split: str, splits: Sequence[str] = SPLITS) -> Path:
    """The root of the data set `name`, once it is known to be a directory and `split` a split.

    Raises:
      InputError: the root is no directory, or the split is unknown.
    """
    root = Path(root)
    if not os.path.isdir(root):  # unlike Path's, never raises
        what = f"{root} is no directory" if os.path.exists(root) else f"no data at {root}"
        raise InputError(f"{what}: correct {ROOT}; {name} comes from its authors, by agreement")
    if split not in splits:
        raise InputError(f"split {split!r} is none of {', '.join(splits)}")
    return root


def read_directory(folder: Path, report: OnFault = refuse) -> list[os.DirEntry[str]]:
    """What a directory holds, sorted by name, without hidden files and the like.

    Raises:
      InputError: it is missing, not a directory or not readable, or a name is not UTF-8.
    """
    found: list[os.DirEntry[str]] = []
    fault = ""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not left_behind(entry.name)]
    except FileNotFoundError:
        fault = f"{folder} is missing: extract the data set again, whole, below data.root"
    except NotADirectoryError:
        fault = f"{folder} is a file where a directory should be: extract the data set again"
    except OSError as error:
        fault = f"cannot read the directory {folder} ({error.strerror}): check its permissions"
    if fault:
        report(folder, fault)
    kept = []
    for entry in sorted(found, key=lambda entry: entry.name):
        if any("\ud800" <= letter <= "\udfff" for letter in entry.name):
            report(entry.path, f"{entry.path} has a name that is not UTF-8: rename it")
        else:
            kept.append(entry)
    return kept


def read_person(
    folder: Path, name: re.Pattern[str], example: str, report: OnFault = refuse
) -> Iterator[tuple[str, re.Match[str]]]:
    """(file name, match of `name`) of the images in an identity's directory, sorted by name.

    Args:
      folder: the identity's, with images alone.
      name: what an image's name must match.
      example: an image's name, for messages.
      report: told of every fault.

    Raises:
      InputError: the directory cannot be read, a name does not fit, or something is no file.
    """
    for image in read_directory(folder, report):
        match = name.fullmatch(image.name)
        if not match:
            report(
                image.path,
                f"{image.path} does not belong here: {folder.parent.name}/{folder.name} holds "
                f"images named as {example}; rename it or move it away",
            )
        elif not _is_file(image):
            report(
                image.path,
                f"{image.path} is no image but a directory, a pipe or a link to nothing: "
                "replace it or move it away",
            )
        else:
            yield image.name, match


def read_camera(
    folder: Path,
    identities: Collection[int],
    name: re.Pattern[str],
    example: str,
    report: OnFault = refuse,
) -> Iterator[tuple[int, str]]:
    """(identity, `<identity>/<file>`) of the images of one camera, sorted by both.

    Args:
      folder: the camera's, `<identity>/<file>` below; identities of four digits or more. Those
        not asked for are not opened.
      identities: those asked for; a camera need not have seen them all.
      name: what an image's name must match.
      example: an image's name, for messages.
      report: told of every fault.

    Raises:
      InputError: a directory cannot be read, or a name does not fit.
    """
    for person in read_directory(folder, report):
        if not _NUMBER.fullmatch(person.name) or person.name != f"{int(person.name):04d}":
            report(
                person.path,
                f"{person.path} does not belong here: {folder.name} holds one directory per "
                "identity, named by its number as 0007; move it away",
            )
        elif int(person.name) in identities:
            for image, _ in read_person(Path(person.path), name, example, report):
                yield int(person.name), f"{person.name}/{image}"


def read_identities(file: Path, report: OnFault = refuse) -> list[int]:
    """The identities of a comma-separated list, ascending, each once.

    Raises:
      InputError: the list cannot be read, is empty, repeats an identity or holds anything else.
    """
    lines = _read_lines(file, report)
    items = ",".join(line for _, line in lines).split(",") if lines else []
    identities = []
    for place, item in enumerate(items, 1):
        if _NUMBER.fullmatch(item.strip()):
            identities.append(int(item))
        else:
            report(
                file,
                f"{file}: item {place} is {item.strip()[:80]!r}, not a number of up to 9 digits: "
                "restore the list the data set came with",
            )
    identities.sort()
    repeated = sorted({a for a, b in itertools.pairwise(identities) if a == b})
    if repeated:
        report(
            file,
            f"{file} lists {len(repeated)} identities more than once ({some(repeated)}): "
            "restore the list the data set came with",
        )
    return sorted(set(identities))


def read_labelled_paths(file: Path, report: OnFault = refuse) -> list[Listed]:
    """The lines `path label` of a list of images, in their order.

    Raises:
      InputError: the list cannot be read or is empty, a line does not fit, a path leads out of
        the data set, or one is listed twice.
    """
    listed = []
    seen: dict[PurePosixPath, int] = {}
    for line, text in _read_lines(file, report):
        path, *rest = text.rsplit(maxsplit=1)
        plain = PurePosixPath(path)
        if len(rest) != 1 or not _NUMBER.fullmatch(rest[0]):
            fault = (
                f"{text[:80]!r} is not a path and a label: restore the list the data set came with"
            )
        elif plain.is_absolute() or ".." in plain.parts:
            fault = f"{path} leads out of the data set: paths are relative to data.root, without .."
        elif seen.setdefault(plain, line) != line:
            fault = (
                f"{path} is listed on line {seen[plain]} already: "
                "restore the list the data set came with"
            )
        else:
            listed.append(Listed(path, int(rest[0]), line))
            continue
        report(file, f"{file}, line {line}: {fault}")
    return listed


def read_people(
    file: Path, form: re.Pattern[str], example: str, report: OnFault = refuse
) -> list[tuple[Listed, int]]:
    """The lines of a list of images, each with the number of the person in its path.

    Args:
      file: as `read_labelled_paths` reads.
      form: what a path must match; its first group is the person.
      example: what paths look like, for messages.
      report: told of every fault.

    Raises:
      InputError: the list cannot be used, or a path does not fit.
    """
    people = []
    for image in read_labelled_paths(file, report):
        match = form.fullmatch(image.path)
        if match:
            people.append((image, int(match[1])))
        else:
            report(
                file,
                f"{file}, line {image.line}: {image.path} is not {example}: "
                "restore the list the data set came with",
            )
    return people


def require_files(
    root: Path, file: Path, people: Iterable[tuple[Listed, int]], report: OnFault = refuse
) -> list[tuple[Listed, int]]:
    """Check that every image of a list is there.

    Args:
      root: of the data set.
      file: the list.
      people: as `read_people` gives them.
      report: told of every fault.

    Returns:
      Those that are there.

    Raises:
      InputError: names one that is not, or the directory that is missing.
    """
    there = []
    for image, person in people:
        path = root / image.path
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                there.append((image, person))
                continue
        except PermissionError as error:
            report(path, f"cannot read {path} ({error.strerror}): check its permissions")
            continue
        except OSError:  # missing, below a file, a name too long, a link to itself
            pass
        # Ten lists of RegDB may name it, so that no list is named here.
        folders = [place for place in reversed(path.parents) if place.is_relative_to(root)]
        place = next((folder for folder in folders if not os.path.isdir(folder)), path)
        kind = "file" if place == path else "directory"
        report(
            place,
            f"{place} is listed in {file.parent}, but missing or no {kind}: extract the data set "
            "again, whole, or restore its lists",
        )
    return there


def require_one_label_each(
    people: Iterable[tuple[Path, Listed, int]], report: OnFault = refuse
) -> None:
    """Check that labels and people correspond one to one.

    Args:
      people: (list, line of it, number of the person in its path) of all images of a split.
      report: told of every fault.

    Raises:
      InputError: names the first line where one label has two people, or one person two labels.
    """
    person_of: dict[int, int] = {}
    label_of: dict[int, int] = {}
    told = set()
    for file, image, person in people:
        known = person_of.setdefault(image.label, person), label_of.setdefault(person, image.label)
        if known != (person, image.label) and (person, image.label) not in told:
            told.add((person, image.label))  # their other lines are wrong, too
            report(
                file,
                f"{file}, line {image.line}: label {image.label} and person {person} disagree with "
                f"earlier lines (label {image.label}: person {known[0]}; person {person}: label "
                f"{known[1]}): restore the lists the data set came with",
            )


def require_disjoint(
    first: str,
    first_people: Iterable[int],
    second: str,
    second_people: Iterable[int],
    report: OnFault = refuse,
) -> None:
    """Check that two lists, named `first` and `second`, share nobody.

    Raises:
      InputError: names those they share.
    """
    shared = sorted(set(first_people) & set(second_people))
    if shared:
        report(
            first,
            f"{first} and {second} share {len(shared)} people ({some(shared)}): nobody may be in "
            "both; restore the lists the data set came with",
        )


def require_images(
    file: Path, identities: Iterable[int], found: Iterable[int], report: OnFault = refuse
) -> None:
    """Check that everybody in a list of identities has an image.

    Raises:
      InputError: names those who have none.
    """
    lacking = sorted(set(identities) - set(found))
    if lacking:
        report(
            file,
            f"{file} lists {len(lacking)} identities that have no image ({some(lacking)}): "
            "extract the data set again, whole, or restore the list it came with",
        )


def require_some(root: Path, split: str, found: Collection[object]) -> None:
    """Check that anything is left of a split, without what was reported.

    Raises:
      InputError: nothing is.
    """
    if not found:
        raise InputError(f"{root}: no image of the split {split} can be used: extract it again")


def left_behind(name: str) -> bool:
    """Whether a file of this name is no part of any data set: file browsers leave it."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to where nobody may look
        return False


def _read_lines(file: Path, report: OnFault) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers, stripped."""
    text, fault = "", ""
    try:
        if file.is_fifo():  # opening it would wait for a writer
            fault = f"cannot read the list {file} (it is a pipe): restore it"
        else:
            text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        place = file if os.path.isdir(file.parent) else file.parent
        fault = (
            f"{place} is missing: data.root is the folder that holds {file.parent.name}/ with the "
            "lists the data set came with"
        )
    except OSError as error:
        fault = f"cannot read the list {file} ({error.strerror}): check it and its permissions"
    except UnicodeDecodeError:
        fault = f"{file} is not text: restore the list the data set came with"
    if "\0" in text:  # valid UTF-8, but in no path
        fault = f"{file} is not text: restore the list the data set came with"
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines and not fault:
        fault = f"{file} is empty: restore the list the data set came with"
    if fault:
        report(file, fault)
        return []
    return lines
