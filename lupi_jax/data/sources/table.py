"""Any data set, as a table of its images: CSV or Parquet.

Columns `path`, `identity`, `camera`, `modality` and `split`, in any order, one row per image.
"""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from lupi_jax.data.index import DISTRACTOR, JUNK, Index, Row, make_index
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
_COLUMNS = ("path", "identity", "camera", "modality", "split")
_MODALITIES = (str(Modality.VISIBLE), str(Modality.INFRARED))
_LARGEST = 2**31 - 1  # of an int32
_NUMBER = re.compile(r"[0-9]{1,10}")
_NO_PATH = re.compile(r"[\x00-\x1f\x7f\\]")

_Line = tuple[str, Sequence[str], str]
"""Where in a file ("line 3", "row 2"), the cells of `_COLUMNS`, and why there are none, or ""."""


def read_table(
    file: str | Path,
    root: str | Path,
    split: str | None,
    report: OnFault = refuse,
    distractors: bool = False,
) -> Index:
    """Index one split of a data set that comes with a table of its images, in the table's order.

    The columns, of which all are needed, in any order; others are allowed and ignored:
      path: of the image file, relative to `root`, with forward slashes, without "..". Symbolic
        links below the root are followed, wherever they lead: they are its owner's, not the
        table's.
      identity, camera: whole numbers from 0 to 2^31 - 1. Identity -1 is junk.
      modality: "visible" or "infrared".
      split: "train", "val" or "test". Nobody may be in two of them, but junk and distractors.

    CSV is UTF-8 text, with or without a byte order mark, with commas, double quotes where needed,
    and a first line that names the columns. Empty lines, and blanks around anything but a path,
    are passed over. Every row is checked; of the images, those of the split have to be there.
    A table has at most 2 million rows and 256 MiB, which is fixed; a path has 4096 characters.

    Args:
      file: `.csv`, or `.parquet` (needs the extra `parquet`).
      root: directory the paths are relative to.
      split: "train", "val" or "test", or None for all three.
      report: told of every fault of a row, which is then left out; by default the first is raised.
      distractors: whether identity 0 is nobody.

    Raises:
      InputError: the root or the file is missing, unreadable or of another kind; a column is
        missing or there twice; a cell does not fit its column; a path is listed twice; someone is
        in two splits; the split has no image; or one of its images is not there.
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
            raise InputError(f"{file} lists more than {count} images, the most that is read")
        if fault := fault or _fault(*cells):
            report(file, f"{file}, {place}: {fault}")
            continue
        path, identity, camera, modality, part = cells
        path = PurePosixPath(path).as_posix()
        if (first := places.setdefault(path, place)) != place:
            report(file, f"{file}, {place}: {path!r} is listed on {first} already: remove one")
            continue
        people[part].add(int(identity))
        if split in (part, None):
            rows.append(Row(path, int(identity), int(camera), modality))
    nobody = {JUNK, DISTRACTOR} if distractors else {JUNK}
    require_disjoint(file, {name: own - nobody for name, own in people.items()}, report)
    there = []
    for row in rows:
        if os.path.isfile(root / row.path):
            there.append(row)
        else:
            what = f"no image file at {str(root / row.path)!r}"
            advice = f"correct the path, its permissions, or {ROOT}"
            report(file, f"{file}, {places[row.path]}: {what}: {advice}")
    if not there:
        which = f" of split {split}" if split else ""
        raise InputError(f"{file} lists no image{which} that is there: add some, or correct {ROOT}")
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
                order = [names.index(name) for name in _COLUMNS]
            elif len(cells) == len(names):
                path, *others = (cells[column] for column in order)
                yield place, [path, *map(str.strip, others)], ""
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
            f"{file} needs PyArrow to be read: pip install 'lupi-jax[parquet]', or write the table "
            "as .csv"
        )
    content = read_bytes(file, _missing(file))
    try:
        names, *rows = parquet.read_parquet(content, _COLUMNS)
    except parquet.ParquetError as error:
        raise InputError(f"{file} {error}") from error
    _check_names(file, names)
    for row, (null, path, *others) in enumerate(rows, 1):
        fault = "a cell is null: fill it in, or drop the row" if null else ""
        yield f"row {row}", [path, *map(str.strip, others)], fault


def _has_pyarrow() -> bool:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def _missing(file: Path) -> str:
    return f"no table of images at {file}: correct {INDEX}"


def _check_names(file: Path, names: Sequence[str]) -> None:
    if any(names.count(name) != 1 for name in _COLUMNS):
        found = some([repr(name[:80]) for name in names]) or "none"
        raise InputError(
            f"{file} needs the columns {', '.join(_COLUMNS)} once each (in CSV on its first line, "
            f"separated by commas): it has {found}"
        )


def _fault(path: str, identity: str, camera: str, modality: str, split: str) -> str:
    """What is wrong with the cells of a row; "" where they fit."""
    if not path or _NO_PATH.search(path) or leads_out(path):
        return (
            f"path {path[:80]!r} must be relative to the root, with forward slashes, without .. "
            "and control characters"
        )
    for name, cell in (("identity", identity), ("camera", camera)):
        junk = name == "identity" and cell == str(JUNK)
        if not junk and (not _NUMBER.fullmatch(cell) or int(cell) > _LARGEST):
            return f"{name} {cell[:80]!r} is no whole number from 0 to {_LARGEST}"
    for name, cell, names in (("modality", modality, _MODALITIES), ("split", split, TABLE_SPLITS)):
        if cell not in names:
            return f"{name} {cell[:80]!r} is not one of {', '.join(names)}"
    return ""
