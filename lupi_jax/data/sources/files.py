"""What every data set on disk is made of, directories, images and texts: read, or refused.

Every function that takes a `report` tells it of each fault and goes on without what is wrong. The
default, `refuse`, raises the first as an InputError.
"""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lupi_jax.errors import InputError, plural, some
from lupi_jax.runtime.files import expand, is_endless

SPLITS = ("train", "test")

ROOT = "data.root (--data-root after training; --root of check-data, prepare and the tables)"
"""What a message calls the option that names a data set's directory."""

INDEX = "data.index (--index of check-data and prepare)"
"""The same for the table of images."""

ZERO = "--config.data.identity_zero (--identity-zero of check-data and prepare)"
"""The same for the meaning of identity 0."""

NUMBER = re.compile(r"[0-9]{1,9}")  # fits an int32

MAX_BYTES = 2**28
"""Of a table, a list or a manifest."""

OnFault = Callable[[Path | str, str], None]
"""Told the path at fault and a message of one line."""

_PERSON = re.compile(r"[0-9]{4}|[1-9][0-9]{4,8}")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what Python makes of such bytes
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")  # by file browsers, besides hidden files


def refuse(where: Path | str, message: str) -> NoReturn:
    """Raises InputError: the message."""
    raise InputError(message)


def check_root(
    root: str | Path, split: str | None, splits: Sequence[str] = SPLITS, advice: str = ""
) -> Path:
    """The root of a data set.

    Raises:
      InputError: it is no directory, where `advice` says how to get the data set; or the split is
        neither one of `splits` nor None.
    """
    root = expand(root)
    if not os.path.isdir(root):  # unlike Path's, never raises
        what = f"{root} is no directory" if os.path.exists(root) else f"no data at {root}"
        raise InputError(f"{what}: correct {ROOT}{advice}")
    if split not in (*splits, None):
        raise InputError(f"split {split!r} is not one of {', '.join(splits)}")
    return root


def left_behind(name: str) -> bool:
    """Whether a file of this name is no part of any data set: file browsers leave it."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def walk(folder: str | Path, without: Collection[str] = ()) -> Iterator[str]:
    """The files below a folder, `<folder>/...`, but for hidden ones and the paths `without`.

    Links to directories are not followed. Directories that cannot be read are passed over.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if not left_behind(n) and f"{place}/{n}" not in without]
        for name in names:
            if not left_behind(name) and f"{place}/{name}" not in without:
                yield f"{place}/{name}"


def walk_links(folder: Path, again: Callable[[Path], None]) -> Iterator[Path]:
    """The files below a folder, as `walk`, and below the directories that links lead to.

    Every directory is read once, whatever leads there, and none that the link itself lies in.
    `again` is told of the links that are not followed for that.

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
    """What a directory holds, sorted by name, without hidden files and the like."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not left_behind(entry.name)]
    except OSError as error:
        report(
            folder,
            f"cannot read the directory {folder} ({error.strerror}): extract the data set again, "
            "whole, or check the permissions",
        )
        return []
    return sorted(found, key=lambda entry: entry.name)


def read_named(
    folder: Path, name: re.Pattern[str], content: str, report: OnFault = refuse
) -> Iterator[tuple[os.DirEntry[str], re.Match[str]]]:
    """What a directory holds, where every name must match `name`; `content` says so in messages."""
    for entry in read_directory(folder, report):
        match = name.fullmatch(entry.name)
        if _NOT_UTF8.search(entry.name):
            report(entry.path, f"{entry.path}: its name is not UTF-8; rename it or move it away")
        elif match:
            yield entry, match
        else:
            message = f"{entry.path} does not belong here: {content}; rename it or move it away"
            report(entry.path, message)


def read_images(
    folder: Path, name: re.Pattern[str], example: str, report: OnFault = refuse
) -> Iterator[tuple[str, re.Match[str]]]:
    """(file name, match of `name`) of the images in an identity's directory, sorted by name.

    Nothing else may be there; `example` is an image's name, for messages.
    """
    content = f"{folder.parent.name}/{folder.name} holds images named as {example}"
    for image, match in read_named(folder, name, content, report):
        if os.path.isfile(image.path):
            yield image.name, match
        else:
            report(image.path, f"{image.path} is no image file: replace it or move it away")


def read_camera(
    folder: Path,
    identities: Collection[int],
    name: re.Pattern[str],
    example: str,
    report: OnFault = refuse,
) -> Iterator[tuple[int, str]]:
    """(identity, `<identity>/<file>`) of the images in a camera's directory, sorted by both.

    Images of these `identities` only, whom a camera need not all have seen; other directories are
    not opened. `name` and `example` are as for `read_images`.
    """
    content = f"{folder.name} holds one directory per identity, named by its number as 0007"
    for person, _ in read_named(folder, _PERSON, content, report):
        if int(person.name) in identities:
            for image, _ in read_images(Path(person.path), name, example, report):
                yield int(person.name), f"{person.name}/{image}"


def leads_out(path: str) -> bool:
    """Whether a path leads, or may lead, out of the directory that it should be relative to."""
    return bool(_ABSOLUTE.match(path)) or ".." in path.split("/")


def read_bytes(file: Path, missing: str, most: int = MAX_BYTES) -> bytes:
    """What a file of at most `most` bytes holds.

    Raises:
      InputError: it cannot be read, or is larger; `missing` where there is none.
    """
    try:
        if not is_endless(file):
            with file.open("rb") as opened:
                small = os.fstat(opened.fileno()).st_size <= most
                content = opened.read(most + 1) if small else b""  # it may grow
            if small and len(content) <= most:
                return content
            what = f"larger than {most >> 20} MiB"
            raise InputError(f"{file} is {what}, the most that is read of such a file: correct it")
        what = "it is a pipe or a device"
    except FileNotFoundError:
        raise InputError(missing) from None
    except OSError as error:
        what = error.strerror
    raise InputError(f"cannot read {file} ({what}): check it and its permissions")


def read_text(file: Path, missing: str, advice: str) -> str:
    """What a text in UTF-8 holds, with or without a byte order mark.

    Raises:
      InputError: as `read_bytes`; or it is no such text, with `advice` what to do.
    """
    content = read_bytes(file, missing)
    # A NUL is valid UTF-8, but there is none in text: UTF-16 is full of them.
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
    """Check that no two of several named groups of people share an identity."""
    for (first, one), (second, other) in itertools.combinations(people.items(), 2):
        shared = sorted(set(one) & set(other))
        if shared:
            zero = f"; or say by {ZERO} that 0 is a distractor" if 0 in shared else ""
            report(
                where,
                f"{where}: {plural(len(shared), 'identity')} in both {first} and {second} "
                f"({some(shared)}): training and test sets must not share identities; take them "
                f"out of one{zero}",
            )
