"""A table of images from their names: a regular expression says what the parts of a path mean."""

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
from lupi_jax.data.sources.table import COLUMNS, ROLE, row_fault
from lupi_jax.errors import InputError, shorten

GROUPS = (*COLUMNS[1:], ROLE)
"""What a pattern may name; of the role alone it may say nothing."""

PATHS_PER_SECOND = 100
"""A pattern that matches fewer would take hours; a usual one matches hundreds of thousands."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """How the paths of a data set's images say what is on them.

    Attributes:
      pattern: a regular expression that a whole path below the root matches, with forward slashes,
        and whose named groups are some of `GROUPS`.
      constants: {group: its text, for every path that has none}.
      values: {group: {its text in a path: the text in the table}}; other texts stay.
      without: directories of the root whose images are not part of the data set.
      distractors: whether identity 0 is nobody.
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
"""Ready ones, by name. Market-1501's (Zheng et al., ICCV 2015) has junk, -1, and distractors, 0.
Its boxes that were drawn by hand are left out."""


class Named(NamedTuple):
    """What the names of images below a root say.

    Attributes:
      rows: cells of `COLUMNS` and of the role, sorted by path.
      unmatched: paths that the pattern does not match.
      faults: what a table cannot hold, a line each, which names the path.
      passed_over: files that are no images, and links that are not followed.
      left_out: images in directories that are not part of the data set.
      defaulted: the groups whose constant was needed.
    """

    rows: list[tuple[str, ...]]
    unmatched: list[str]
    faults: list[str]
    passed_over: list[Path]
    left_out: int
    defaulted: set[str]

    @property
    def has_roles(self) -> bool:
        """Whether a row has a role."""
        return any(row[-1] for row in self.rows)


def read_names(root: str | Path, naming: Naming) -> Named:
    """Read the paths of all images below a directory; no image is opened.

    Directories behind links are read as well, each once. Hidden files are not seen.

    Raises:
      InputError: the root is no directory, or holds no image; the pattern is no regular expression,
        lacks a group, has another one, or (in Python's main thread) matches fewer than
        `PATHS_PER_SECOND`; or somebody is in two splits.
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
        raise InputError(f"{root} has {len(kept)} images: a table lists at most {MAX_ROWS}")
    passed_over += [root / path for path in sorted(set(every) - set(images))]
    found = Named([], [], [], passed_over, len(images) - len(kept), set())
    files: dict[tuple[int, int], str] = {}
    for path, groups in zip(kept, _match(pattern, kept), strict=True):
        if groups is None:
            found.unmatched.append(path)
            continue
        row = _row(path, groups, naming)
        found.defaulted.update(n for n in naming.constants if groups.get(n) is None)
        if fault := _fault(root, row, files):
            found.faults.append(f"{root / path}: {fault}")
        else:
            found.rows.append(row)
    _require_disjoint(root, found.rows)
    return found


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """The CSV of `Named.rows`, which `read_table` reads; without a column role if none has one."""
    names = [*COLUMNS, ROLE] if any(row[-1] for row in rows) else COLUMNS
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(row[: len(names)] for row in rows)
    return text.getvalue()


def _compile(naming: Naming) -> re.Pattern[str]:
    """The pattern of a naming, which with its constants says all that a table needs."""
    what = f"--pattern {shorten(naming.pattern, 120)!r}"
    try:
        pattern = re.compile(naming.pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{what} is no regular expression ({error}): correct it") from error
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
            f"--{unnamed[0]} maps the texts of a group that {what} lacks: name it, "
            f"(?P<{unnamed[0]}>...)"
        )
    return pattern


def _match(pattern: re.Pattern[str], paths: Sequence[str]) -> list[Mapping[str, str | None] | None]:
    """The groups of each path, None where the pattern does not match all of it."""
    matches: list[Mapping[str, str | None] | None] = []
    before = 0

    def require_pace() -> None:
        nonlocal before
        if len(matches) - before < PATHS_PER_SECOND:
            raise InputError(
                f"--pattern {shorten(pattern.pattern, 120)!r} takes too long on "
                f"{shorten(paths[len(matches)], 120)!r}: repetitions that can share a text in many "
                "ways, as in (a+)+, try all of them; write [^/]* or [0-9]+ instead"
            )
        before = len(matches)

    with _ticking(require_pace):
        for path in paths:
            match = pattern.fullmatch(path)
            matches.append(match and match.groupdict())
    return matches


@contextlib.contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` after each second of this process's own time, also within a match."""
    # Python looks for signals while it matches, but gives no other thread a turn. A machine that is
    # busy or asleep does not count.
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
    """The cells of a path."""
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
    """Why a row cannot be in the table; "" if it can. `files` are those of the rows before."""
    path = row[0]
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    if lacking := [name for name, cell in zip(COLUMNS, row, strict=False) if not cell]:
        which = ", ".join(lacking)
        return f"its name does not say {which}: --{lacking[0]} gives it for all such images"
    if fault := row_fault(*row):
        return fault
    try:
        found = os.stat(root / path)
    except OSError as error:
        return f"{error.strerror}; restore or remove it"
    first = files.setdefault((found.st_dev, found.st_ino), path)
    return "" if first == path else f"the same file as {first}; remove one of the two names"


def _require_disjoint(root: Path, rows: Sequence[Sequence[str]]) -> None:
    """People, but for junk and whoever may be a distractor, are in one split each."""
    people: dict[str, set[int]] = {}
    for _, identity, _, _, split, _ in rows:
        if int(identity) not in (JUNK, DISTRACTOR):
            people.setdefault(split, set()).add(int(identity))
    require_disjoint(root, people)
