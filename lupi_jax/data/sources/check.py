"""A data set's folder checked before training: everything that is wrong with it, at once."""

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lupi_jax.config import SourceConfig
from lupi_jax.data.index import Index, concatenate
from lupi_jax.data.sources import published
from lupi_jax.data.sources.check_images import Use, look_at_images
from lupi_jax.data.sources.counts import (
    Count,
    Group,
    Size,
    count_group,
    count_split,
    expected_sizes,
    part_name,
)
from lupi_jax.data.sources.files import SPLITS, read_directory, require_disjoint, walk
from lupi_jax.data.sources.folder import IMAGE_SUFFIXES
from lupi_jax.data.sources.manifest import is_generated
from lupi_jax.data.sources.reading import read_index
from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.data.sources.sysu_mm01 import PERMUTATIONS, read_permutations
from lupi_jax.data.sources.table import TABLE_SPLITS, read_table
from lupi_jax.errors import InputError, some
from lupi_jax.modality import Modality

_MODALITIES = (Modality.VISIBLE, Modality.INFRARED)
_UNLISTED = "in no list"


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check_data` found.

    Attributes:
      rows: the counts, split by split: each camera of a modality, each modality, all of it.
      problems: one line each: what is wrong, where, and what to do. None: nothing is.
    """

    rows: tuple[Count, ...]
    problems: tuple[str, ...]


class _Part(NamedTuple):
    """A split that could be read; the trial is RegDB's."""

    split: str
    trial: int | None
    index: Index

    @property
    def name(self) -> str:
        return part_name(self.split, self.trial)


class _Problems:
    """Every problem once, in the order they are met, and the paths that they are about."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}
        self.places: set[str] = set()

    def __call__(self, where: Path | str, message: str) -> None:
        self.places.add(str(where))
        # A name may hold line breaks, or what no terminal can show.
        shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        self.lines.setdefault("".join(shown))


def check_data(source: SourceConfig, progress: Callable[[int, int], None] | None = None) -> Report:
    """Check a data set: its files and lists, its counts, every image, and what training may see.

    All splits are read, RegDB's ten among them, as for training, but past every fault. Every image
    is decoded. A problem is

    - whatever `read_index` refuses: missing, misnamed or foreign files, damaged lists;
    - a file that no split uses, and an image that cannot be decoded;
    - another number of identities or images than published, or than a synthetic set was made with,
      for SYSU-MM01 also than its permutations order;
    - an identity that a split shows in one modality only;
    - an identity that is both trained and tested on;
    - one image, byte for byte, in training and test, of two identities, in both modalities, or one
      file under two names.

    Args:
      source: `name`, `root` and `index` say what is checked, `workers` how many threads decode.
      progress: called with the images decoded so far and those in all.
    """
    root = Path(source.root)
    problems = _Problems()
    parts = _read_parts(source, problems)
    rows = _count(parts, {} if source.index else _expect(source, problems))
    for line in _alike(root, ((row.split, row.fault) for row in rows if row.fault)):
        problems(root, line)
    # SYSU-MM01's "val" is in its "train".
    parts = [part for part in parts if source.name != "sysu" or part.split != "val"]
    if parts:
        for check in _CHECKS["table" if source.index else source.name]:
            for line in check(root, parts):
                problems(root, line)
    if parts and not source.index:
        unused = _unused(root, [part.index for part in parts], problems)
        if source.name == "sysu":
            rows += _take_unlisted(root, unused)
        for path in unused:
            problems(root / path, f"{root / path} is in no split: list it, or move it away")
    for where, line in look_at_images(root, _uses(parts), source.workers, progress):
        problems(where, line)
    return Report(tuple(rows), tuple(problems.lines))


def _read_parts(source: SourceConfig, problems: _Problems) -> list[_Part]:
    """The splits that can be read."""
    splits = SPLITS
    if source.index:
        splits = TABLE_SPLITS
        _read(source, None, None, problems)  # of all splits, so that "val" may be absent
    elif source.name == "sysu":
        splits = ("train", "val", "test")
    trials = TRIALS if source.name == "regdb" else (None,)
    parts = []
    for trial in trials:
        for split in splits:
            optional = source.index and split == "val"
            index = _read(source, split, trial, _Problems() if optional else problems)
            if index is not None:
                parts.append(_Part(split, trial, index))
    return parts


def _read(
    source: SourceConfig, split: str | None, trial: int | None, problems: _Problems
) -> Index | None:
    """One split of a source (None: all of a table), as far as it can be read."""
    # A synthetic set is held against its manifest below, whatever its state.
    name = "folder" if source.name == "synthetic" else source.name
    source = dataclasses.replace(source, name=name, trial=trial or source.trial)
    try:
        if split is None:
            return read_table(source.index, source.root, None, problems)
        # The rows of a table are all checked by then.
        return read_index(source, split, _Problems() if source.index else problems)
    except InputError as error:
        problems(source.root, str(error))
    return None


def _expect(source: SourceConfig, problems: _Problems) -> dict[Group, Size]:
    try:
        return expected_sizes(source.name, Path(source.root))
    except InputError as error:
        problems(source.root, str(error))
    return {}


def _count(parts: list[_Part], expected: dict[Group, Size]) -> list[Count]:
    rows = [row for part in parts for row in count_split(part.name, part.index, expected)]
    if parts:
        unread = {group.split for group in expected} - {part.name for part in parts} - {"all"}
        rows.append(count_group(Group("all"), _together(parts), {} if unread else expected))
    return rows


def _together(parts: list[_Part]) -> Index:
    """The images of several splits, each once, by path."""
    every = concatenate([part.index for part in parts])
    return every[np.unique(every.paths, return_index=True)[1]]


def _alike(root: Path, found: Iterable[tuple[str, str]]) -> list[str]:
    """One line for what is wrong with several splits alike, such as RegDB's ten."""
    splits = defaultdict(list)
    for split, fault in found:
        splits[fault].append(split)
    return [f"{root}, split {', '.join(names)}: {fault}" for fault, names in splits.items()]


def _lacking(root: Path, parts: list[_Part]) -> list[str]:
    """Whoever a split shows in one modality only."""
    found = []
    for part in parts:
        index = part.index
        for modality in _MODALITIES:
            present = index.identities[index.modalities == modality]
            lacking = np.setdiff1d(index.classes, present).tolist()
            if not len(present):
                found.append((part.name, f"no {modality} image at all: add some"))
            elif lacking:
                who = f"{len(lacking)} identities ({', '.join(map(str, lacking))})"
                fault = f"no {modality} image of {who}: add images or remove them"
                found.append((part.name, fault))
    return _alike(root, found)


def _shared(root: Path, parts: list[_Part]) -> list[str]:
    """Whoever is trained and tested on; the readers of the other data sets check this."""
    lines = []
    people = {part.name: part.index.classes.tolist() for part in parts}
    require_disjoint(root, people, lambda _, line: lines.append(line))
    return lines


def _miscounted_people(root: Path, parts: list[_Part]) -> Iterator[str]:
    """RegDB has ten images of every person in each modality."""
    if is_generated(root):
        return
    every = _together(parts)
    for modality in _MODALITIES:
        counts = Counter(every.identities[every.modalities == modality].tolist())
        wrong = [f"{i}: {n}" for i, n in sorted(counts.items()) if n != published.REGDB_IMAGES]
        if wrong:
            yield (
                f"{root}: {len(wrong)} people have other than {published.REGDB_IMAGES} {modality} "
                f"images ({', '.join(wrong)}): extract the data set again, or restore its lists"
            )


def _other_than_ordered(root: Path, parts: list[_Part]) -> Iterator[str]:
    """SYSU-MM01's permutations order as many images as an identity has of a camera."""
    if is_generated(root) and not os.path.exists(root / PERMUTATIONS):
        return
    try:
        orders = read_permutations(root)
    except InputError as error:
        yield str(error)
        return
    index = _together(parts)
    listed = set(index.classes.tolist())
    ordered = Counter({key: n.shape[-1] for key, n in orders.items() if key[0] in listed})
    found = Counter(zip(index.identities.tolist(), index.cameras.tolist(), strict=True))
    wrong = defaultdict(list)
    for identity, camera in sorted(ordered | found):
        n, m = found[identity, camera], ordered[identity, camera]
        if n != m:
            wrong[camera].append(f"{identity:04d}: {n}, not {m}")
    for camera, identities in sorted(wrong.items()):
        yield (
            f"{root / f'cam{camera}'} has other numbers of images than {PERMUTATIONS} orders, of "
            f"{len(identities)} identities ({some(identities)}): extract the data set again, whole"
        )


_CHECKS: dict[str, tuple[Callable[[Path, list[_Part]], Iterable[str]], ...]] = {
    "table": (_lacking,),
    "folder": (_lacking, _shared),
    "synthetic": (_lacking, _shared),
    "sysu": (_lacking, _other_than_ordered),
    "regdb": (_lacking, _miscounted_people),
    "llcm": (_lacking,),
}
"""By the name of the source: what is wrong with its splits, a line for each fault."""


def _unused(root: Path, indexes: list[Index], problems: _Problems) -> list[str]:
    """What is below the root and in no index: files, and directories that hold any.

    Without what is reported already. Beside the directories of the data set, images alone count.
    """
    used = {PurePosixPath(path).as_posix() for index in indexes for path in index.paths.tolist()}
    parents: set[str] = set()
    for path in used:
        while (path := path.rpartition("/")[0]) and path not in parents:
            parents.add(path)
    unused = []
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in read_directory(root / folder, problems):
            path = f"{folder}/{entry.name}" if folder else entry.name
            place = str(root / path)
            if path in used or place in problems.places:
                continue
            if path in parents:
                pending.append(path)  # a link, too: there are no more of these than parents
                continue
            files = walk(place, problems.places) if os.path.isdir(place) else [path]
            if any(folder or name.lower().endswith(IMAGE_SUFFIXES) for name in files):
                unused.append(path)
    return sorted(unused)


def _take_unlisted(root: Path, unused: list[str]) -> list[Count]:
    """Take SYSU-MM01's identities of no list, of which the original has images, out of `unused`."""
    unlisted = [path for path in unused if path.count("/") == 1 and os.path.isdir(root / path)]
    for path in unlisted:
        unused.remove(path)
    if not unlisted:
        return []
    identities = {path.rpartition("/")[2] for path in unlisted}
    images = sum(len(list(walk(root / path))) for path in unlisted)
    return [Count(_UNLISTED, "all", None, len(identities), images)]


def _uses(parts: list[_Part]) -> dict[str, list[Use]]:
    """What each image is used for, by its path."""
    uses: dict[str, list[Use]] = {}
    for part in parts:
        side = "test" if part.split == "test" else "train"
        columns = (part.index.paths, part.index.identities, part.index.modalities)
        for path, identity, modality in zip(*(c.tolist() for c in columns), strict=True):
            uses.setdefault(path, []).append(Use(part.trial, side, identity, modality))
    return uses
