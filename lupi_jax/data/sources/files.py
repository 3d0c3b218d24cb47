"""Reads and checks what all data sets consist of: directories, images and text files.

A function with an argument `report` calls it for each fault and continues without the faulty part.
The default, `refuse`, raises the first fault as an InputError.
"""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lupi_jax.errors import InputError, plural, reason, some
from lupi_jax.runtime.files import expand, is_endless

SPLITS = ("train", "test")

ROOT = "data.root (--data-root after training; --root of check-data, prepare and the tables)"
"""The option for a data set's directory, as messages name it."""

INDEX = "data.index (--index of check-data and prepare)"
"""The option for a table of images, as messages name it."""

ZERO = "--config.data.identity_zero (--identity-zero of check-data and prepare)"
"""The option for the meaning of identity 0, as messages name it."""

NUMBER = re.compile(r"[0-9]{1,9}")  # fits an int32

MAX_BYTES = 2**28
"""The largest table, list or manifest that is read."""

OnFault = Callable[[Path | str, str], None]
"""A function that gets the faulty path and a message of one line."""

_PERSON = re.compile(r"[0-9]{4}|[1-9][0-9]{4,8}")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # Python decodes such bytes to these
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")  # file browsers write these, besides hidden files


def refuse(where: Path | str, message: str) -> NoReturn:
    """Raise an InputError with the message."""
    raise InputError(message)


def check_root(
    root: str | Path, split: str | None, splits: Sequence[str] = SPLITS, advice: str = ""
) -> Path:
    """The root of a data set, expanded, after a check that it exists.

    Args:
      root: directory of the data set.
      split: name of a split, or None for all.
      splits: names of the splits that the data set has.
      advice: end of the error message, which says how to get the data set.

    Raises:
      InputError: `root` is not a directory, or `split` is neither one of `splits` nor None.
    """
    root = expand(root)
    if not os.path.isdir(root):  # unlike Path's, never raises
        what = f"{root} is not a directory" if os.path.exists(root) else f"no data at {root}"
        raise InputError(f"{what}: correct {ROOT}{advice}")
    if split not in (*splits, None):
        raise InputError(f"split {split!r} is not one of {', '.join(splits)}")
    return root


def left_behind(name: str) -> bool:
    """Whether a file with this name is hidden, or left behind by a file browser."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def walk(folder: str | Path, without: Collection[str] = ()) -> Iterator[str]:
    """The files below a folder, `<folder>/...`, except hidden ones and the paths `without`.

    Links to directories are not followed. Directories that cannot be read are skipped.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if not left_behind(n) and f"{place}/{n}" not in without]
        for name in names:
            if not left_behind(name) and f"{place}/{name}" not in without:
                yield f"{place}/{name}"


def walk_links(folder: Path, again: Callable[[Path], None]) -> Iterator[Path]:
    """The files below a folder, except hidden ones, and below the directories it links to.

    Every directory is read once, even if several links lead there. A link to a directory that
    contains the link is not followed. `again` is called for each link that is not followed.

    Raises:
      OSError: a directory cannot be read.
    """
    read: set[str] = set()
    links = [folder]
    while links:
        start = links.pop(0)
        real, own = os.path.realpath(start), os.path.realpath(start.parent)
        if start != folder and (real in read or Path(own).is_relative_to(real)):
            again(start)
            continue
        for place, folders, names in os.walk(start, onerror=_fail):
            if os.path.realpath(place) in read:
                folders.clear()
                continue
            read.add(os.path.realpath(place))
            folders[:] = sorted(name for name in folders if not left_behind(name))
            links += [Path(place, name) for name in folders if os.path.islink(f"{place}/{name}")]
            yield from (Path(place, name) for name in sorted(names) if not left_behind(name))


def _fail(error: OSError) -> None:
    raise error


def read_directory(folder: Path, report: OnFault = refuse) -> list[os.DirEntry[str]]:
    """The entries of a directory, sorted by name, except hidden and `left_behind` ones."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not left_behind(entry.name)]
    except OSError as error:
        report(
            folder,
            f"cannot read the directory {folder} ({reason(error)}): extract the data set again, "
            "whole, or check the permissions",
        )
        return []
    return sorted(found, key=lambda entry: entry.name)


def read_named(
    folder: Path, name: re.Pattern[str], content: str, report: OnFault = refuse
) -> Iterator[tuple[os.DirEntry[str], re.Match[str]]]:
    """The entries of a directory whose names match `name`; every other entry is a fault.

    `content` says what the directory should contain, for messages.
    """
    for entry in read_directory(folder, report):
        match = name.fullmatch(entry.name)
        if _NOT_UTF8.search(entry.name):
            report(entry.path, f"{entry.path}: the name is not UTF-8; rename it or move it away")
        elif match:
            yield entry, match
        else:
            message = f"{entry.path} does not belong here: {content}; rename it or move it away"
            report(entry.path, message)


def read_images(
    folder: Path, name: re.Pattern[str], example: str, report: OnFault = refuse
) -> Iterator[tuple[str, re.Match[str]]]:
    """(file name, match of `name`) of the images in an identity's directory, sorted by name.

    Any other entry is a fault. `example` is the name of an image, for messages.
    """
    content = f"{folder.parent.name}/{folder.name} holds images named as {example}"
    for image, match in read_named(folder, name, content, report):
        if os.path.isfile(image.path):
            yield image.name, match
        else:
            report(image.path, f"{image.path} is not an image file: replace it or move it away")


def read_camera(
    folder: Path,
    identities: Collection[int],
    name: re.Pattern[str],
    example: str,
    report: OnFault = refuse,
) -> Iterator[tuple[int, str]]:
    """(identity, `<identity>/<file>`) of the images in a camera's directory, sorted by both.

    Only images of `identities` are listed; the directories of other people are not opened. The
    camera need not have seen everybody. `name` and `example` are passed to `read_images`.
    """
    content = f"{folder.name} holds one directory per identity, named by its number as 0007"
    for person, _ in read_named(folder, _PERSON, content, report):
        if int(person.name) in identities:
            for image, _ in read_images(Path(person.path), name, example, report):
                yield int(person.name), f"{person.name}/{image}"


def leads_out(path: str) -> bool:
    """Whether a path is absolute or contains "..", so that it may lead out of its directory."""
    return bool(_ABSOLUTE.match(path)) or ".." in path.split("/")


def read_bytes(file: Path, missing: str, most: int = MAX_BYTES) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
      InputError: the file cannot be read or is larger. If the file is missing, `missing` is the
        message.
    """
    try:
        if not is_endless(file):
            with file.open("rb") as opened:
                small = os.fstat(opened.fileno()).st_size <= most
                content = opened.read(most + 1) if small else b""  # the file may have grown
            if small and len(content) <= most:
                return content
            raise InputError(f"{file} is larger than {most >> 20} MiB, the limit: correct it")
        what = "it is a pipe or a device"
    except FileNotFoundError:
        raise InputError(missing) from None
    except OSError as error:
        what = reason(error)
    raise InputError(f"cannot read {file} ({what}): check it and its permissions")


def read_text(file: Path, missing: str, advice: str) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark.

    Raises:
      InputError: `read_bytes` raises it, or the content is not UTF-8; the message then ends with
        `advice`.
    """
    content = read_bytes(file, missing)
    # A NUL is valid UTF-8, but text does not contain any, and UTF-16 is full of them.
    wrong = content.find(b"\0")
    text = ""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        line = content.count(b"\n", 0, wrong) + 1
        raise InputError(f"{file}, line {line} is not UTF-8 text: {advice}")
    return text


def require_disjoint(
    where: Path, people: Mapping[str, Iterable[int]], report: OnFault = refuse
) -> None:
    """Check that no two groups in `people`, {name: identities}, share an identity."""
    for (first, one), (second, other) in itertools.combinations(people.items(), 2):
        shared = sorted(set(one) & set(other))
        if shared:
            zero = f", or, if 0 is a distractor, set {ZERO}" if 0 in shared else ""
            report(
                where,
                f"{where}: {plural(len(shared), 'identity')} in both {first} and {second} "
                f"({some(shared)}): training and test sets must not share identities; remove them "
                f"from one{zero}",
            )
