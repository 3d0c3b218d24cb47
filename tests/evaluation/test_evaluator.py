from pathlib import Path

import numpy as np
import pytest

from lupi_jax.data import Index
from lupi_jax.evaluation import Features, evaluate_features, evaluator, metrics
from lupi_jax.evaluation.protocols import DIRECTIONS, Task, all_images, sysu

CORNERS = (np.array(list(np.ndindex(2, 2, 2, 2))) - 0.5).astype(np.float32)


@pytest.fixture
def features() -> Features:
    """12 people of SYSU-MM01's cameras; inner products are exact and often equal."""
    rng = np.random.default_rng(4)
    places = [(i, c) for i in range(12) for c in (1, 2, 3, 4, 5, 6) if rng.random() < 0.8]
    rows = rng.permutation([place for place in places for _ in range(rng.integers(1, 14))])
    ids, cameras = rows.T
    modalities = np.where(np.isin(cameras, (3, 6)), "infrared", "visible")
    index = Index(Path(), np.array([f"{i:04d}" for i in range(len(ids))]), ids, cameras, modalities)
    return Features(rng.choice(CORNERS, len(ids)), rng.choice(CORNERS, len(ids)), index)


def test_galleries_that_share_a_product_and_those_in_tiles_agree(features, monkeypatch):
    tasks: list[Task] = []
    for pairs in (DIRECTIONS, [("visible", "visible")]):
        tasks += [*sysu(features.index, pairs, "agw", 3), *all_images(features.index, pairs)]
    whole = evaluate_features(features, tasks)
    assert {row["trials"] for row in whole} == {1, 3}
    monkeypatch.setattr(evaluator, "BLOCK_ELEMENTS", 300)
    monkeypatch.setattr(metrics, "BLOCK_ELEMENTS", 300)
    monkeypatch.setattr(evaluator, "retrieval_metrics", None)
    assert evaluate_features(features, tasks) == whole


def test_the_galleries_of_a_task_are_compared_once(features, monkeypatch):
    tasks = sysu(features.index, DIRECTIONS[:1], "agw", 5)
    calls = []
    compare = metrics.pairwise_distances

    def counted(*sides):
        calls.append(sides)
        return compare(*sides)

    monkeypatch.setattr(evaluator, "pairwise_distances", counted)
    evaluate_features(features, tasks, names=("neck",))
    assert len(calls) == len(tasks) == 4
