"""Checks a data set before training, and lists all its problems at once."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from lupi_jax.config import SourceConfig
from lupi_jax.data.decoding import IMAGE_SUFFIXES
from lupi_jax.data.index import Index, concatenate
from lupi_jax.data.sources.check_images import Use, look_at_images
from lupi_jax.data.sources.check_notes import (
    CAMERAS,
    batch_notes,
    may_lack,
    only_modality,
    people_notes,
    use_notes,
)
from lupi_jax.data.sources.check_run import changed_since, files_of
from lupi_jax.data.sources.counts import (
    Count,
    Group,
    Part,
    Size,
    count_group,
    count_roles,
    count_split,
    expected_sizes,
)
from lupi_jax.data.sources.files import SPLITS, read_directory, require_disjoint, walk
from lupi_jax.data.sources.manifest import is_generated
from lupi_jax.data.sources.reading import as_source, has_distractors, read_index, require_zero
from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.data.sources.sysu_mm01 import PERMUTATIONS, read_permutations
from lupi_jax.data.sources.table import TABLE_SPLITS, read_table
from lupi_jax.errors import InputError, plural, shown, some
from lupi_jax.runtime.progress import Advance, Show, silent


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check_data` found.

    Attributes:
      rows: the counts, split by split: per camera, per modality, in all, and per role.
      problems: lines that say what is wrong, where, and what to do; empty if nothing is wrong.
      notes: lines that say how many images are junk or distractors, what is done with them, what a
        data set without a split or a modality cannot be used for, and whether there are too few
        identities for the batches of `configs/NAME.py`.
    """

    rows: tuple[Count, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


MAX_PROBLEMS = 100_000
"""Number of lines to keep, since a hostile list may have millions of faults."""


class _Problems:
    """The problems, each once, in the order found, and the paths that they concern."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}
        self.places: set[str] = set()

    def __call__(self, where: Path | str, message: str) -> None:
        self.places.add(str(where))
        if len(self.lines) < MAX_PROBLEMS:
            self.lines.setdefault(shown(message))
        else:
            self.lines.setdefault("... and more problems, which are not listed: fix these first")


def check_data(
    source: SourceConfig | str | os.PathLike[str],
    show: Show = silent,
    run: str | os.PathLike[str] | None = None,
) -> Report:
    """Check a data set: files, lists, counts, every image, and whether training and test are apart.

    All splits are read as for training, including RegDB's ten, and reading continues after a
    fault. Every image is decoded. These are problems:

    - whatever `read_index` refuses, such as missing, misnamed or foreign files and damaged lists;
    - a file that no split uses, and an image that cannot be decoded;
    - a number of identities or images that differs from the published one, from a synthetic set's
      manifest, or from SYSU-MM01's permutations;
    - an identity that a split shows in one modality only, unless a folder or a table has no image
      of the other modality at all, and thus is meant for one;
    - an identity that is both trained and tested on;
    - the same image, byte for byte, in training and test, for two identities, or in both
      modalities, and a file with two names (junk and distractors are exempt).

    Args:
      source: the data set; a path is read as the folder layout.
      show: shows how many images are decoded, and compared with a run.
      run: directory of a run of `lupi train`; an image that changed since the run read it is a
        problem, too.

    Raises:
      InputError: the run has no checkpoint, or no checksums.
    """
    source = as_source(source)
    files = [] if run is None else files_of(run)
    report = _look(source, show("images"))
    if run is None:
        return report
    problems = (*report.problems, *changed_since(source, run, files, show))
    return dataclasses.replace(report, problems=problems)


def _look(source: SourceConfig, progress: Advance) -> Report:
    """`check_data` without a run; `progress` is told how many images are decoded."""
    root = Path(source.root)
    problems = _Problems()
    parts = _read_parts(source, problems)
    expected: dict[Group, Size] = {}
    if not source.index:
        try:
            expected = expected_sizes(source.name, root)
        except InputError as error:
            problems(root, str(error))
    rows = []
    for part in parts:
        rows += count_split(part.name, part.index, expected) + count_roles(part.name, part.index)
    if parts:
        unread = {group.split for group in expected} - {part.name for part in parts} - {"all"}
        rows.append(count_group(Group("all"), _together(parts), {} if unread else expected))
    faults = [(row.split, row.fault) for row in rows if row.fault]
    # SYSU-MM01's "train" contains its "val".
    parts = [part for part in parts if source.name != "sysu" or part.split != "val"]
    notes = [f(source, parts) for f in (people_notes, use_notes, batch_notes)]
    faults += _lacking(source, parts)
    alike = defaultdict(list)  # one line for a fault in several splits, such as RegDB's ten
    for split, fault in faults:
        alike[fault].append(split)
    for fault, splits in alike.items():
        problems(root, f"{root}, split {', '.join(splits)}: {fault}")
    if parts and not source.index:
        if source.name in ("folder", "synthetic"):  # the other readers have checked already
            people = {part.name: part.index.classes.tolist() for part in parts}
            require_disjoint(root, people, problems)
        if source.name == "sysu":
            _check_orders(root, parts, problems)
        unused = _unused(root, [part.index for part in parts], problems)
        if source.name == "sysu":
            rows += _take_unlisted(root, unused)
        for path in unused:
            problems(root / path, f"{root / path} is in no split: list it, or move it away")
    for where, line in look_at_images(root, _uses(parts), source.workers, progress):
        problems(where, line)
    return Report(tuple(rows), tuple(problems.lines), tuple(chain(*notes)))


def _read_parts(source: SourceConfig, problems: _Problems) -> list[Part]:
    """The splits that can be read, each as far as possible."""
    splits, told = SPLITS, problems
    if source.index:
        # `read_table` reports the faults of all rows below; the faults per split are dropped.
        splits, told = TABLE_SPLITS, _Problems()
        try:
            read_table(source.index, source.root, None, problems, has_distractors(source))
        except InputError as error:
            problems(source.root, str(error))
    elif source.name == "sysu":
        splits = ("train", "val", "test")
    # A synthetic set is compared with its manifest later; here even an unfinished one is read.
    name = "folder" if source.name == "synthetic" else source.name
    parts: list[Part] = []
    faults = []
    for trial in TRIALS if name == "regdb" else (None,):
        one = dataclasses.replace(source, name=name, trial=trial or source.trial)
        for split in splits:
            try:
                parts.append(Part(split, trial, read_index(one, split, told)))
                require_zero(source, split, parts[-1].index, problems)
            except InputError as error:
                faults.append((split, str(error)))
    for split, fault in faults:
        if not may_lack(source, split, parts):
            problems(source.root, fault)
    return parts


def _together(parts: list[Part]) -> Index:
    """The images of several splits, each once, sorted by path."""
    every = concatenate([part.index for part in parts])
    return every[np.unique(every.paths, return_index=True)[1]]


def _lacking(source: SourceConfig, parts: list[Part]) -> Iterator[tuple[str, str]]:
    """(split, fault) for the identities that a split shows in one modality only."""
    modalities = [only] if (only := only_modality(source, parts)) else [*CAMERAS]
    for part in parts:
        index = part.index
        for modality in modalities:
            present = index.identities[index.modalities == modality]
            lacking = np.setdiff1d(index.classes, present).tolist()
            if not len(present):
                yield part.name, f"no {modality} image at all: add some"
            elif lacking:
                who = f"{plural(len(lacking), 'identity')} ({', '.join(map(str, lacking))})"
                yield part.name, f"no {modality} image of {who}: add images or remove them"


def _check_orders(root: Path, parts: list[Part], problems: _Problems) -> None:
    """Check that SYSU-MM01's permutations order the right number of images.

    For each identity and camera this is the number of images on disk.
    """
    if is_generated(root) and not os.path.exists(root / PERMUTATIONS):
        return
    try:
        orders = read_permutations(root)
    except InputError as error:
        problems(root, str(error))
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
        problems(
            root,
            f"{root / f'cam{camera}'} does not have the numbers of images in {PERMUTATIONS} for "
            f"{plural(len(identities), 'identity')} ({some(identities)}): extract the whole data "
            "set again",
        )


def _unused(root: Path, indexes: list[Index], problems: _Problems) -> list[str]:
    """The files below the root that no index has, and the directories that hold only such files.

    Paths in `problems` are left out. Directly below the root only images, and directories with
    images, count.
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
                pending.append(path)  # even a link; there are at most as many as `parents`
                continue
            files = walk(place, problems.places) if os.path.isdir(place) else [path]
            if any(folder or name.lower().endswith(IMAGE_SUFFIXES) for name in files):
                unused.append(path)
    return sorted(unused)


def _take_unlisted(root: Path, unused: list[str]) -> list[Count]:
    """Take the identities that are in no list of SYSU-MM01 out of `unused`, and count them.

    The original data set has images of such people.
    """
    unlisted = [path for path in unused if path.count("/") == 1 and os.path.isdir(root / path)]
    for path in unlisted:
        unused.remove(path)
    identities = {path.rpartition("/")[2] for path in unlisted}
    images = sum(len(list(walk(root / path))) for path in unlisted)
    return [Count("in no list", "all", None, len(identities), images)] if unlisted else []


def _uses(parts: list[Part]) -> dict[str, list[Use]]:
    """{path of an image: what it is used for}."""
    uses: dict[str, list[Use]] = {}
    for part in parts:
        side = "test" if part.split == "test" else "train"
        index = part.index
        columns = (index.paths, index.identities, index.modalities, index.is_person)
        for path, *rest in zip(*(c.tolist() for c in columns), strict=True):
            uses.setdefault(path, []).append(Use(part.trial, side, *rest))
    return uses
