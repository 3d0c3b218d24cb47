"""Tasks and trials: who queries whom, as plain data, from which every protocol is built.

An intermediate row has the identity, camera and path of the visible image that it is made of, and
counts as visible in every rule about cameras.
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
"""Images that a query ignores within a modality. "camera": all images of its own camera, whoever is
on them (the paper's Table 3, SYSU-MM01's own script). "identity_and_camera": images of its own
identity by its own camera (Market-1501's rule, Zheng et al., ICCV 2015)."""
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
"""Ends of the names of tasks within a modality: by each rule, and if no rule leaves a match."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One retrieval over the rows of a set of features.

    Attributes:
      query: [q] row numbers.
      gallery: [g] row numbers; a row that was drawn twice is listed twice.
      cmc: whether CMC counts "identity" or "image".
      groups: [n] int groups of all rows, or None. A gallery image of the query's own group does not
        exist for that query.
    """

    query: np.ndarray
    gallery: np.ndarray
    cmc: Cmc
    groups: np.ndarray | None = None

    @property
    def excluded(self) -> np.ndarray | None:
        """[q, g] bool, True if the gallery image does not exist for the query; None if all do."""
        # Not stored, because the masks of all trials of a protocol would fill a gigabyte.
        if self.groups is None:
            return None
        return self.groups[self.query][:, None] == self.groups[self.gallery]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One row of a table, averaged over one or more trials."""

    name: str
    query: Modality
    gallery: Modality
    trials: tuple[Trial, ...]


def make_task(name: str, pair: Pair, trials: Sequence[Trial], images: Index) -> Task:
    """Make a task whose trials draw from the same identities and cameras.

    So the check for matches looks only at the first trial.

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
    """[q] whether each query has a true match; `identities` [n] covers all rows."""
    wanted, shown = identities[trial.query], identities[trial.gallery]
    if trial.groups is None:
        return np.isin(wanted, shown)
    # A match is an image of the same identity in another group. So the identity has more groups in
    # the gallery than just the query's own.
    pairs = np.unique(np.stack([shown, trial.groups[trial.gallery]]), axis=1)
    distinct, counts = np.unique(pairs[0], return_counts=True)
    place = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    total = np.where(distinct[place] == wanted, counts[place], 0)
    known = set(zip(*pairs.tolist(), strict=True))
    own = zip(wanted.tolist(), trial.groups[trial.query].tolist(), strict=True)
    return total > np.array([pair in known for pair in own])


def is_within(a: Modality, b: Modality) -> bool:
    """Whether a pair is within one modality; intermediate counts as visible."""
    return (a == Modality.INFRARED) == (b == Modality.INFRARED)


def within_modality(images: Index, rule: SameModality) -> tuple[str, np.ndarray]:
    """A rule's words in a task's name, and the [n] int groups of the rows by that rule.

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
    """Row numbers of the images of a modality (and of some cameras).

    Raises:
      InputError: no image is left to evaluate `pair` with.
    """
    chosen = images.modalities == modality
    if cameras is not None:
        chosen &= np.isin(images.cameras, cameras)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        of = "" if cameras is None else f" of cameras {', '.join(map(str, cameras))}"
        only = set(images.modalities.tolist()) - {Modality.INTERMEDIATE}
        mend = ""
        if len(only) == 1 and modality not in (*only, Modality.INTERMEDIATE):
            (name,) = only
            mend = (
                f": add images, or search {name} images alone, "
                f"--config.evaluation.pairs=\"('{name}_to_{name}',)\""
            )
        raise InputError(
            f"the split has no {modality} image{of} to evaluate {pair[0]} -> {pair[1]}{mend}"
        )
    return rows


def sides_of(images: Index, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of a pair's queries (only people) and of its gallery (without junk).

    An image with a role is only on that side.

    Raises:
      InputError: no query or no gallery image is left.
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
        raise InputError(f"{pair[0]} -> {pair[1]}: {lacking} (identity -1): add some")
    return query, gallery


Places = Mapping[tuple[int, int], np.ndarray]
"""{(identity, camera): its rows in the order of paths}, in the order of identities and cameras."""


def places_of(images: Index, rows: np.ndarray) -> Places:
    """The rows [n], grouped by identity and camera."""
    rows = rows[np.lexsort((images.paths[rows], images.cameras[rows], images.identities[rows]))]
    places = np.stack([images.identities[rows], images.cameras[rows]], axis=1)
    starts = np.flatnonzero((places[1:] != places[:-1]).any(axis=1)) + 1
    parts = np.split(rows, starts)
    return {(int(images.identities[p[0]]), int(images.cameras[p[0]])): p for p in parts}


def draw(
    places: Places, trial: int, pick: Callable[[random.Random, range], Sequence[int]]
) -> np.ndarray:
    """[g] rows that `pick` chooses per place, with the generator behind published galleries."""
    generator = random.Random(trial)
    return np.concatenate([rows[pick(generator, range(len(rows)))] for rows in places.values()])


def draw_one(places: Places, trial: int) -> np.ndarray:
    """[g] rows, one per identity and camera."""
    return draw(places, trial, lambda generator, files: [generator.choice(files)])


def require_trials(trials: int) -> None:
    """Raise InputError if `trials` is below 1."""
    if trials < 1:
        raise InputError(f"evaluation.trials = {trials}: give 1 or more")
