"""Who queries whom: evaluation protocols as plain data.

A protocol turns the columns of an index into tasks, the lines of a table. Rows of the intermediate
modality stand beside the visible ones they are made of, with the same identity, camera and path;
they count as visible wherever a protocol speaks of cameras.

A pair is within a modality where both sides are infrared, or neither is. A query would then find
itself, or the next frame of its own camera, so every protocol leaves something out: `SameModality`
names the two rules there are. The name of such a task says what was left out.
"""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from lupi_jax.data.sources import published
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

Cmc = Literal["identity", "image"]
SysuProtocol = Literal["official", "agw", "released"]
SameModality = Literal["camera", "identity_and_camera"]
"""What a query ignores within a modality: every image of its own camera, whoever is on it (the
paper's Table 3, SYSU-MM01's own script), or the images of its identity that its own camera took
(Market-1501's rule, Zheng et al., ICCV 2015)."""
Pair = tuple[Modality, Modality]
"""(query, gallery)."""

Permutations = Mapping[tuple[int, int], np.ndarray]
"""(identity, camera) -> [trials, n] orders of its n images sorted by name, counted from 0."""


class Images(Protocol):
    """What a protocol has to know of n images: four columns of `lupi_jax.data.Index`."""

    @property
    def paths(self) -> np.ndarray:
        """[n] str; within one identity and camera, their order is that of the files."""
        ...

    @property
    def identities(self) -> np.ndarray:
        """[n] int."""
        ...

    @property
    def cameras(self) -> np.ndarray:
        """[n] int."""
        ...

    @property
    def modalities(self) -> np.ndarray:
        """[n] values of `Modality`."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One retrieval over the rows of a set of features.

    Attributes:
      query: [q] row numbers.
      gallery: [g] row numbers; a row drawn twice is there twice.
      cmc: what CMC counts, "image" or "identity".
      groups: [n] int group of every row, or None. A gallery image of the query's own group is not
        there for it.
    """

    query: np.ndarray
    gallery: np.ndarray
    cmc: Cmc
    groups: np.ndarray | None = None

    @property
    def excluded(self) -> np.ndarray | None:
        """[q, g] bool, True where the gallery image is not there for the query; None: nowhere.

        Made anew each time: the masks of all trials of a protocol would fill a gigabyte.
        """
        if self.groups is None:
            return None
        return self.groups[self.query][:, None] == self.groups[self.gallery]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One line of a table, averaged over its trials.

    Attributes:
      name: of the search, such as "all-search, single-shot".
      query: modality of the queries.
      gallery: modality of the gallery.
      trials: at least one.
    """

    name: str
    query: Modality
    gallery: Modality
    trials: tuple[Trial, ...]


DIRECTIONS = (
    (Modality.INFRARED, Modality.VISIBLE),
    (Modality.VISIBLE, Modality.INFRARED),
)

SYSU_VISIBLE_CAMERAS = (1, 2, 4, 5)
SYSU_INFRARED_CAMERAS = (3, 6)
SYSU_SEARCHES = {"all-search": SYSU_VISIBLE_CAMERAS, "indoor": (1, 2)}
"""Cameras of a visible gallery."""

SHOTS = {"single-shot": 1, "multi-shot": 10}
"""Gallery images per identity and camera."""

# Cameras 2 and 3 look at the same room, so that the background gives a person away.
_SYSU_LOCATIONS = np.array([0, 1, 2, 2, 4, 5, 6])

WITHOUT: dict[SameModality, str] = {
    "camera": "without own camera",
    "identity_and_camera": "without own identity by own camera",
}
WITHOUT_IMAGE = "without own image"
"""How the name of a task within a modality ends: by a rule, or where neither leaves a match."""

_RELEASED_CAMERAS = {False: ((1, 4), (2, 5)), True: ((3,), (6,))}


def all_images(
    images: Images, pairs: Sequence[Pair], same_modality: SameModality = "identity_and_camera"
) -> tuple[Task, ...]:
    """Every image of one modality queries every image of another; CMC over images.

    The protocol of the `folder` layout, and RegDB's. Between infrared and visible (or
    intermediate) images nothing is excluded. Within a modality Market-1501's rule is the usual one:
    people know it from data of one modality, and it keeps the other people of the query's camera in
    the gallery, which one's own data set may have few of elsewhere. Where nobody is seen by two
    cameras, as on RegDB, which has one camera per modality, either rule would leave no query a
    match. A query then ignores itself and what is made of it ("without own image").

    Args:
      images: of all modalities in `pairs`.
      pairs: one task each.
      same_modality: what a query ignores within a modality.

    Raises:
      InputError: `same_modality` is unknown, a side of a pair is empty, or no query has a true
        match.
    """
    tasks = []
    for query, gallery in pairs:
        rows, shown = (_rows(images, modality, (query, gallery)) for modality in (query, gallery))
        name, groups = "all images", None
        if is_within(query, gallery):
            without, groups = _within(images, same_modality)
            if not has_match(Trial(rows, shown, "image", groups), images.identities).any():
                groups = np.unique(images.paths, return_inverse=True)[1]
                without = WITHOUT_IMAGE
            name = f"{name}, {without}"
        trial = Trial(rows, shown, "image", groups)
        tasks.append(_task(name, query, gallery, (trial,), images))
    return tuple(tasks)


def sysu(
    images: Images,
    pairs: Sequence[Pair],
    protocol: SysuProtocol = "official",
    trials: int = 10,
    permutations: Permutations | None = None,
    same_modality: SameModality = "camera",
) -> tuple[Task, ...]:
    """SYSU-MM01's tasks: all-search and indoor, single- and multi-shot; CMC over identities.

    All images of a modality query galleries that are drawn anew for each trial, 1 or 10 images of
    each identity and camera (all, where a camera has fewer). Infrared galleries are of cameras 3
    and 6 and have all-search only: indoor search is a choice among visible cameras.

    A query ignores every gallery image of its own camera, where cameras 2 and 3, which look at the
    same room, are one: the rule of the owners' script (github.com/wuancong/SYSU-MM01). Between
    infrared and visible (or intermediate) images it parts cameras 2 and 3; within a modality it
    leaves out the query's whole camera, as the paper says of Table 3.

    How galleries are drawn:
      "official": trial t takes the first entries of row t of the data set's own permutations.
      "agw": by Python's generator, seeded with the number of the trial (from 0), identity by
        identity and camera by camera; single-shot galleries are those of Ye et al.'s code (AGW,
        TPAMI 2021) and what builds on it.
      "released": as the code released with LUPI, seeded in the same way rather than by the clock:
        multi-shot with replacement; no camera is ignored; a modality is searched for itself by
        cameras 1 and 4 in 2 and 5, or by 3 in 6. One thing of that code is left out here. Its
        query and gallery of intermediate images hold ten images of each visible one: nine drawn
        anew by Eq. 4, and the colour image itself. Here they hold one intermediate image of each.

    Args:
      images: test images, of all modalities in `pairs`.
      pairs: up to four tasks each.
      protocol: how galleries are drawn.
      trials: galleries per task, at least 1.
      permutations: of the official protocol (`lupi_jax.data.sources.sysu_mm01.read_permutations`).
      same_modality: what a query ignores within a modality; "released" does not read it, since its
        queries and galleries are of different cameras.

    Raises:
      InputError: an option is unknown or out of range, a camera does not fit its modality, a side
        of a task is empty, no query has a true match, the permutations do not fit the images, or
        the whole test set gives other than the published counts.
    """
    if protocol not in ("official", "agw", "released"):
        raise InputError(
            f"evaluation.protocol = {protocol!r} is unknown: give official, agw or released"
        )
    if trials < 1:
        raise InputError(f"{trials} trials of a protocol: give at least 1")
    _check_sysu_cameras(images)
    tasks = []
    for query, gallery in pairs:
        without, groups = "", None
        if protocol != "released":
            groups = _SYSU_LOCATIONS[images.cameras]
            if is_within(query, gallery):
                rule, groups = _within(images, same_modality)
                without = f", {rule}"
        for search, (query_cameras, gallery_cameras) in _sysu_searches(
            query, gallery, protocol
        ).items():
            rows = _rows(images, query, (query, gallery), query_cameras)
            _rows(images, gallery, (query, gallery), gallery_cameras)
            places = _by_identity_and_camera(images, gallery, gallery_cameras)
            orders = None
            if protocol == "official":
                orders = _check_permutations(permutations, places, images, gallery_cameras, trials)
            for shot, number in SHOTS.items():
                drawn = tuple(
                    Trial(rows, _draw(places, number, t, protocol, orders), "identity", groups)
                    for t in range(trials)
                )
                task = _task(f"{search}, {shot}{without}", query, gallery, drawn, images)
                check_sysu_counts(task, images)
                tasks.append(task)
    return tuple(tasks)


def llcm(
    images: Images,
    pairs: Sequence[Pair] = DIRECTIONS,
    trials: int = 10,
    same_modality: SameModality = "identity_and_camera",
) -> tuple[Task, ...]:
    """LLCM's task: all images of a modality query one per identity and camera; CMC over identities.

    The gallery is drawn anew for each trial by Python's generator, seeded with the number of the
    trial (from 0), identity by identity and camera by camera, as in Zhang and Wang's code (CVPR
    2023). A query ignores the images of its identity that the camera of its own number took, in
    whichever modality: that is LLCM's own rule, which is why it is the usual one within a modality
    as well.

    Args:
      images: test images, of all modalities in `pairs`.
      pairs: one task each.
      trials: galleries per task, at least 1.
      same_modality: what a query ignores within a modality.

    Raises:
      InputError: there is no trial, `same_modality` is unknown, a side of a pair is empty, or no
        query has a true match.
    """
    if trials < 1:
        raise InputError(f"{trials} trials of a protocol: give at least 1")
    tasks = []
    for query, gallery in pairs:
        name, groups = "single-shot", _identity_and_camera(images)
        if is_within(query, gallery):
            rule, groups = _within(images, same_modality)
            name = f"{name}, {rule}"
        rows = _rows(images, query, (query, gallery))
        _rows(images, gallery, (query, gallery))
        places = _by_identity_and_camera(images, gallery)
        drawn = tuple(
            Trial(rows, _draw(places, 1, t, "agw"), "identity", groups) for t in range(trials)
        )
        tasks.append(_task(name, query, gallery, drawn, images))
    return tuple(tasks)


def has_match(trial: Trial, identities: np.ndarray) -> np.ndarray:
    """Whether each query has a true match among the gallery images that are there for it.

    Args:
      trial: q queries and g gallery images, q, g >= 1, of n rows.
      identities: [n] of all rows.

    Returns:
      [q] bool.
    """
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


def is_sysu_test_set(images: Images) -> bool:
    """Whether visible and infrared images are as many as SYSU-MM01's whole test set has."""
    real = images.modalities != Modality.INTERMEDIATE
    cameras, counts = np.unique(images.cameras[real], return_counts=True)
    return (
        len(np.unique(images.identities[real])) == published.SYSU_IDENTITIES["test"]
        and dict(zip(cameras.tolist(), counts.tolist(), strict=True)) == published.SYSU_TEST_IMAGES
    )


def check_sysu_counts(task: Task, images: Images) -> None:
    """Check a task over SYSU-MM01's whole test set against the published counts.

    Smaller sets (stand-ins, a choice of identities) and galleries of infrared images have no
    published counts and pass.

    Raises:
      InputError: a gallery or the number of queries with a match is another.
    """
    cross = task.query == Modality.INFRARED and task.gallery != Modality.INFRARED
    if not cross or not is_sysu_test_set(images):
        return
    # Every trial draws as many images of the same cameras, so that one stands for all.
    trial = task.trials[0]
    found = len(trial.gallery), int(has_match(trial, images.identities).sum())
    if found != published.SYSU_COUNTS[task.name]:
        gallery, valid = published.SYSU_COUNTS[task.name]
        raise InputError(
            f"SYSU-MM01, {task.name}: {found[0]} gallery images and {found[1]} queries with a "
            f"match instead of {gallery} and {valid}: images lie with the wrong identity or "
            "camera; extract the data set again"
        )


def is_within(a: Modality, b: Modality) -> bool:
    """Whether a pair is within a modality; an intermediate image counts as the visible one."""
    return (a == Modality.INFRARED) == (b == Modality.INFRARED)


def _within(images: Images, same_modality: SameModality) -> tuple[str, np.ndarray]:
    """What a rule is called in the name of a task, and [n] int groups of the rows by it."""
    if same_modality not in WITHOUT:
        raise InputError(
            f"evaluation.same_modality = {same_modality!r} is unknown: give {' or '.join(WITHOUT)}"
        )
    by_camera = same_modality == "camera"
    groups = np.asarray(images.cameras) if by_camera else _identity_and_camera(images)
    return WITHOUT[same_modality], groups


def _rows(
    images: Images, modality: Modality, pair: Pair, cameras: tuple[int, ...] | None = None
) -> np.ndarray:
    """Row numbers of a modality (of some cameras), at least one."""
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


def _identity_and_camera(images: Images) -> np.ndarray:
    """[n] int, equal for rows of one identity and one camera."""
    both = np.stack([images.identities, images.cameras])
    return np.unique(both, axis=1, return_inverse=True)[1].reshape(-1)


def _task(
    name: str, query: Modality, gallery: Modality, trials: tuple[Trial, ...], images: Images
) -> Task:
    # Every trial draws of the same identities and cameras, so that one stands for all.
    if not has_match(trials[0], images.identities).any():
        raise InputError(
            f"{query} -> {gallery}, {name}: no query has an image of its identity in its gallery"
        )
    return Task(name, query, gallery, trials)


def _by_identity_and_camera(
    images: Images, modality: Modality, cameras: tuple[int, ...] | None = None
) -> dict[tuple[int, int], np.ndarray]:
    """(identity, camera) -> its rows by path; in the order of identities, then of cameras."""
    chosen = images.modalities == modality
    if cameras is not None:
        chosen &= np.isin(images.cameras, cameras)
    rows = np.flatnonzero(chosen)
    keys = images.paths[rows], images.cameras[rows], images.identities[rows]
    rows = rows[np.lexsort(keys)]
    places = np.stack([images.identities[rows], images.cameras[rows]], axis=1)
    starts = np.flatnonzero((places[1:] != places[:-1]).any(axis=1)) + 1
    parts = np.split(rows, starts)
    return {(int(images.identities[p[0]]), int(images.cameras[p[0]])): p for p in parts}


def _draw(
    places: Mapping[tuple[int, int], np.ndarray],
    shots: int,
    trial: int,
    protocol: SysuProtocol,
    permutations: Permutations | None = None,
) -> np.ndarray:
    """[g] rows: `shots` of each identity and camera, or all where there are fewer."""
    # Python's own generator and its functions, call by call: they make the published galleries.
    generator = random.Random(trial)
    drawn = []
    for place, rows in places.items():
        files = range(len(rows))
        if permutations is not None:
            picked = permutations[place][trial, :shots]
        elif shots == 1:
            picked = [generator.choice(files)]
        elif protocol == "released":
            picked = generator.choices(files, k=shots)
        else:
            picked = generator.sample(files, min(shots, len(files)))
        drawn.append(rows[picked])
    return np.concatenate(drawn)


def _sysu_searches(
    query: Modality, gallery: Modality, protocol: SysuProtocol
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Name of a search -> cameras of its queries, cameras of its gallery."""
    if protocol == "released" and is_within(query, gallery):
        cameras = _RELEASED_CAMERAS[query == Modality.INFRARED]
        names = (", ".join(map(str, side)) for side in cameras)
        return {f"cameras {' in '.join(names)}": cameras}
    infrared = query == Modality.INFRARED
    queries = SYSU_INFRARED_CAMERAS if infrared else SYSU_VISIBLE_CAMERAS
    if gallery == Modality.INFRARED:
        return {"all-search": (queries, SYSU_INFRARED_CAMERAS)}
    return {search: (queries, cameras) for search, cameras in SYSU_SEARCHES.items()}


def _check_sysu_cameras(images: Images) -> None:
    for modality in Modality:
        infrared = modality == Modality.INFRARED
        cameras = SYSU_INFRARED_CAMERAS if infrared else SYSU_VISIBLE_CAMERAS
        found = np.unique(images.cameras[images.modalities == modality])
        foreign = np.setdiff1d(found, cameras)
        if len(foreign):
            raise InputError(
                f"{modality} images of camera {foreign[0]}: SYSU-MM01's protocols need its own "
                f"cameras, {', '.join(map(str, cameras))} for {modality}"
            )


def _check_permutations(
    permutations: Permutations | None,
    places: Mapping[tuple[int, int], np.ndarray],
    images: Images,
    cameras: tuple[int, ...],
    trials: int,
) -> Permutations:
    """The permutations, once they are known to order just the images there are."""
    if permutations is None:
        raise InputError(
            'the official protocol draws by exp/rand_perm_cam.mat: read it, or use protocol "agw"'
        )
    for identity in np.unique(images.identities).tolist():
        for camera in cameras:
            orders = permutations.get((identity, camera), np.empty((trials, 0), int))
            count = len(places.get((identity, camera), ()))
            if orders.shape[1] != count:
                raise InputError(
                    f"identity {identity} of camera {camera} has {count} images, but "
                    f"exp/rand_perm_cam.mat orders {orders.shape[1]}: complete the data set, or "
                    'use protocol "agw"'
                )
            if len(orders) < trials:
                raise InputError(
                    f"exp/rand_perm_cam.mat is for {len(orders)} trials, not {trials}: ask for "
                    'fewer, or use protocol "agw"'
                )
    return permutations
