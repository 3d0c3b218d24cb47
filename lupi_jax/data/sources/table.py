"""Reads a data set from a table of its images, as CSV or Parquet.

The table has one row per image, and the columns `path`, `identity`, `camera`, `modality`, `split`
and, optionally, `role`, in any order.
"""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from lupi_jax.data.index import DISTRACTOR, JUNK, ROLES, Index, Row, make_index
from lupi_jax.data.sources import parquet
from lupi_jax.data.sources.files import (
    INDEX,
    ROOT,
    OnFault,
    check_root,
    leads_out,
    read_bytes,
    read_text,
    refuse,
    require_disjoint,
)
from lupi_jax.errors import InputError, plural, some
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import expand

TABLE_SPLITS = ("train", "val", "test")
COLUMNS = ("path", "identity", "camera", "modality", "split")
ROLE = "role"
"""The column that a table may lack."""

_MODALITIES = (str(Modality.VISIBLE), str(Modality.INFRARED))
CHOICES = {"modality": _MODALITIES, "split": TABLE_SPLITS, ROLE: ROLES}
"""{column: the words that it may hold}. The role may also be empty."""
_LARGEST = 2**31 - 1  # the largest int32
_GONE = (
    "bring the image back, or delete the line or run `lupi index` again; or correct the path, its "
    f"permissions, or {ROOT}"
)
_NUMBER = re.compile(r"[0-9]{1,10}")
_NO_PATH = re.compile(r"[\x00-\x1f\x7f\\]")

_Line = tuple[str, Sequence[str], str]
"""A place in a file ("line 3", "row 2"), the cells of `COLUMNS` and the role, and why the cells are
missing, or ""."""


def read_table(
    file: str | Path,
    root: str | Path,
    split: str | None,
    report: OnFault = refuse,
    distractors: bool = False,
) -> Index:
    """Index one split of a data set from a table of its images, in the table's order.

    The columns may be in any order, and other columns are ignored:
      path: path of the image file, relative to `root`, with forward slashes and without "..".
        Symbolic links below the root are followed wherever they lead, because the owner of the
        root made them, not the author of the table.
      identity, camera: whole numbers from 0 to 2^31 - 1. Identity -1 is junk.
      modality: "visible" or "infrared".
      split: "train", "val" or "test". Only junk and distractors may be in two splits.
      role: "query" or "gallery" for an image that an evaluation uses only as such, or empty for
        both. This column may be missing. Training ignores it.

    CSV is UTF-8 text, with or without a byte order mark. Its first line names the columns; cells
    are separated by commas and may be in double quotes. Empty lines are ignored, as are blanks
    around any cell except a path. Every row is checked, and every image of the split must exist. A
    table has at most 2 million rows and 256 MiB, and a cell in Parquet at most 4096 characters.

    Args:
      file: the table, `.csv` or `.parquet` (which needs the extra `parquet`).
      root: directory that the paths are relative to.
      split: "train", "val" or "test", or None for all three.
      report: called for every fault in a row, which is then left out; by default the first fault
        is raised.
      distractors: whether identity 0 stands for distractors.

    Raises:
      InputError: the root or the file is missing, unreadable or of another kind; a column is
        missing or there twice; a cell does not fit its column; a path is listed twice; a person is
        in two splits; the split has no image; or an image of the split does not exist.
    """
    file, root = expand(file), check_root(root, split, TABLE_SPLITS)
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if file.suffix.lower() not in readers:
        raise InputError(f"{file}: a table of images is a .csv or a .parquet file")
    places: dict[str, str] = {}
    people: dict[str, set[int]] = {name: set() for name in TABLE_SPLITS}
    rows = []
    for count, (place, cells, fault) in enumerate(readers[file.suffix.lower()](file)):
        if count == parquet.MAX_ROWS:
            raise InputError(f"{file} lists more than {count} images, the limit: shorten it")
        if fault := fault or row_fault(*cells):
            report(file, f"{file}, {place}: {fault}")
            continue
        path, identity, camera, modality, part, role = cells
        path = PurePosixPath(path).as_posix()
        if (first := places.setdefault(path, place)) != place:
            report(file, f"{file}, {place}: {path!r} is listed on {first} already: remove one")
            continue
        people[part].add(int(identity))
        if split in (part, None):
            rows.append(Row(path, int(identity), int(camera), modality, role))
    nobody = {JUNK, DISTRACTOR} if distractors else {JUNK}
    require_disjoint(file, {name: own - nobody for name, own in people.items()}, report)
    there, gone = [], []
    for row in rows:
        (there if os.path.isfile(root / row.path) else gone).append(row)
    for row in gone:
        what = f"no image file at {str(root / row.path)!r}"
        if len(gone) > 1 and report is refuse:  # no other fault will be named
            what += f" ({len(gone)} of {len(rows)} images are missing)"
        report(file, f"{file}, {places[row.path]}: {what}: {_GONE}")
    if not there:
        which = f" of split {split}" if split else ""
        raise InputError(f"{file} lists no image{which} that exists: add some, or correct {ROOT}")
    return dataclasses.replace(make_index(root, there), distractors=distractors)


def _read_csv(file: Path) -> Iterator[_Line]:
    text = read_text(file, _missing(file), "save the table as CSV in UTF-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    order: list[int] = []
    end = 0
    try:
        for cells in reader:
            place, end = f"line {end + 1}", reader.line_num
            if not any(map(str.strip, cells)):
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                _check_names(file, names)
                order = [names.index(name) for name in (*COLUMNS, ROLE) if name in names]
            elif len(cells) == len(names):
                yield place, _cells([cells[column] for column in order]), ""
            else:
                cut = f"{plural(len(cells), 'cell')} instead of {len(names)}: check its commas"
                yield place, (), cut
    except csv.Error as error:
        what = f"is not CSV ({error}): check its quotes"
        raise InputError(f"{file}, line {end + 1} {what}") from error
    if not names:
        _check_names(file, names)


def _read_parquet(file: Path) -> Iterator[_Line]:
    if not _has_pyarrow():
        raise InputError(
            f"reading {file} needs PyArrow: pip install 'lupi-jax[parquet]', or write the table as "
            ".csv"
        )
    content = read_bytes(file, _missing(file))
    try:
        names, *rows = parquet.read_parquet(content, COLUMNS, ROLE)
    except parquet.ParquetError as error:
        raise InputError(f"{file} {error}") from error
    _check_names(file, names)
    for row, (null, *cells) in enumerate(rows, 1):
        fault = "a cell is null: fill it in, or drop the row" if null else ""
        yield f"row {row}", _cells(cells), fault


def _cells(found: Sequence[str]) -> list[str]:
    """The cells of a row without outer blanks; the role is empty if the table lacks the column."""
    path, *others = found
    cells = [path, *map(str.strip, others)]
    return cells if len(cells) > len(COLUMNS) else [*cells, ""]


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def _missing(file: Path) -> str:
    return f"no table of images at {file}: correct {INDEX}"


def _check_names(file: Path, names: Sequence[str]) -> None:
    if any(names.count(name) != 1 for name in COLUMNS):
        found = some([repr(name[:80]) for name in names]) or "none"
        raise InputError(
            f"{file} needs the columns {', '.join(COLUMNS)} once each (in CSV on its first line, "
            f"separated by commas): it has {found}"
        )
    if names.count(ROLE) > 1:
        raise InputError(f"{file} has the column {ROLE} {names.count(ROLE)} times: keep one")


def row_fault(
    path: str, identity: str, camera: str, modality: str, split: str, role: str = ""
) -> str:
    """What is wrong with the cells of a row; "" if they fit."""
    if not path or _NO_PATH.search(path) or leads_out(path):
        return (
            f"path {path[:80]!r} must be relative to the root, with forward slashes, without .. "
            "and control characters"
        )
    for name, cell in (("identity", identity), ("camera", camera)):
        junk = name == "identity" and cell == str(JUNK)
        if not junk and (not _NUMBER.fullmatch(cell) or int(cell) > _LARGEST):
            return f"{name} {cell[:80]!r} is not a whole number from 0 to {_LARGEST}"
    for name, cell, names in (("modality", modality, _MODALITIES), ("split", split, TABLE_SPLITS)):
        if cell not in names:
            return f"{name} {cell[:80]!r} is not one of {', '.join(names)}"
    if role not in ("", *ROLES):
        return f"role {role[:80]!r} is not one of {', '.join(ROLES)}, nor empty (both)"
    return ""
