"""Who queries whom, as plain data: what every evaluation protocol is made of.

Rows of the intermediate modality have the identity, camera and path of the visible image they are
made of, and count as visible wherever a protocol speaks of cameras.
"""

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from lupi_jax.data import Index
from lupi_jax.data.index import JUNK
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

Cmc = Literal["identity", "image"]
SameModality = Literal["camera", "identity_and_camera"]
"""What a query ignores within a modality: every image of its own camera, whoever is on it (the
paper's Table 3, SYSU-MM01's own script), or the images of its identity that its own camera took
(Market-1501's rule, Zheng et al., ICCV 2015)."""
Pair = tuple[Modality, Modality]
"""(query, gallery)."""

DIRECTIONS = (
    (Modality.INFRARED, Modality.VISIBLE),
    (Modality.VISIBLE, Modality.INFRARED),
)

WITHOUT: dict[SameModality, str] = {
    "camera": "without own camera",
    "identity_and_camera": "without own identity by own camera",
}
WITHOUT_IMAGE = "without own image"
"""How the name of a task within a modality ends: by a rule, or where neither leaves a match."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One retrieval over the rows of a set of features.

    Attributes:
      query: [q] row numbers.
      gallery: [g] row numbers; a row drawn twice is there twice.
      cmc: what CMC counts.
      groups: [n] int, or None. A gallery image of the query's own group is not there for it.
    """

    query: np.ndarray
    gallery: np.ndarray
    cmc: Cmc
    groups: np.ndarray | None = None

    @property
    def excluded(self) -> np.ndarray | None:
        """[q, g] bool, True where the gallery image is not there for the query; None: nowhere."""
        # Made anew each time: the masks of all trials of a protocol would fill a gigabyte.
        if self.groups is None:
            return None
        return self.groups[self.query][:, None] == self.groups[self.gallery]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One line of a table, averaged over its trials, at least one."""

    name: str
    query: Modality
    gallery: Modality
    trials: tuple[Trial, ...]


def make_task(name: str, pair: Pair, trials: Sequence[Trial], images: Index) -> Task:
    """A task whose trials draw from the same identities and cameras, so that one stands for all.

    Raises:
      InputError: no query has a true match.
    """
    query, gallery = pair
    if not has_match(trials[0], images.identities).any():
        raise InputError(
            f"{query} -> {gallery}, {name}: no query has an image of its identity in its gallery"
        )
    return Task(name, query, gallery, tuple(trials))


def has_match(trial: Trial, identities: np.ndarray) -> np.ndarray:
    """[q] whether each query has a true match; `identities` [n] are those of all rows."""
    wanted, shown = identities[trial.query], identities[trial.gallery]
    if trial.groups is None:
        return np.isin(wanted, shown)
    # A match is an image of the identity in another group: of the identity's groups in the
    # gallery, one more than the query's own.
    pairs = np.unique(np.stack([shown, trial.groups[trial.gallery]]), axis=1)
    distinct, counts = np.unique(pairs[0], return_counts=True)
    place = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    total = np.where(distinct[place] == wanted, counts[place], 0)
    known = set(zip(*pairs.tolist(), strict=True))
    own = zip(wanted.tolist(), trial.groups[trial.query].tolist(), strict=True)
    return total > np.array([pair in known for pair in own])


def is_within(a: Modality, b: Modality) -> bool:
    """Whether a pair is within a modality; an intermediate image counts as the visible one."""
    return (a == Modality.INFRARED) == (b == Modality.INFRARED)


def within_modality(images: Index, rule: SameModality) -> tuple[str, np.ndarray]:
    """What a rule is called in the name of a task, and [n] int groups of the rows by it.

    Raises:
      InputError: the rule is unknown.
    """
    if rule not in WITHOUT:
        raise InputError(
            f"evaluation.same_modality = {rule!r} is unknown: give {' or '.join(WITHOUT)}"
        )
    by_camera = rule == "camera"
    groups = np.asarray(images.cameras) if by_camera else by_identity_and_camera(images)
    return WITHOUT[rule], groups


def by_identity_and_camera(images: Index) -> np.ndarray:
    """[n] int, equal for rows of one identity and one camera."""
    both = np.stack([images.identities, images.cameras])
    return np.unique(both, axis=1, return_inverse=True)[1].reshape(-1)


def rows_of(
    images: Index, modality: Modality, pair: Pair, cameras: Sequence[int] | None = None
) -> np.ndarray:
    """Row numbers of a modality (of some cameras), at least one.

    Raises:
      InputError: there is none to evaluate `pair` with.
    """
    chosen = images.modalities == modality
    if cameras is not None:
        chosen &= np.isin(images.cameras, cameras)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        of = "" if cameras is None else f" of cameras {', '.join(map(str, cameras))}"
        raise InputError(
            f"the split has no {modality} image{of} to evaluate {pair[0]} -> {pair[1]}"
        )
    return rows


def sides_of(images: Index, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of all queries of a pair that are of people, and of its gallery without junk.

    An image of one role is on that side only.

    Raises:
      InputError: there is no query, or no gallery image.
    """
    query, gallery = (rows_of(images, modality, pair) for modality in pair)
    query, gallery = query[images.in_queries[query]], gallery[images.in_gallery[gallery]]
    if not (len(query) and len(gallery)):
        side, other = ("gallery", "query") if len(query) else ("query", "gallery")
        raise InputError(
            f"{pair[0]} -> {pair[1]}: all {pair[side == 'gallery']} images have the role {other}, "
            f"so that the {side} is empty: correct the roles, or leave the pair out of "
            "evaluation.pairs"
        )
    query = query[images.is_person[query]]
    gallery = gallery[images.identities[gallery] != JUNK]
    if not (len(query) and len(gallery)):
        lacking = "no gallery image but junk" if len(query) else "no query of a person"
        raise InputError(f"{pair[0]} -> {pair[1]}: {lacking} (identity -1); add some")
    return query, gallery


Places = Mapping[tuple[int, int], np.ndarray]
"""(identity, camera) -> its rows by path; in the order of identities, then of cameras."""


def places_of(images: Index, rows: np.ndarray) -> Places:
    """Some rows [n] by identity and camera."""
    rows = rows[np.lexsort((images.paths[rows], images.cameras[rows], images.identities[rows]))]
    places = np.stack([images.identities[rows], images.cameras[rows]], axis=1)
    starts = np.flatnonzero((places[1:] != places[:-1]).any(axis=1)) + 1
    parts = np.split(rows, starts)
    return {(int(images.identities[p[0]]), int(images.cameras[p[0]])): p for p in parts}


def draw(
    places: Places, trial: int, pick: Callable[[random.Random, range], Sequence[int]]
) -> np.ndarray:
    """[g] rows picked of each place by the generator that published galleries are made by."""
    generator = random.Random(trial)
    return np.concatenate([rows[pick(generator, range(len(rows)))] for rows in places.values()])


def draw_one(places: Places, trial: int) -> np.ndarray:
    """[g] rows, one of each identity and camera."""
    return draw(places, trial, lambda generator, files: [generator.choice(files)])


def require_trials(trials: int) -> None:
    """Raise InputError where a protocol has no trial."""
    if trials < 1:
        raise InputError(f"{trials} trials of a protocol: give at least 1")
