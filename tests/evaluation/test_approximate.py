import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from lupi_jax import InputError
from lupi_jax.evaluation.approximate import (
    build_index,
    index_file,
    require_faiss,
    stored_index,
)
from lupi_jax.evaluation.search import nearest


def test_faiss_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'lupi-jax\[faiss\]'"):
        require_faiss()


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray]:
    """30 queries and 20,000 gallery images of 1000 people in 64 dimensions."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, 64))
    ids = rng.permutation(np.repeat(np.arange(1000), 20))
    query = centres[:30] + 0.8 * rng.standard_normal((30, 64))
    gallery = centres[ids] + 0.8 * rng.standard_normal((len(ids), 64))
    query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery))
    return query.astype(np.float32), gallery.astype(np.float32)


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([np.isin(e, f).mean() for f, e in zip(found, expected, strict=True)]))


def test_nine_tenths_of_the_nearest_are_found(people):
    query, gallery = people
    expected, exact = nearest(query, gallery, 10)
    rows, distances = nearest(
        query, gallery, 10, propose=build_index(gallery, np.arange(len(gallery)))
    )
    assert recall(rows, expected) >= 0.9
    # What is found has its exact distance, in order.
    np.testing.assert_allclose(distances, 1 - (query[:, None] * gallery[rows]).sum(2), atol=1e-6)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert (distances >= exact - 1e-6).all()


def test_only_the_rows_indexed_are_found(people):
    query, gallery = people
    rows = np.arange(1, len(gallery), 2)
    excluded = np.broadcast_to(np.arange(len(gallery)) % 2 == 0, (len(query), len(gallery)))
    found, _ = nearest(query, gallery, 10, propose=build_index(gallery, rows))
    assert (found % 2 == 1).all()
    assert recall(found, nearest(query, gallery, 10, excluded)[0]) >= 0.9


def test_few_images_are_all_compared(people):
    query, gallery = people
    few = gallery[:5]
    rows, distances = nearest(query, few, 9, propose=build_index(few, np.arange(5)))
    expected = nearest(query, few, 9)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(distances, expected[1], atol=1e-6)


def test_an_index_is_kept_until_the_rows_change(people, tmp_path, monkeypatch):
    query, gallery = people
    np.save(tmp_path / "features.npy", gallery)
    rows = np.arange(500)
    file = index_file(tmp_path, "visible", rows)
    first = stored_index(file, gallery, rows)(query, 7)
    assert indexes(tmp_path) == [file.name]
    with monkeypatch.context() as patch:
        patch.setattr("lupi_jax.evaluation.approximate.build_index", None)
        np.testing.assert_array_equal(stored_index(file, gallery, rows)(query, 7), first)
    (tmp_path / "visible-0.faiss.killed.partial").touch()
    more = np.arange(600)
    other = index_file(tmp_path, "visible", more)
    assert stored_index(other, gallery, more).index.ntotal == 600
    assert indexes(tmp_path) == [other.name]


def indexes(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".faiss" in path.name]


def test_features_of_the_same_shape_have_another_index(tmp_path):
    rows = np.arange(5)
    np.save(tmp_path / "features.npy", np.ones((5, 1), np.float32))
    first = index_file(tmp_path, "visible", rows)
    assert first == index_file(tmp_path, "visible", rows)
    assert first != index_file(tmp_path, "visible", rows[::-1])
    written = (tmp_path / "features.npy").stat().st_mtime_ns
    os.utime(tmp_path / "features.npy", ns=(written, written + 1))
    assert first != index_file(tmp_path, "visible", rows)


@pytest.mark.parametrize("kind", ["none", "cut off", "another"])
def test_a_file_that_is_no_such_index_is_replaced(people, tmp_path, kind):
    import faiss

    query, gallery = people
    rows, file = np.arange(500), tmp_path / "visible-0.faiss"
    expected = stored_index(file, gallery, rows)(query, 7)
    whole = file.read_bytes()
    if kind == "another":
        flat = faiss.IndexFlatIP(gallery.shape[1])
        flat.add(gallery[:500])
        faiss.write_index(flat, str(file))
    else:
        file.write_bytes(b"no index" if kind == "none" else whole[:-100])
    np.testing.assert_array_equal(stored_index(file, gallery, rows)(query, 7), expected)
    assert file.read_bytes() == whole


def test_an_index_that_cannot_be_kept_serves_its_search(people, tmp_path):
    query, gallery = people
    rows = np.arange(500)
    expected = build_index(gallery, rows)(query, 7)
    found = stored_index(tmp_path / "gone" / "visible-0.faiss", gallery, rows)(query, 7)
    np.testing.assert_array_equal(found, expected)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        found = stored_index(tmp_path / "visible-0.faiss", gallery, rows)(query, 7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(found, expected)
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_in_building_is_not_the_file_s(people, tmp_path, monkeypatch):
    def fail(gallery: np.ndarray, rows: np.ndarray) -> None:
        raise RuntimeError("in building")

    monkeypatch.setattr("lupi_jax.evaluation.approximate.build_index", fail)
    with pytest.raises(RuntimeError, match="in building"):
        stored_index(tmp_path / "visible-0.faiss", people[1], np.arange(500))


@pytest.mark.parametrize("value", [2, np.nan])
def test_features_that_are_not_of_length_1_are_not_indexed(people, value):
    gallery = people[1][:500].copy()
    gallery[77] *= value
    with pytest.raises(ValueError, match="gallery features must be L2-normalised"):
        build_index(gallery, np.arange(500))
