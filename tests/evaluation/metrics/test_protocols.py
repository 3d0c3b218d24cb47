import random

import numpy as np
import pytest
from protocol_images import Counts, G, I, V, hidden, make_images, shown, with_intermediate

from lupi_jax import InputError
from lupi_jax.evaluation.metrics import DIRECTIONS, all_images, llcm, retrieval_metrics
from lupi_jax.evaluation.metrics.tasks import has_match


def test_all_images_query_all_of_the_other_modality():
    images = make_images({(V, 1, 1): 2, (I, 1, 2): 1, (V, 2, 1): 1, (I, 2, 2): 2})
    to_visible, to_infrared = all_images(images, DIRECTIONS)
    assert (to_visible.query, to_visible.gallery, to_visible.name) == (I, V, "all images")
    assert (to_infrared.query, to_infrared.gallery) == (V, I)
    (trial,) = to_visible.trials
    assert (trial.query.tolist(), trial.gallery.tolist()) == ([2, 4, 5], [0, 1, 3])
    assert (trial.cmc, trial.excluded) == ("image", None)
    (trial,) = to_infrared.trials
    assert (trial.query.tolist(), trial.gallery.tolist()) == ([0, 1, 3], [2, 4, 5])


def test_between_modalities_a_shared_camera_number_excludes_nothing():
    images = make_images({(V, 1, 1): 1, (I, 1, 1): 1})
    assert all_images(images, [(I, V)])[0].trials[0].excluded is None


def test_within_a_modality_the_person_is_ignored_by_the_own_camera():
    # Rows: 0, 1 of person 1 by camera 1; 2 by camera 2; 3 of person 2 by camera 1.
    images = make_images({(V, 1, 1): 2, (V, 1, 2): 1, (V, 2, 1): 1})
    (task,) = all_images(images, [(V, V)])
    assert task.name == "all images, without own identity by own camera"
    (trial,) = task.trials
    assert trial.query.tolist() == trial.gallery.tolist() == [0, 1, 2, 3]
    assert hidden(trial).astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert has_match(trial, images.identities).tolist() == [True, True, True, False]
    # 0, 1 and 2 each find person 1 first: person 2's only image counts for nothing.
    distances = np.abs(np.subtract.outer([0, 0, 0, 9], [0, 0, 0, 9]))
    ids = images.identities
    metrics = retrieval_metrics(distances, ids, ids, trial.excluded, trial.cmc)
    assert (metrics.valid_queries, metrics.mean_ap) == (3, 1)


def test_within_a_modality_the_whole_camera_is_ignored_by_name():
    # Rows: 0, 1 of person 1 by camera 1; 2 by camera 2; 3 of person 2 by camera 1.
    images = make_images({(V, 1, 1): 2, (V, 1, 2): 1, (V, 2, 1): 1})
    (task,) = all_images(images, [(V, V)], "camera")
    assert task.name == "all images, without own camera"
    (trial,) = task.trials
    assert hidden(trial).astype(int).tolist() == [
        [1, 1, 0, 1],
        [1, 1, 0, 1],
        [0, 0, 1, 0],
        [1, 1, 0, 1],
    ]
    assert has_match(trial, images.identities).tolist() == [True, True, True, False]
    # Person 2 stands between person 1's images: 0 and 1 do not see it, and find 2 first; 2 sees
    # it, finds it before 0 and 1, and has a precision of (1/2 + 2/3) / 2.
    places = [0, 0, 9, 5]
    ids = images.identities
    distances = np.abs(np.subtract.outer(places, places))
    metrics = retrieval_metrics(distances, ids, ids, trial.excluded, trial.cmc)
    assert metrics.average_precision[:3].tolist() == pytest.approx([1, 1, 7 / 12])


@pytest.mark.parametrize("rule", ["camera", "identity_and_camera"])
def test_within_a_modality_of_one_camera_each_only_the_query_is_ignored(rule):
    images = make_images({(I, 1, 1): 2, (I, 2, 2): 2})
    (task,) = all_images(images, [(I, I)], rule)
    assert task.name == "all images, without own image"
    assert np.array_equal(task.trials[0].excluded, np.eye(4, dtype=bool))


def test_intermediate_images_are_as_visible_ones():
    images = with_intermediate(make_images({(V, 1, 1): 2, (V, 1, 2): 1, (I, 1, 1): 1}))
    assert images.modalities.tolist() == ["visible"] * 3 + ["infrared"] + ["intermediate"] * 3
    cross, made, mixed = all_images(images, [(I, G), (G, G), (V, G)])
    assert cross.trials[0].excluded is None
    assert cross.trials[0].gallery.tolist() == [4, 5, 6]
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert made.trials[0].query.tolist() == [4, 5, 6]
    assert hidden(made.trials[0]).astype(int).tolist() == expected
    # What is made of an image is no more another camera's than the image itself.
    assert mixed.trials[0].query.tolist() == [0, 1, 2]
    assert hidden(mixed.trials[0]).astype(int).tolist() == expected


def test_what_is_made_of_the_query_is_ignored_with_it():
    images = with_intermediate(make_images({(V, 1, 1): 2, (V, 2, 1): 1}, shuffled=1))
    (task,) = all_images(images, [(V, G)])
    assert task.name == "all images, without own image"
    assert np.array_equal(task.trials[0].excluded, np.eye(3, dtype=bool))


@pytest.mark.parametrize(
    ("counts", "pair", "message"),
    [
        ({(V, 1, 1): 2}, (I, V), r"no infrared image to evaluate infrared -> visible"),
        (
            {(V, 1, 1): 2},
            (V, I),
            r"no infrared image to evaluate visible -> infrared: add images, or search visible "
            r"images alone, --config\.evaluation\.pairs=\"\('visible_to_visible',\)\"$",
        ),
        ({(V, 1, 1): 2}, (V, G), r"no intermediate image to evaluate visible -> intermediate$"),
        ({(V, 1, 1): 2, (I, 2, 1): 1}, (I, V), r"infrared -> visible, all images: no query has"),
        ({(V, 1, 1): 1, (V, 2, 1): 1}, (V, V), r"visible, all images, without own image: no q"),
    ],
)
def test_a_pair_without_any_match_is_refused(counts, pair, message):
    with pytest.raises(InputError, match=message):
        all_images(make_images(counts), [pair])


LLCM: Counts = {
    (V, 3, 1): 4,
    (V, 3, 9): 2,
    (V, 102, 3): 3,
    (V, 102, 4): 7,
    (I, 3, 1): 2,
    (I, 3, 2): 5,
    (I, 102, 4): 6,
}


def test_llcm_draws_one_image_of_each_identity_and_camera():
    images = make_images(LLCM, shuffled=2)
    tasks = llcm(images)
    assert [(task.name, task.query, task.gallery) for task in tasks] == [
        ("single-shot", I, V),
        ("single-shot", V, I),
    ]
    for task in tasks:
        assert len(task.trials) == 10
        for t, trial in enumerate(task.trials):
            random.seed(t)
            expected = [
                f"cam{camera}/{identity:04d}/{random.choice(range(1, count + 1)):04d}.jpg"
                for (modality, identity, camera), count in LLCM.items()
                if modality == task.gallery
            ]
            assert shown(images, trial) == expected
            assert trial.query.tolist() == np.flatnonzero(images.modalities == task.query).tolist()
            assert trial.cmc == "identity"


def test_llcm_ignores_the_identity_in_the_camera_of_the_same_number():
    images = make_images({(V, 3, 1): 1, (V, 3, 2): 1, (V, 5, 1): 1, (I, 3, 1): 1, (I, 5, 4): 1})
    to_visible, to_infrared = llcm(images, trials=1)
    assert hidden(to_visible.trials[0]).tolist() == [[True, False, False], [False] * 3]
    assert hidden(to_infrared.trials[0]).tolist() == [[True, False], [False] * 2, [False] * 2]


def test_llcm_without_any_match_is_refused():
    with pytest.raises(InputError, match=r"infrared -> visible, single-shot: no query has"):
        llcm(make_images({(V, 3, 1): 1, (I, 3, 1): 2}))
    with pytest.raises(InputError, match=r"no infrared image to evaluate infrared -> visible"):
        llcm(make_images({(V, 3, 1): 1}))
