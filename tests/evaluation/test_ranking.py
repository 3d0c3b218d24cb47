import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lupi_jax import InputError
from lupi_jax.data import Index
from lupi_jax.evaluation import Features, pairwise_distances, ranking
from lupi_jax.evaluation.metrics import DIRECTIONS, all_images
from lupi_jax.evaluation.ranking import nearest, ranking_row, ranking_rows

SIZE = (32, 32)


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def on_circle(degrees: list[float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def test_nearest_agrees_with_sorting_one_by_one():
    rng = np.random.default_rng(0)
    query, gallery = unit(rng.standard_normal((5, 8))), unit(rng.standard_normal((30, 8)))
    rows, distances = nearest(query, gallery, 7)
    assert rows.shape == distances.shape == (5, 7)
    for i, q in enumerate(query):
        cosine = [float(np.dot(q, g)) for g in gallery]
        ranking = sorted(range(30), key=lambda j: -cosine[j])[:7]
        assert list(rows[i]) == ranking
        assert distances[i] == pytest.approx([1 - cosine[j] for j in ranking], abs=1e-6)


def test_nearest_by_hand():
    gallery = on_circle([180, 0, 90, 0])
    rows, distances = nearest(on_circle([10]), gallery, 9)
    assert rows.tolist() == [[1, 3, 2, 0]]  # equal distances keep the gallery's order
    cosine = np.cos(np.deg2rad([10, 10, 80, 170]))
    assert distances[0] == pytest.approx(1 - cosine, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(0, 30), st.integers(1, 12))
def test_tiles_of_the_gallery_do_not_show(seed, q, g, top):
    """Against a stable sort of whole rows; inner products are exact and often equal."""
    rng = np.random.default_rng(seed)
    corners = (np.array(list(np.ndindex(2, 2, 2, 2))) - 0.5).astype(np.float32)
    query, gallery = corners[rng.integers(0, 16, q)], corners[rng.integers(0, 16, g)]
    excluded = rng.random((q, g)) < rng.choice([0.2, 0.9])
    for mask in (None, excluded):
        distances = 1 - query @ gallery.T
        if mask is not None:
            distances[mask] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :top]
        for bound in (8, 16, 33, 10_000):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ranking, "BLOCK_ELEMENTS", bound)
                rows, found = nearest(query, gallery, top, mask)
            np.testing.assert_array_equal(found, np.take_along_axis(distances, order, axis=1))
            np.testing.assert_array_equal(rows, order, strict=True)


def test_a_gallery_on_disk_is_read_in_tiles(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    query, gallery = unit(rng.standard_normal((5, 8))), unit(rng.standard_normal((300, 8)))
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = nearest(query, gallery, 4)
    sizes = []

    def measured(query, gallery):
        sizes.append((query.size, gallery.size, len(query) * len(gallery)))
        return pairwise_distances(query, gallery)

    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(ranking, "pairwise_distances", measured)
    rows, distances = nearest(query, mapped, 4)
    assert np.max(sizes) <= 100
    assert sum(size[2] for size in sizes) == 1500
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(distances, expected[1], atol=1e-6)


def make_features(tmp_path: Path, identities: list[int], degrees: list[float]) -> Features:
    """Image i is a plain one of grey level 10 i; odd rows are infrared."""
    n = len(identities)
    for i in range(n):
        Image.new("L", (20, 30), 10 * i).save(tmp_path / f"person_{i}.png")
    index = Index(
        tmp_path,
        np.array([f"person_{i}.png" for i in range(n)]),
        np.array(identities, np.int32),
        np.arange(n, dtype=np.int32) % 3,
        np.array([("visible", "infrared")[i % 2] for i in range(n)]),
    )
    return Features(on_circle(degrees), on_circle(degrees), index)


def test_a_row_marks_right_and_wrong(tmp_path):
    features = make_features(tmp_path, [4, 4, 5, -1, 0], [0, 0, 0, 0, 0])
    row = ranking_row(features, 0, features, np.array([3, 1, 2]), SIZE)
    assert row.correct == [None, True, False]
    assert row.query_title == "ID 4 · cam 0"
    assert row.titles == ["person_3", "ID 4 · cam 1", "ID 5 · cam 2"]
    assert row.query.shape == (32, 32, 3)
    assert [int(image[0, 0, 0]) for image in (row.query, *row.gallery)] == [0, 30, 10, 20]
    # Identity 0 is a person like any other; an unknown query has nothing right or wrong.
    assert ranking_row(features, 4, features, np.array([4, 0]), SIZE).correct == [True, False]
    unknown = ranking_row(features, 3, features, np.array([3, 0]), SIZE)
    assert unknown.correct == [None, None]
    assert unknown.query_title == "person_3"


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("person07_c2.png", "person07_c2"),
        ("monday/0205/c3_0001.png", "0205\nc3_0001"),
        ("people/person07_cam2_003.png", "people\nperson07_cam2_\n003"),
        (
            "0205_of_the_northern_entrance/by_night_camera_3_frame_00017.png",
            "0205_of_the_n\u2026\nthern_entrance\nby_night_came\u2026\n_3_frame_00017",
        ),
    ],
)
def test_a_name_keeps_both_of_its_ends_and_its_directory(tmp_path, path, title):
    features = make_features(tmp_path, [-1], [0])
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "person_0.png").rename(tmp_path / path)
    index = dataclasses.replace(features.index, paths=np.array([path]))
    features = dataclasses.replace(features, index=index)
    row = ranking_row(features, 0, features, np.array([0]), SIZE)
    assert (row.query_title, row.titles) == (title, [title])


def test_rows_of_a_trial_go_through_its_own_numbers(tmp_path):
    # Queries at 0, 90, 180 degrees (rows 1, 3, 5), the gallery a little off (rows 0, 2, 4).
    features = make_features(tmp_path, [7, 8, 8, 9, 9, 7], [170, 1, 5, 90, 80, 180])
    (trial,) = all_images(features.index, DIRECTIONS[:1])[0].trials
    rows = ranking_rows(features, trial, SIZE, queries=2, top=2)
    assert [row.query_title for row in rows] == ["ID 8 · cam 1", "ID 7 · cam 2"]
    assert [row.titles for row in rows] == [
        ["ID 8 · cam 2", "ID 9 · cam 1"],
        ["ID 7 · cam 0", "ID 9 · cam 1"],
    ]
    assert [row.correct for row in rows] == [[True, False], [True, False]]
    assert len(ranking_rows(features, trial, SIZE)) == 3


def test_a_missing_gallery_image_is_named(tmp_path):
    features = make_features(tmp_path, [1, 1], [0, 0])
    (tmp_path / "person_1.png").unlink()
    with pytest.raises(InputError, match=r"person_1\.png: no such file"):
        ranking_row(features, 0, features, np.array([1]), SIZE)


def test_a_query_is_not_shown_beside_itself(tmp_path):
    features = make_features(tmp_path, [7, 0, 7, 0, 8, 0], [0, 50, 10, 50, 5, 50])
    (task,) = all_images(features.index, [("visible", "visible")])
    rows = ranking_rows(features, task.trials[0], SIZE, queries=1, top=5)
    assert rows[0].query_title == "ID 7 · cam 0"
    assert rows[0].titles == ["ID 8 · cam 1", "ID 7 · cam 2"]
