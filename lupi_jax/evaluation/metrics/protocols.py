"""The evaluation protocols of SYSU-MM01, LLCM, RegDB and folders."""

import random
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from lupi_jax.data import Index
from lupi_jax.data.sources import published
from lupi_jax.errors import InputError, plural
from lupi_jax.evaluation.metrics.tasks import (
    DIRECTIONS,
    WITHOUT_IMAGE,
    Pair,
    Places,
    SameModality,
    Task,
    Trial,
    by_identity_and_camera,
    draw,
    draw_one,
    has_match,
    is_within,
    make_task,
    places_of,
    require_trials,
    rows_of,
    sides_of,
    within_modality,
)
from lupi_jax.modality import Modality

SysuProtocol = Literal["official", "agw", "released"]

Permutations = Mapping[tuple[int, int], np.ndarray]
"""(identity, camera) -> [trials, n] orders of the n images, which are numbered by name from 0."""

VISIBLE_CAMERAS = (1, 2, 4, 5)
INFRARED_CAMERAS = (3, 6)
SEARCHES = {"all-search": VISIBLE_CAMERAS, "indoor": (1, 2)}
"""{search: cameras of its visible gallery}."""

SHOTS = {"single-shot": 1, "multi-shot": 10}
"""{search: gallery images per identity and camera}."""

# Cameras 2 and 3 look at the same room, whose background would reveal the person.
_LOCATIONS = np.array([0, 1, 2, 2, 4, 5, 6])

_RELEASED_CAMERAS = {False: ((1, 4), (2, 5)), True: ((3,), (6,))}


def all_images(
    images: Index, pairs: Sequence[Pair], same_modality: SameModality = "identity_and_camera"
) -> tuple[Task, ...]:
    """Tasks in which every image of one modality queries all images of another; CMC over images.

    This is the protocol of the `folder` layout and of RegDB. Between infrared and visible (or
    intermediate) images nothing is excluded. Within a modality a query ignores the images that
    `same_modality` names. If that leaves no query a match, because no person is seen by two cameras
    (as on RegDB), a query instead ignores itself and images made of it ("without own image").

    As on Market-1501, no gallery contains junk (identity -1). Distractors (identity 0, if
    `images.distractors` is true) are in every gallery, always wrong, and never queries.

    Images with the role "query" are in no gallery; images with the role "gallery" are not queries.

    Args:
      images: images of all modalities in `pairs`.
      pairs: (query, gallery) modalities, one task each.
      same_modality: the rule within a modality, by default Market-1501's.

    Raises:
      InputError: `same_modality` is unknown, a side of a pair is empty, or no query has a true
        match.
    """
    tasks = []
    for pair in pairs:
        query, gallery = sides_of(images, pair)
        name, groups = "all images", None
        if is_within(*pair):
            without, groups = within_modality(images, same_modality)
            if not has_match(Trial(query, gallery, "image", groups), images.identities).any():
                groups = np.unique(images.paths, return_inverse=True)[1]
                without = WITHOUT_IMAGE
            name = f"{name}, {without}"
        tasks.append(make_task(name, pair, [Trial(query, gallery, "image", groups)], images))
    return tuple(tasks)


def llcm(
    images: Index,
    pairs: Sequence[Pair] = DIRECTIONS,
    trials: int = 10,
    same_modality: SameModality = "identity_and_camera",
) -> tuple[Task, ...]:
    """LLCM's tasks: all query images search a gallery of one image per identity and camera.

    CMC counts identities. Each trial draws its own gallery with Python's generator, seeded with the
    trial's number (from 0), identity by identity and camera by camera, as in Zhang and Wang's code
    (CVPR 2023). A query ignores images of its identity by the camera of the same number, in either
    modality.

    Args:
      images: test images of all modalities in `pairs`.
      pairs: (query, gallery) modalities, one task each.
      trials: number of galleries per task, at least 1.
      same_modality: the rule within a modality, by default LLCM's own.

    Raises:
      InputError: `trials` is below 1, `same_modality` is unknown, a side of a pair is empty, or no
        query has a true match.
    """
    require_trials(trials)
    tasks = []
    for pair in pairs:
        name, groups = "single-shot", by_identity_and_camera(images)
        if is_within(*pair):
            rule, groups = within_modality(images, same_modality)
            name = f"{name}, {rule}"
        query, gallery = (rows_of(images, modality, pair) for modality in pair)
        places = places_of(images, gallery)
        drawn = [Trial(query, draw_one(places, t), "identity", groups) for t in range(trials)]
        tasks.append(make_task(name, pair, drawn, images))
    return tuple(tasks)


def sysu(
    images: Index,
    pairs: Sequence[Pair],
    protocol: SysuProtocol = "official",
    trials: int = 10,
    permutations: Permutations | None = None,
    same_modality: SameModality = "camera",
) -> tuple[Task, ...]:
    """SYSU-MM01's tasks: all-search and indoor, single- and multi-shot; CMC over identities.

    All images of a modality are queries. Each trial draws its own gallery, with 1 or 10 images of
    each identity and camera (all, if there are fewer). Infrared galleries come from cameras 3 and 6
    and have only all-search, because indoor search is a choice among visible cameras.

    A query ignores every gallery image of its own camera. Cameras 2 and 3 count as one camera,
    because they look at the same room. This is the rule of the owners' script
    (github.com/wuancong/SYSU-MM01), and within a modality of the paper's Table 3.

    How galleries are drawn:
      "official": trial t takes the first entries of row t of the data set's own permutations.
      "agw": by Python's generator, seeded with the trial's number (from 0), identity by identity
        and camera by camera. Single-shot galleries equal the galleries of Ye et al.'s code (AGW,
        TPAMI 2021) and of code that builds on it.
      "released": as in the code released with LUPI, but seeded like "agw" and not by the clock.
        Multi-shot draws with replacement, and no camera is ignored. Within a modality, cameras 1
        and 4 search in 2 and 5, and camera 3 searches in 6. As intermediate images that code
        searches ten per visible image (nine by Eq. 4 and the colour image), this code one.

    Args:
      images: test images of all modalities in `pairs`.
      pairs: (query, gallery) modalities, up to four tasks each.
      protocol: how galleries are drawn.
      trials: number of galleries per task, at least 1.
      permutations: the permutations of the official protocol
        (`lupi_jax.data.sources.sysu_mm01.read_permutations`).
      same_modality: the rule within a modality; "released" does not use it.

    Raises:
      InputError: an option is unknown or out of range, a camera does not fit its modality, a side
        of a task is empty, no query has a true match, the permutations do not fit the images, or
        the whole test set does not give the published counts.
    """
    if protocol not in ("official", "agw", "released"):
        raise InputError(
            f"evaluation.protocol = {protocol!r} is unknown: give official, agw or released"
        )
    require_trials(trials)
    _check_cameras(images)
    tasks = []
    for pair in pairs:
        without, groups = "", None
        if protocol != "released":
            groups = _LOCATIONS[images.cameras]
            if is_within(*pair):
                rule, groups = within_modality(images, same_modality)
                without = f", {rule}"
        for search, cameras in _searches(pair, protocol).items():
            query, gallery = (
                rows_of(images, modality, pair, own)
                for modality, own in zip(pair, cameras, strict=True)
            )
            places, orders = places_of(images, gallery), None
            if protocol == "official":
                orders = _check_permutations(permutations, places, images, cameras[1], trials)
            for shot, number in SHOTS.items():
                drawn = [
                    Trial(query, _gallery(places, number, t, protocol, orders), "identity", groups)
                    for t in range(trials)
                ]
                task = make_task(f"{search}, {shot}{without}", pair, drawn, images)
                _check_counts(task, images)
                tasks.append(task)
    return tuple(tasks)


def is_test_set(images: Index) -> bool:
    """Whether the images have the identities and numbers per camera of SYSU-MM01's whole test set.

    Intermediate images do not count.
    """
    real = images.modalities != Modality.INTERMEDIATE
    cameras, counts = np.unique(images.cameras[real], return_counts=True)
    return (
        len(np.unique(images.identities[real])) == published.SYSU_IDENTITIES["test"]
        and dict(zip(cameras.tolist(), counts.tolist(), strict=True)) == published.SYSU_TEST_IMAGES
    )


def _check_counts(task: Task, images: Index) -> None:
    cross = task.query == Modality.INFRARED and task.gallery != Modality.INFRARED
    if not cross or not is_test_set(images):
        return  # counts are published only for the whole test set, infrared queries
    # Every trial draws the same number of images of the same cameras, so one trial is enough.
    trial = task.trials[0]
    found = len(trial.gallery), int(has_match(trial, images.identities).sum())
    if found != published.SYSU_COUNTS[task.name]:
        gallery, valid = published.SYSU_COUNTS[task.name]
        raise InputError(
            f"SYSU-MM01, {task.name}: {found[0]} gallery images and {found[1]} queries with a "
            f"match instead of {gallery} and {valid}: some images have the wrong identity or "
            "camera: extract the data set again"
        )


def _gallery(
    places: Places,
    shots: int,
    trial: int,
    protocol: SysuProtocol,
    permutations: Permutations | None,
) -> np.ndarray:
    if permutations is not None:
        return np.concatenate(
            [rows[permutations[place][trial, :shots]] for place, rows in places.items()]
        )
    if shots == 1:
        return draw_one(places, trial)

    def pick(generator: random.Random, files: range) -> list[int]:
        if protocol == "released":
            return generator.choices(files, k=shots)
        return generator.sample(files, min(shots, len(files)))

    return draw(places, trial, pick)


def _searches(
    pair: Pair, protocol: SysuProtocol
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """{name of a search: (cameras of its queries, cameras of its gallery)}."""
    infrared = pair[0] == Modality.INFRARED
    if protocol == "released" and is_within(*pair):
        cameras = _RELEASED_CAMERAS[infrared]
        names = (", ".join(map(str, side)) for side in cameras)
        return {f"cameras {' in '.join(names)}": cameras}
    queries = INFRARED_CAMERAS if infrared else VISIBLE_CAMERAS
    if pair[1] == Modality.INFRARED:
        return {"all-search": (queries, INFRARED_CAMERAS)}
    return {search: (queries, cameras) for search, cameras in SEARCHES.items()}


def _check_cameras(images: Index) -> None:
    for modality in Modality:
        infrared = modality == Modality.INFRARED
        cameras = INFRARED_CAMERAS if infrared else VISIBLE_CAMERAS
        found = np.unique(images.cameras[images.modalities == modality])
        foreign = np.setdiff1d(found, cameras)
        if len(foreign):
            raise InputError(
                f"{modality} images of camera {foreign[0]}: in SYSU-MM01 only the cameras "
                f"{', '.join(map(str, cameras))} are {modality}: correct the cameras"
            )


def _check_permutations(
    permutations: Permutations | None,
    places: Places,
    images: Index,
    cameras: tuple[int, ...],
    trials: int,
) -> Permutations:
    if permutations is None:
        raise InputError(
            "the official protocol needs the permutations of exp/rand_perm_cam.mat: give them, or "
            'use protocol "agw"'
        )
    for identity in np.unique(images.identities).tolist():
        for camera in cameras:
            orders = permutations.get((identity, camera), np.empty((trials, 0), int))
            count = len(places.get((identity, camera), ()))
            if orders.shape[1] != count or len(orders) < trials:
                raise InputError(
                    f"exp/rand_perm_cam.mat orders {plural(orders.shape[1], 'image')} of identity "
                    f"{identity} by camera {camera} for {plural(len(orders), 'trial')}, but there "
                    f"are {plural(count, 'image')} and {plural(trials, 'trial')}: complete the "
                    'data set, or use protocol "agw"'
                )
    return permutations
