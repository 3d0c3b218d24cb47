"""Open-set figures: by hand, and against loops over every pair and query."""

from pathlib import Path

import numpy as np
import pytest

from lupi_jax import Modality
from lupi_jax.data.index import Index
from lupi_jax.evaluation import Features, verification
from lupi_jax.evaluation.metrics import all_images
from lupi_jax.evaluation.metrics.open_set import (
    calibrate_threshold,
    open_set_rates,
    query_outcomes,
    verification_rates,
)
from lupi_jax.evaluation.verification import LEVELS, level_for, verify

# Queries of 1, 2, 3 (who has no mate), 4 (nor has he) and a gallery of 1, 1, 2, 5, junk.
QUERIES, GALLERY = np.array([1, 2, 3, 4]), np.array([1, 1, 2, 5, -1])
DISTANCES = np.array(
    [
        [0.30, 0.20, 0.50, 0.60, 0.01],  # its own at ranks 1 and 2
        [0.35, 0.90, 0.40, 0.70, 0.01],  # its own at rank 2
        [0.25, 0.80, 0.90, 0.45, 0.01],
        [0.90, 0.80, 0.55, 0.70, 0.01],
    ]
)


def test_outcomes_by_hand():
    rank, match, nearest = query_outcomes(DISTANCES, QUERIES, GALLERY)
    assert rank.tolist() == [1, 2, 0, 0]
    assert match.tolist() == [0.20, 0.40, np.inf, np.inf]
    assert nearest.tolist() == [0.20, 0.35, 0.25, 0.55]
    excluded = np.zeros(DISTANCES.shape, bool)
    excluded[0, 1] = excluded[2, 0] = True
    rank, match, nearest = query_outcomes(DISTANCES, QUERIES, GALLERY, excluded)
    assert (rank[0], match[0]) == (1, 0.30)
    assert nearest[2] == 0.45
    tied = query_outcomes([[0.5, 0.5, 0.5]], [7], [8, 7, 8])
    assert tied.rank.tolist() == [2]  # the gallery's order


def test_rates_at_a_threshold_by_hand():
    outcomes = query_outcomes(DISTANCES, QUERIES, GALLERY)
    thresholds = [0.1, 0.2, 0.25, 0.4, 0.55]
    detected, alarms = open_set_rates(outcomes, thresholds)
    assert detected.tolist() == [0, 0.5, 0.5, 0.5, 0.5]  # 2 is second, at any threshold
    assert alarms.tolist() == [0, 0, 0.5, 0.5, 1]
    detected, _ = open_set_rates(outcomes, thresholds, rank=2)
    assert detected.tolist() == [0, 0.5, 0.5, 1, 1]


def test_verification_by_hand():
    false_match, missed = verification_rates(
        [0.1, 0.3, 0.3, 0.6], [0.2, 0.3, 0.5, 0.7, 0.9], [0.05, 0.3, 0.6, 1]
    )
    assert false_match.tolist() == pytest.approx([0, 0.4, 0.6, 1])
    assert missed.tolist() == pytest.approx([1, 0.25, 0, 0])


def test_a_threshold_is_the_largest_that_keeps_to_a_rate():
    distances = np.array([0.5, 0.1, 0.3, 0.2, 0.4])
    assert calibrate_threshold(distances, 0.2) == np.nextafter(0.2, 0)
    assert calibrate_threshold(distances, 0.5) == np.nextafter(0.3, 0)  # two of five, not three
    assert calibrate_threshold(np.array([0.1, 0.3, 0.3, 0.3, 0.9]), 0.6) == np.nextafter(
        0.3, 0
    )  # ties
    hundred = np.arange(100) / 100
    assert calibrate_threshold(hundred, 0.29) == np.nextafter(0.29, 0)  # 0.29 * 100 is below 29
    assert calibrate_threshold(hundred[:30], 0.29, count=100) == calibrate_threshold(hundred, 0.29)
    narrow = calibrate_threshold(hundred.astype(np.float32), 0.1)
    assert np.float32(narrow) == narrow < np.float32(0.1)


def test_rates_that_cannot_be_measured():
    with pytest.raises(ValueError, match=r"5 distances cannot show a rate below 1 / 5: got 0\.1"):
        calibrate_threshold(np.ones(5), 0.1)
    with pytest.raises(ValueError, match=r"^2 of 100 distances do not show a rate of 0\.02$"):
        calibrate_threshold(np.ones(2), 0.02, count=100)
    for rate in (0, 1, -0.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibrate_threshold(np.ones(5), rate)
    with pytest.raises(ValueError, match="pairs of both kinds: got 0 and 1"):
        verification_rates([], [0.1], [0.1])
    outcomes = query_outcomes(DISTANCES[:2], QUERIES[:2], GALLERY)
    with pytest.raises(ValueError, match="need queries without a mate"):
        open_set_rates(outcomes, [0.1])
    with pytest.raises(ValueError, match="need queries with a mate"):
        open_set_rates(query_outcomes(DISTANCES[2:], QUERIES[2:], GALLERY), [0.1])
    with pytest.raises(ValueError, match="rank must be at least 1: got 0"):
        open_set_rates(query_outcomes(DISTANCES, QUERIES, GALLERY), [0.1], rank=0)


@pytest.fixture
def features() -> Features:
    """Two hundred images of forty people, of whom some are in one modality only."""
    rng = np.random.default_rng(7)
    identities = rng.integers(0, 40, 200).astype(np.int32)
    modalities = np.where(rng.random(200) < 0.4, "infrared", "visible")
    modalities[identities < 10] = "infrared"
    cameras = rng.integers(1, 4, 200).astype(np.int32)
    centres = rng.standard_normal((40, 8))
    values = centres[identities] + 0.7 * rng.standard_normal((200, 8))
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    paths = np.array([f"{i:03d}" for i in range(200)])
    return Features(values, values, Index(Path(), paths, identities, cameras, modalities))


def one_by_one(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Cosine distances whose last bits do not depend on how many there are, as a product's do."""
    return 1 - (query[:, None] * gallery).sum(axis=-1)


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        ("infrared visible", "camera"),
        ("visible visible", "camera"),
        ("visible visible", "identity_and_camera"),
    ],
)
def test_a_search_against_loops(features, pair, rule, monkeypatch):
    query, gallery = map(Modality, pair.split())
    (task,) = all_images(features.index, [(query, gallery)], rule)
    monkeypatch.setattr(verification, "_STEP", 1000)  # many blocks of few queries
    monkeypatch.setattr(verification, "pairwise_distances", one_by_one)
    found = verify(features, task)
    trial, ids, cameras = task.trials[0], features.index.identities, features.index.cameras
    distances = one_by_one(features.neck[trial.query], features.neck[trial.gallery])
    own, others, outcomes = [], [], []
    for i, q in enumerate(trial.query):
        seen = [
            (distances[i, j], ids[g] == ids[q])
            for j, g in enumerate(trial.gallery)
            if query != gallery
            or cameras[g] != cameras[q]
            or (rule != "camera" and ids[g] != ids[q])
        ]
        own += [d for d, same in seen if same]
        others += [d for d, same in seen if not same]
        outcomes.append(sorted(seen)[0] if any(same for _, same in seen) else min(seen)[:1])
    assert (found["genuine_pairs"], found["impostor_pairs"]) == (len(own), len(others))
    rates = [level["false_match_rate"] for level in found["levels"]]
    assert rates == [rate for rate in LEVELS if rate * len(others) >= 1]
    assert len(rates) >= 9
    for level in found["levels"]:
        at = level["threshold"]
        allowed = int(level["false_match_rate"] * len(others) + 1e-9)
        assert sum(d <= at for d in others) <= allowed
        assert sum(d <= np.nextafter(np.float32(at), np.float32(2)) for d in others) > allowed
        assert level["false_non_match_rate"] == pytest.approx(sum(d > at for d in own) / len(own))
    alone = [outcome[0] for outcome in outcomes if len(outcome) == 1]
    mated = [outcome for outcome in outcomes if len(outcome) == 2]
    assert len(alone) >= 10
    open_set = found["open_set"]
    assert (open_set["mated_queries"], open_set["other_queries"]) == (len(mated), len(alone))
    level = open_set["levels"][-1]
    assert level["false_alarm_rate"] == 0.1
    at = level["threshold"]
    assert sum(d <= at for d in alone) <= int(0.1 * len(alone) + 1e-9)
    assert sum(d <= np.nextafter(np.float32(at), np.float32(2)) for d in alone) > 0.1 * len(alone)
    detected = sum(same and d <= at for d, same in mated) / len(mated)
    assert level["detection_identification_rate"] == pytest.approx(detected)


def test_without_strangers_there_are_no_open_set_figures(features):
    ids = features.index.identities
    mated = features[np.isin(ids, ids[features.index.modalities == "visible"])]
    (task,) = all_images(mated.index, [(Modality.INFRARED, Modality.VISIBLE)])
    assert "open_set" not in verify(mated, task)


def test_a_rate_takes_the_level_below_it():
    levels = [{"false_match_rate": rate, "threshold": rate} for rate in (0.1, 0.05, 0.02)]
    assert level_for(levels, 0.05) == levels[1]
    assert level_for(levels, 0.07) == levels[1]
    assert level_for(levels, 0.5) == levels[0]
    assert level_for(levels, 0.01) is None
