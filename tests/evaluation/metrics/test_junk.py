"""Market-1501's junk (-1) and distractors (0), by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lupi_jax import InputError, Modality, retrieval_metrics
from lupi_jax.data import Index
from lupi_jax.evaluation import feature_metrics
from lupi_jax.evaluation.metrics import all_images

pytestmark = pytest.mark.filterwarnings("ignore:cmc was left out:FutureWarning")

PAIR = (Modality.INFRARED, Modality.VISIBLE)
QUERIES = np.array([5, 7, -1])
GALLERY = np.array([-1, 5, 0, 5, 7, -1])
# In order: junk, 5, distractor, 5, 7, junk; distractor, junk, 7, 5, junk, 5; anything.
DISTANCES = np.array([[1, 2, 3, 4, 5, 6], [6, 4, 1, 5, 3, 2], [1, 2, 3, 4, 5, 6]]) / 10


def test_junk_is_not_there_and_distractors_are_wrong():
    found = retrieval_metrics(DISTANCES, QUERIES, GALLERY, cmc="image", ranks=3)
    # 5 at ranks 1 and 3, 7 at rank 2 behind a distractor; the query that is junk has no match.
    np.testing.assert_allclose(found.average_precision, [(1 / 1 + 2 / 3) / 2, 1 / 2, np.nan])
    np.testing.assert_allclose(found.inverse_negative_penalty, [2 / 3, 1 / 2, np.nan])
    np.testing.assert_array_equal(found.first_match_rank, [1, 2, np.nan])
    assert found.mean_ap == pytest.approx(2 / 3)
    assert found.cmc.tolist() == [0.5, 1, 1]
    assert found.valid_queries == 2
    names = retrieval_metrics(DISTANCES[:2], QUERIES[:2].astype(str), GALLERY.astype(str))
    assert names.average_precision.tolist() == [(1 / 2 + 2 / 4) / 2, 1 / 3]  # "-1" is a name


def test_junk_may_be_excluded_too():
    excluded = np.zeros(DISTANCES.shape, bool)
    excluded[0, [0, 1]] = True  # 5 of the query's own camera: distractor, 5 are left
    found = retrieval_metrics(DISTANCES, QUERIES, GALLERY, excluded, cmc="image")
    np.testing.assert_allclose(found.average_precision, [1 / 2, 1 / 2, np.nan])


@pytest.mark.parametrize("rows", [None, [1, 2, 3, 4, 5, 0]])
def test_features_of_junk_are_not_there_either(rows):
    angles = np.deg2rad([5, 10, 20, 30, 40, 50])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shown = np.arange(6) if rows is None else np.array(rows)
    groups = np.arange(3) + 90, np.array([0, 90, 0, 0, 0, 0])[shown]  # the first hides its nearest
    query = np.array([[1.0, 0], [0, 1], [1, 0]])
    found = feature_metrics(
        query, gallery, QUERIES, GALLERY[shown], *groups, cmc="image", gallery_rows=rows
    )
    np.testing.assert_allclose(found.average_precision, [1 / 2, 1, np.nan])


def test_a_gallery_of_junk_alone_is_refused():
    with pytest.raises(ValueError, match="no query has a true match in its gallery: all of it is"):
        retrieval_metrics(np.ones((1, 2)), [5], [-1, -1])
    with pytest.raises(ValueError, match="no query has a true match in its gallery: all of it is"):
        feature_metrics(np.eye(2), np.eye(2), [5, 6], [-1, -1])


@pytest.fixture
def images() -> Index:
    """Of each modality: people 5 and 7, two images of 0, one of -1; the infrared ones first."""
    identities = np.array([5, 7, 0, 0, -1] * 2, np.int32)
    modalities = np.repeat(["infrared", "visible"], 5)
    cameras = np.tile([1, 2], 5).astype(np.int32)
    return Index(Path(), np.array([f"{i}" for i in range(10)]), identities, cameras, modalities)


def test_nobody_queries_for_distractors(images):
    (task,) = all_images(images, [PAIR])
    assert task.trials[0].query.tolist() == [0, 1, 2, 3]  # a set numbered from 0
    assert task.trials[0].gallery.tolist() == [5, 6, 7, 8]
    assert images.classes.tolist() == [0, 5, 7]
    market = dataclasses.replace(images, distractors=True)
    (task,) = all_images(market, [PAIR])
    assert task.trials[0].query.tolist() == [0, 1]
    assert task.trials[0].gallery.tolist() == [5, 6, 7, 8]
    assert market.classes.tolist() == market[np.arange(3)].classes.tolist() == [5, 7]


def test_a_search_within_a_modality_keeps_distractors(images):
    two_of_5 = np.where(images.identities == 7, 5, images.identities)
    market = dataclasses.replace(images, identities=two_of_5, distractors=True)
    (task,) = all_images(market, [(Modality.VISIBLE, Modality.VISIBLE)])
    assert task.name == "all images, without own identity by own camera"
    assert task.trials[0].query.tolist() == [5, 6]
    assert task.trials[0].gallery.tolist() == [5, 6, 7, 8]
    assert task.trials[0].excluded is not None
    assert task.trials[0].excluded.tolist() == np.eye(2, 4).astype(bool).tolist()


def test_roles_keep_junk_and_distractors_as_they_are(images):
    two_of_5 = np.where(images.identities == 7, 5, images.identities)
    roles = np.array([""] * 5 + ["query", "gallery", "gallery", "query", "gallery"])
    market = dataclasses.replace(images, identities=two_of_5, distractors=True, roles=roles)
    (task,) = all_images(market, [(Modality.VISIBLE, Modality.VISIBLE)])
    assert task.name == "all images, without own identity by own camera"
    assert task.trials[0].query.tolist() == [5]
    assert task.trials[0].gallery.tolist() == [6, 7]
    (across,) = all_images(market, [PAIR])
    assert across.trials[0].query.tolist() == [0, 1]
    assert across.trials[0].gallery.tolist() == [6, 7]


def test_sides_without_anybody_are_refused(images):
    distractors = dataclasses.replace(images, distractors=True)[images.identities < 1]
    with pytest.raises(InputError, match="infrared -> visible: no query of a person"):
        all_images(distractors, [PAIR])
    junk = images[(images.modalities == "infrared") | (images.identities < 0)]
    with pytest.raises(InputError, match="infrared -> visible: no gallery image but junk"):
        all_images(junk, [PAIR])
