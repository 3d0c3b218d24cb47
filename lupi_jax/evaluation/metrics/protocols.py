"""The evaluation protocols of folders, RegDB and LLCM. SYSU-MM01's is in `sysu_mm01`."""

from collections.abc import Sequence

import numpy as np

from lupi_jax.evaluation.metrics.tasks import (
    DIRECTIONS,
    WITHOUT_IMAGE,
    Images,
    Pair,
    SameModality,
    Task,
    Trial,
    by_identity_and_camera,
    draw_one,
    has_match,
    is_within,
    make_task,
    places_of,
    require_trials,
    rows_of,
    within_modality,
)


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
    for pair in pairs:
        query, gallery = (rows_of(images, modality, pair) for modality in pair)
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
