import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lupi_jax.config import Config, EvaluationConfig, SourceConfig
from lupi_jax.data import Index
from lupi_jax.evaluation import Features, evaluate_features, figures, searched
from lupi_jax.evaluation.metrics import DIRECTIONS, Task, all_images, llcm, retrieval, sysu

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
    monkeypatch.setattr(figures, "BLOCK_ELEMENTS", 300)
    monkeypatch.setattr(retrieval, "BLOCK_ELEMENTS", 300)
    monkeypatch.setattr(figures, "retrieval_metrics", None)
    assert evaluate_features(features, tasks) == whole


def test_the_galleries_of_a_task_are_compared_once(features, monkeypatch):
    tasks = sysu(features.index, DIRECTIONS[:1], "agw", 5)
    calls = []
    compare = retrieval.pairwise_distances

    def counted(*sides):
        calls.append(sides)
        return compare(*sides)

    monkeypatch.setattr(figures, "pairwise_distances", counted)
    evaluate_features(features, tasks, names=("neck",))
    assert len(calls) == len(tasks) == 4


WITHIN = [("visible", "visible"), ("infrared", "infrared")]


@pytest.mark.parametrize(
    ("data", "usual", "make"),
    [
        ("sysu", "camera", sysu),
        ("llcm", "identity_and_camera", llcm),
        ("regdb", "identity_and_camera", all_images),
        ("folder", "identity_and_camera", all_images),
        ("synthetic", "identity_and_camera", all_images),
    ],
)
def test_within_a_modality_each_data_set_has_its_usual_rule(features, data, usual, make):
    asked = EvaluationConfig(tuple(f"{q}_to_{g}" for q, g in WITHIN), "agw", trials=2)
    config = Config(data=SourceConfig(data, "x"), evaluation=asked)
    assert searched.same_modality_rule(config) == usual
    options = {"protocol": "agw", "trials": 2} if make is sysu else {}
    options |= {"trials": 2} if make is llcm else {}
    # The function has the same rule by default.
    assert_same(
        searched.make_tasks(config, features.index), make(features.index, WITHIN, **options)
    )
    for rule in ("camera", "identity_and_camera"):
        asked = dataclasses.replace(config.evaluation, same_modality=rule)
        tasks = searched.make_tasks(dataclasses.replace(config, evaluation=asked), features.index)
        assert_same(tasks, make(features.index, WITHIN, **options, same_modality=rule))


def assert_same(tasks, expected) -> None:
    assert [task.name for task in tasks] == [task.name for task in expected]
    for task, other in zip(tasks, expected, strict=True):
        for trial, same in zip(task.trials, other.trials, strict=True):
            assert np.array_equal(trial.gallery, same.gallery)
            assert np.array_equal(trial.excluded, same.excluded)
