import sys

import numpy as np
import pytest

from lupi_jax import InputError
from lupi_jax.evaluation.approximate import build_index, require_faiss, stored_index
from lupi_jax.evaluation.ranking import nearest


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


def test_an_index_is_kept_until_the_gallery_changes(people, tmp_path, monkeypatch):
    query, gallery = people
    file, rows = tmp_path / "visible.faiss", np.arange(500)
    first = stored_index(file, gallery, rows)(query, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["visible.faiss"]
    with monkeypatch.context() as patch:
        patch.setattr("lupi_jax.evaluation.approximate.build_index", None)
        np.testing.assert_array_equal(stored_index(file, gallery, rows)(query, 7), first)
    assert stored_index(file, gallery, np.arange(600)).index.ntotal == 600
    file.write_bytes(b"no index")
    with pytest.raises(InputError, match=r"visible\.faiss: no index .* remove it"):
        stored_index(file, gallery, rows)
