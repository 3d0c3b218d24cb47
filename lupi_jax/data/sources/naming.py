"""Makes a table of images from their paths, whose parts a regular expression names."""

import contextlib
import csv
import dataclasses
import io
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lupi_jax.data.decoding import IMAGE_SUFFIXES
from lupi_jax.data.index import DISTRACTOR, JUNK
from lupi_jax.data.sources.files import check_root, require_disjoint, walk_links
from lupi_jax.data.sources.parquet import MAX_ROWS
from lupi_jax.data.sources.table import CHOICES, COLUMNS, ROLE, row_fault
from lupi_jax.errors import InputError, reason, shorten

GROUPS = (*COLUMNS[1:], ROLE)
"""The groups that a pattern may name. Only the role may be left out."""

PATHS_PER_SECOND = 100
"""The slowest pace for a pattern. A usual pattern matches hundreds of thousands of paths per
second; a slower one than this would take hours."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """How to read the identity, camera and so on of an image from its path.

    Attributes:
      pattern: a regular expression for the whole path below the root, with forward slashes. Its
        named groups are some of `GROUPS`.
      constants: {group: text for the paths in which the group matches nothing}.
      values: {group: {text in a path: text in the table}}; other texts stay as they are.
      without: directories of the root whose images are not part of the data set.
      distractors: whether identity 0 stands for distractors.
    """

    pattern: str
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    without: Sequence[str] = ()
    distractors: bool = False


NAMINGS = {
    "market1501": Naming(
        r"(?=(?P<role>\w+)/)(?P<split>bounding_box_train|bounding_box_test|query)/"
        r"(?P<identity>-1|[0-9]+)_c(?P<camera>[0-9]+)[^0-9/][^/]*",
        {"modality": "visible"},
        {
            "split": {"bounding_box_train": "train", "bounding_box_test": "test", "query": "test"},
            "role": {"bounding_box_train": "", "bounding_box_test": "gallery"},
        },
        ("gt_bbox", "gt_query"),
        distractors=True,
    ),
    "query-gallery": Naming(
        r"(?=(?P<role>\w+)/)(?P<split>train|val|query|gallery)/"
        r"(?:(?P<modality>visible|infrared)/)?"
        r"(?P<identity>-1|[0-9]+)[_/]c(?P<camera>[0-9]+)[^0-9/][^/]*",
        {},
        {"split": {"query": "test", "gallery": "test"}, "role": {"train": "", "val": ""}},
    ),
}
"""The ready-made namings. Market-1501 (Zheng et al., ICCV 2015) has junk (-1) and distractors (0);
its hand-drawn boxes are left out."""


class Named(NamedTuple):
    """What `read_names` read from the paths below a root.

    Attributes:
      rows: cells of `COLUMNS` and the role, sorted by path.
      unmatched: paths that the pattern does not match.
      faults: lines about paths that cannot be in a table; each names the path.
      foreign: {column of `CHOICES`: words in the paths, or constants, that it may not hold}.
      passed_over: files that are not images, and links that are not followed.
      left_out: number of images in directories that are not part of the data set.
      defaulted: groups for which a constant was used.
    """

    rows: list[tuple[str, ...]]
    unmatched: list[str]
    faults: list[str]
    foreign: dict[str, set[str]]
    passed_over: list[Path]
    left_out: int
    defaulted: set[str]

    @property
    def has_roles(self) -> bool:
        """Whether any row has a role."""
        return any(row[-1] for row in self.rows)


def read_names(root: str | Path, naming: Naming) -> Named:
    """Read the paths of all images below a directory; no image is opened.

    Links to directories are followed, and every directory is read once. Hidden files are ignored.

    Args:
      root: directory of the data set.
      naming: how to read a path.

    Raises:
      InputError: the root is not a directory or holds no images; the pattern is not a regular
        expression, lacks a group, has a group that is not in `GROUPS`, or (checked only in
        Python's main thread) matches fewer than `PATHS_PER_SECOND`; or an identity is in two
        splits.
      OSError: a directory cannot be read.
    """
    root, pattern = check_root(root, None), _compile(naming)
    passed_over: list[Path] = []
    every = sorted(f.relative_to(root).as_posix() for f in walk_links(root, passed_over.append))
    images = [path for path in every if path.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        raise InputError(f"no images below {root}: looked for {', '.join(IMAGE_SUFFIXES)}")
    kept = [path for path in images if path.partition("/")[0] not in naming.without]
    if len(kept) > MAX_ROWS:
        raise InputError(
            f"{root} has {len(kept)} images, and a table at most {MAX_ROWS}: divide the directory"
        )
    passed_over += [root / path for path in sorted(set(every) - set(images))]
    found = Named([], [], [], {}, passed_over, len(images) - len(kept), set())
    files: dict[tuple[int, int], str] = {}
    for path, groups in zip(kept, _match(pattern, kept), strict=True):
        if groups is None:
            found.unmatched.append(path)
            continue
        row = _row(path, groups, naming)
        found.defaulted.update(n for n in naming.constants if groups.get(n) is None)
        for name, choices in CHOICES.items():
            if (word := row[1 + GROUPS.index(name)]) and word not in choices:
                found.foreign.setdefault(name, set()).add(word)
        if fault := _fault(root, row, files):
            found.faults.append(f"{root / path}: {fault}")
        else:
            found.rows.append(row)
    _require_disjoint(root, found.rows)
    return found


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """`Named.rows` as CSV for `read_table`; the column role is left out if it would be empty."""
    names = [*COLUMNS, ROLE] if any(row[-1] for row in rows) else COLUMNS
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(row[: len(names)] for row in rows)
    return text.getvalue()


def _compile(naming: Naming) -> re.Pattern[str]:
    """The compiled pattern of a naming, after a check that pattern and constants fill a table."""
    what = f"--pattern {shorten(naming.pattern, 120)!r}"
    try:
        pattern = re.compile(naming.pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{what} is not a regular expression ({error}): correct it") from error
    names = set(pattern.groupindex)
    if foreign := sorted(names - set(GROUPS)):
        raise InputError(
            f"{what} names the groups {', '.join(foreign)}: it may name {', '.join(GROUPS)}"
        )
    lacking = [n for n in GROUPS if n != ROLE and n not in names | set(naming.constants)]
    if lacking:
        ready = "" if names else f", or use a ready pattern ({', '.join(NAMINGS)})"
        raise InputError(
            f"{what} does not say {', '.join(lacking)}: name a group, such as "
            f"(?P<{lacking[0]}>...), or give the value for all images, --{lacking[0]} VALUE{ready}"
        )
    if unnamed := sorted(set(naming.values) - names):
        raise InputError(
            f"--{unnamed[0]} maps texts, but {what} has no such group: add (?P<{unnamed[0]}>...)"
        )
    return pattern


def _match(pattern: re.Pattern[str], paths: Sequence[str]) -> list[Mapping[str, str | None] | None]:
    """The groups of each path; None for a path that the pattern does not match as a whole."""
    matches: list[Mapping[str, str | None] | None] = []
    before = 0

    def require_pace() -> None:
        nonlocal before
        if len(matches) - before < PATHS_PER_SECOND:
            raise InputError(
                f"--pattern {shorten(pattern.pattern, 120)!r} takes too long on "
                f"{shorten(paths[len(matches)], 120)!r}: nested repetitions such as (a+)+ try "
                "every way to divide a text; write [^/]* or [0-9]+ instead"
            )
        before = len(matches)

    with _ticking(require_pace):
        for path in paths:
            match = pattern.fullmatch(path)
            matches.append(match and match.groupdict())
    return matches


@contextlib.contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` after each second of this process's CPU time, even during a match."""
    # During a match Python handles signals but runs no other thread. CPU time is used because the
    # machine may be busy or asleep.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, lambda number, frame: tick())
    signal.setitimer(signal.ITIMER_VIRTUAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _row(path: str, groups: Mapping[str, str | None], naming: Naming) -> tuple[str, ...]:
    """The table's cells for a path."""
    cells = [path]
    for name in GROUPS:
        text = groups.get(name)
        text = naming.constants.get(name, "") if text is None else text
        text = naming.values.get(name, {}).get(text, text)
        if name in ("identity", "camera") and re.fullmatch("0[0-9]+", text):
            text = text.lstrip("0") or "0"
        cells.append(text)
    return tuple(cells)


def _fault(root: Path, row: tuple[str, ...], files: dict[tuple[int, int], str]) -> str:
    """Why a row cannot be in the table; "" if it can.

    `files` maps (device, inode) of the earlier rows' files to their paths; the row's is added.
    """
    path = row[0]
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the name is not UTF-8; rename it"
    if lacking := [name for name, cell in zip(COLUMNS, row, strict=False) if not cell]:
        which = ", ".join(lacking)
        return f"the name does not say {which}: give --{lacking[0]} for all such images"
    if fault := row_fault(*row):
        return fault
    try:
        found = os.stat(root / path)
    except OSError as error:
        return f"{reason(error)}; restore or remove the file"
    first = files.setdefault((found.st_dev, found.st_ino), path)
    return "" if first == path else f"the same file as {first}; remove one of the two names"


def _require_disjoint(root: Path, rows: Sequence[Sequence[str]]) -> None:
    """Check that no identity is in two splits, except junk and 0, which may be a distractor."""
    people: dict[str, set[int]] = {}
    for _, identity, _, _, split, _ in rows:
        if int(identity) not in (JUNK, DISTRACTOR):
            people.setdefault(split, set()).add(int(identity))
    require_disjoint(root, people)
