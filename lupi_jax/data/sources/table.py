"""Any data set, as a table of its images: CSV or Parquet.

Columns `path`, `identity`, `camera`, `modality` and `split`, in any order, one row per image.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.data.sources.files import (
    INDEX,
    ROOT,
    OnFault,
    check_root,
    is_file,
    leads_out,
    read_bytes,
    read_text,
    refuse,
    require_disjoint,
)
from lupi_jax.errors import InputError, some
from lupi_jax.modality import Modality

TABLE_SPLITS = ("train", "val", "test")
_COLUMNS = ("path", "identity", "camera", "modality", "split")
_NUMBERS = ("identity", "camera")
_MODALITIES = (str(Modality.VISIBLE), str(Modality.INFRARED))
_LARGEST = 2**31 - 1  # of an int32
_NUMBER = re.compile(r"[0-9]{1,10}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _Entry(NamedTuple):
    """One row of a table as text, and its place: the line of a CSV file, the row of a Parquet."""

    place: int
    path: str
    identity: str
    camera: str
    modality: str
    split: str


class _Table(NamedTuple):
    """What a file lists; `unit` names a place in it, "line" or "row"."""

    file: Path
    unit: str
    entries: list[_Entry]


def read_table(
    file: str | Path, root: str | Path, split: str | None, report: OnFault = refuse
) -> Index:
    """Index one split of a data set that comes with a table of its images, in the table's order.

    The columns, of which all are needed, in any order; others are allowed and ignored:
      path: of the image file, relative to `root`, with forward slashes, without "..". Symbolic
        links below the root are followed, wherever they lead: they are its owner's, not the
        table's.
      identity, camera: whole numbers from 0 to 2^31 - 1; in Parquet, of an integer type.
      modality: "visible" or "infrared".
      split: "train", "val" or "test". Nobody may be in two of them.

    CSV is UTF-8 text, with or without a byte order mark, with commas, double quotes where needed,
    and a first line that names the columns. Empty lines, and blanks around anything but a path,
    are passed over. Every row is checked; of the images, those of the split have to be there.

    Args:
      file: `.csv`, or `.parquet` (needs the extra `parquet`); lines of a CSV file and rows of a
        Parquet file are counted from 1 in messages.
      root: directory the paths are relative to.
      split: "train", "val" or "test", or None for all three.
      report: told of every fault of a row, which is then left out; by default the first is raised.

    Raises:
      InputError: the root or the file is missing, unreadable or of another kind; a column is
        missing or there twice; a cell does not fit its column; a path is listed twice; someone is
        in two splits; the split has no image; or one of its images is not there.
    """
    file, root = Path(file), check_root(root, split, TABLE_SPLITS)
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if file.suffix.lower() not in readers:
        raise InputError(f"{file}: a table of images is a .csv or a .parquet file")
    table = readers[file.suffix.lower()](file, report)
    for column in _COLUMNS:
        table = _check_cells(table, column, report)
    table = table._replace(
        entries=[e._replace(path=PurePosixPath(e.path).as_posix()) for e in table.entries]
    )
    table = _check_repeated(table, report)
    entries = table.entries
    people = {name: {int(e.identity) for e in entries if e.split == name} for name in TABLE_SPLITS}
    require_disjoint(file, people, report)
    chosen = [entry for entry in table.entries if split in (entry.split, None)]
    if not chosen:
        others = [name for name in TABLE_SPLITS if name in {e.split for e in table.entries}]
        which = f" of split {split}, only of {' and '.join(others)}" if others else ""
        raise InputError(f"{file} lists no image{which}: add some")
    chosen = _check_files(root, table._replace(entries=chosen), report).entries
    if not chosen:
        raise InputError(f"{file} lists no image that is there: correct its paths, or {ROOT}")
    return make_index(
        root, [Row(e.path, int(e.identity), int(e.camera), e.modality) for e in chosen]
    )


def _missing(file: Path) -> str:
    return f"no table of images at {file}: correct {INDEX}"


def _read_csv(file: Path, report: OnFault) -> _Table:
    text = read_text(file, _missing(file), "save the table as CSV in UTF-8")
    records = _records(file, text)
    _, header = next(records, (0, []))
    if not header:
        raise InputError(f"{file} is empty: its first line names the columns {_columns()}")
    names = [name.strip() for name in header]
    _check_names(file, names)
    pick = itemgetter(*map(names.index, _COLUMNS))
    entries, ragged = [], []
    for line, cells in records:
        if len(cells) == len(names):
            entries.append(_entry(line, pick(cells)))
        else:
            ragged.append((line, f"{len(cells)} cells instead of {len(names)}: check its commas"))
    return _drop(_Table(file, "line", entries), ragged, report)


def _records(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file}, line {line} is not CSV ({error}): check its quotes") from error


def _read_parquet(file: Path, report: OnFault) -> _Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(
            f"{file} needs PyArrow to be read: pip install 'lupi-jax[parquet]', or write the table "
            "as .csv"
        ) from error
    content = read_bytes(file, _missing(file))
    try:
        parquet = pq.ParquetFile(io.BytesIO(content))
        schema = parquet.schema_arrow
        _check_names(file, schema.names)
        for name in _COLUMNS:
            _check_type(file, name, schema.field(name).type)
        table = parquet.read(list(_COLUMNS))
        columns = [table.column(name).to_pylist() for name in _COLUMNS]
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file} is no Parquet file, or damaged: write it anew") from error
    rows = list(enumerate(zip(*columns, strict=True), 1))
    nulls = [
        (row, f"{_COLUMNS[cells.index(None)]} is null: fill it in, or drop the row")
        for row, cells in rows
        if None in cells
    ]
    return _drop(_Table(file, "row", [_entry(row, cells) for row, cells in rows]), nulls, report)


def _check_type(file: Path, name: str, given: Any) -> None:
    """Check that a column is of an integer or a text type, as it has to be."""
    from pyarrow import types

    kind = given.value_type if types.is_dictionary(given) else given
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    fits = (types.is_integer,) if name in _NUMBERS else texts
    if not any(fit(kind) for fit in fits):
        wanted = "whole numbers (an integer type)" if name in _NUMBERS else "text (string)"
        raise InputError(f"{file}: column {name} is of type {given}: it must hold {wanted}")


def _entry(place: int, cells: Sequence[object]) -> _Entry:
    path, *others = map(str, cells)
    return _Entry(place, path, *(cell.strip() for cell in others))


def _columns() -> str:
    return ", ".join(_COLUMNS)


def _check_names(file: Path, names: Sequence[str]) -> None:
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        found = some([repr(name[:80]) for name in names])
        raise InputError(
            f"{file} lacks the column {', '.join(missing)}: it has {found}, and {_columns()} are "
            "needed (in CSV, separated by commas)"
        )
    repeated = [name for name in _COLUMNS if names.count(name) > 1]
    if repeated:
        raise InputError(f"{file} has the column {', '.join(repeated)} twice: remove one")


def _drop(table: _Table, found: Sequence[tuple[int, str]], report: OnFault) -> _Table:
    """Report what is wrong with some of the rows, (place, what) of each; the table without them."""
    count = f" (first of {len(found)})" if len(found) > 1 else ""
    for place, what in found:
        report(table.file, f"{table.file}, {table.unit} {place}{count}: {what}")
        count = ""
    wrong = {place for place, _ in found}
    return table._replace(entries=[e for e in table.entries if e.place not in wrong])


def _check_cells(table: _Table, column: str, report: OnFault) -> _Table:
    cells = [(entry.place, getattr(entry, column)) for entry in table.entries]
    wrong = [(place, cell, _wrong(column, cell)) for place, cell in cells]
    found = [(place, f"{column} {cell[:80]!r} {what}") for place, cell, what in wrong if what]
    return _drop(table, found, report)


def _wrong(column: str, cell: str) -> str:
    """What is wrong with a cell of a column; "" where it fits."""
    if column == "path":
        return _wrong_path(cell)
    if column in _NUMBERS:
        fits = _NUMBER.fullmatch(cell) and int(cell) <= _LARGEST
        return "" if fits else f"is no whole number from 0 to {_LARGEST}: number them"
    names = _MODALITIES if column == "modality" else TABLE_SPLITS
    return "" if cell in names else f"is none of {', '.join(names)}"


def _wrong_path(path: str) -> str:
    if not path:
        return "is empty"
    if _CONTROL.search(path):
        return "has a control character: rename the file"
    if "\\" in path:
        return "has a backslash: write paths with forward slashes"
    return leads_out(path)


def _check_repeated(table: _Table, report: OnFault) -> _Table:
    first: dict[str, int] = {}
    found = [
        (e.place, f"{e.path!r} is listed on {table.unit} {first[e.path]} already: remove one")
        for e in table.entries
        if first.setdefault(e.path, e.place) != e.place
    ]
    return _drop(table, found, report)


def _check_files(root: Path, table: _Table, report: OnFault) -> _Table:
    missing = [
        (e.place, f"no image file at {str(root / e.path)!r}: correct the path, or {ROOT}")
        for e in table.entries
        if not is_file(f"{root}/{e.path}")
    ]
    return _drop(table, missing, report)
