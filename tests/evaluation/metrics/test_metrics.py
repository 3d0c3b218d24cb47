"""Retrieval metrics against hand counts and a direct loop."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lupi_jax.evaluation.metrics import match_counts
from lupi_jax.evaluation.metrics import retrieval as metrics_module
from lupi_jax.evaluation.metrics.retrieval import (
    feature_metrics,
    pairwise_distances,
    retrieval_metrics,
)

pytestmark = pytest.mark.filterwarnings("ignore:cmc was left out:FutureWarning")


def by_loop(distances, query_ids, gallery_ids, excluded, cmc, ranks):
    """The definitions, one query and one gallery image at a time."""
    curves, precisions, penalties, first_ranks = [], [], [], []
    for q, query_id in enumerate(query_ids):
        images = [g for g in range(len(gallery_ids)) if not excluded[q][g]]
        # Equal distances: the smaller gallery position first.
        ranked = [gallery_ids[g] for g in sorted(images, key=lambda g: (distances[q][g], g))]
        if query_id not in ranked:
            continue
        hits, precision, last = 0, [], 0
        for rank, identity in enumerate(ranked, start=1):
            if identity == query_id:
                hits += 1
                precision.append(hits / rank)
                last = rank
        # One after the other: newer Pythons' `sum` rounds only once.
        precisions.append(np.cumsum(precision)[-1] / hits)
        penalties.append(hits / last)
        entries = list(dict.fromkeys(ranked)) if cmc == "identity" else ranked
        first = entries.index(query_id) + 1
        first_ranks.append(first)
        curves.append([float(first <= k) for k in range(1, ranks + 1)])
    return curves, precisions, penalties, first_ranks


@st.composite
def retrievals(draw):
    q, g = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    n_ids = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 3, 1000]))  # few levels: many ties
    distances = rng.integers(0, levels, (q, g)) / levels
    query_ids = rng.integers(0, n_ids + 1, q)  # n_ids itself is in no gallery
    excluded = rng.random((q, g)) < draw(st.sampled_from([0.0, 0.3, 0.8]))
    if levels == 3 and draw(st.booleans()):
        distances[distances > 0.5] = np.inf
    kind = draw(st.sampled_from([np.float64, np.float32, np.int64]))
    if kind is np.int64:
        distances = np.where(np.isinf(distances), 9, distances * levels)
    return distances.astype(kind), query_ids, rng.integers(0, n_ids, g), excluded


@settings(max_examples=400, deadline=None)
@given(retrievals(), st.sampled_from(["identity", "image"]), st.sampled_from([1, 4, 20]))
def test_equals_the_direct_loop(case, cmc, ranks):
    curves, precisions, penalties, first_ranks = by_loop(*case, cmc=cmc, ranks=ranks)
    if not curves:
        with pytest.raises(ValueError, match="true match"):
            retrieval_metrics(*case, cmc=cmc, ranks=ranks)
        return
    got = retrieval_metrics(*case, cmc=cmc, ranks=ranks)
    valid = np.isfinite(got.average_precision)
    assert got.valid_queries == valid.sum() == len(curves)
    np.testing.assert_allclose(got.cmc, np.mean(curves, axis=0), atol=1e-15, strict=True)
    np.testing.assert_array_equal(got.average_precision[valid], precisions)
    np.testing.assert_array_equal(got.inverse_negative_penalty[valid], penalties)
    np.testing.assert_array_equal(got.first_match_rank[valid], first_ranks)
    assert np.isnan(got.first_match_rank[~valid]).all()
    assert np.isnan(got.inverse_negative_penalty[~valid]).all()
    assert got.mean_ap == pytest.approx(np.mean(precisions), abs=1e-14)
    assert got.mean_inp == pytest.approx(np.mean(penalties), abs=1e-14)


# Ranked by distance, the identities of the gallery are 7 7 5 9 5 8.
RANKED = np.array([7, 7, 5, 9, 5, 8])
SHUFFLE = np.array([3, 0, 5, 1, 4, 2])


def hand_case(query_id, **options):
    distances = np.arange(6.0)[SHUFFLE][None]
    return retrieval_metrics(distances, [query_id], RANKED[SHUFFLE], **options)


def test_by_hand():
    # Query 5 is at image ranks 3 and 5: AP = (1/3 + 2/5) / 2 = 11/30, INP = 2/5.
    got = hand_case(5, ranks=4)
    assert got.mean_ap == pytest.approx(11 / 30, abs=1e-15)
    assert got.mean_inp == pytest.approx(2 / 5, abs=1e-15)
    # Identities appear in the order 7, 5, 9, 8: 5 is second. Images: third.
    assert got.cmc.tolist() == [0, 1, 1, 1]
    assert hand_case(5, cmc="image", ranks=4).cmc.tolist() == [0, 0, 1, 1]


def test_a_printed_result_has_no_figures_of_single_queries():
    text = repr(retrieval_metrics([[0.0, 1.0]], [1], [2, 1], ranks=2))
    assert text == (
        "RetrievalMetrics(cmc=array([0., 1.]), mean_ap=0.5, mean_inp=0.5, valid_queries=1)"
    )


def test_an_excluded_image_does_not_exist():
    # Without the two images of 7 and the first of 5 there remain 9 5 8: AP = INP = 1/2, rank 2.
    hidden = np.isin(np.arange(6), [0, 1, 2])[SHUFFLE][None]
    got = hand_case(5, excluded=hidden)
    assert (got.mean_ap, got.mean_inp, got.first_match_rank[0]) == (0.5, 0.5, 2)
    # An identity with one image excluded is still counted by the other: 7 5 9 8.
    one_seven = np.isin(np.arange(6), [0])[SHUFFLE][None]
    assert hand_case(5, excluded=one_seven).first_match_rank[0] == 2
    assert hand_case(5, excluded=one_seven, cmc="image").first_match_rank[0] == 2


def test_means_run_over_queries_with_a_match():
    # Query 1: ranks 1 of 2 -> AP 1, INP 1. Query 4 is absent. Query 2: rank 2 -> AP 1/2, INP 1/2.
    # Query 2 again, with its image excluded: no match left.
    distances = [[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]]
    excluded = np.zeros((4, 2), bool)
    excluded[3, 1] = True
    got = retrieval_metrics(distances, [1, 4, 2, 2], [1, 2], excluded, ranks=3)
    assert got.valid_queries == 2
    assert (got.mean_ap, got.mean_inp) == (0.75, 0.75)
    assert got.cmc.tolist() == [0.5, 1, 1]  # constant beyond the gallery's length
    np.testing.assert_array_equal(got.average_precision, [1, np.nan, 0.5, np.nan])


def test_ties_keep_the_order_of_the_gallery():
    assert retrieval_metrics([[1.0, 1.0]], [0], [0, 1]).mean_ap == 1
    assert retrieval_metrics([[1.0, 1.0]], [0], [1, 0]).mean_ap == 0.5
    # Long enough that an unstable sort would reorder: the match is last of 500 equals.
    ids = np.arange(500)[::-1]
    assert retrieval_metrics(np.zeros((1, 500)), [0], ids).mean_inp == 1 / 500


def test_an_infinite_distance_ranks_last_but_exists():
    got = retrieval_metrics([[np.inf, 0.0, 1.0]], [3], [3, 1, 2], [[False, True, False]])
    assert got.mean_ap == 0.5


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    case = rng.random((23, 11)), rng.integers(0, 4, 23), rng.integers(0, 4, 11)
    excluded = rng.random((23, 11)) < 0.2
    whole = retrieval_metrics(*case, excluded)
    monkeypatch.setattr(match_counts, "_CHUNK_ELEMENTS", 44)  # four queries a chunk
    split = retrieval_metrics(*case, excluded)
    np.testing.assert_array_equal(whole.average_precision, split.average_precision)
    np.testing.assert_array_equal(whole.first_match_rank, split.first_match_rank)


# Inner products of these are multiples of 1/4: exact in any order, with many ties.
EXACT = np.array([*np.eye(4), *(np.array(list(np.ndindex(2, 2, 2, 2))) - 0.5)], np.float32)


@st.composite
def searches(draw):
    """Features, identities and cameras of queries and gallery."""
    q, g = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    n_ids, rng = draw(st.integers(1, 6)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distinct = rng.permutation(EXACT)[: draw(st.sampled_from([1, 4, 20]))]
    features = (rng.choice(distinct, n) for n in (q, g))
    ids = rng.integers(0, n_ids + 1, q), rng.integers(0, n_ids, g)
    cameras = (rng.integers(0, 3, n) for n in (q, g))
    return *features, *ids, *cameras


@settings(max_examples=200, deadline=None)
@given(searches(), st.sampled_from(["identity", "image"]), st.booleans(), st.data())
def test_figures_of_features_equal_those_of_their_distances(case, cmc, by_camera, data):
    query, gallery, query_ids, gallery_ids, *cameras = case
    excluded = cameras[0][:, None] == cameras[1] if by_camera else None
    arguments = pairwise_distances(query, gallery), query_ids, gallery_ids, excluded, cmc
    groups = cameras if by_camera else (None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics_module, "BLOCK_ELEMENTS", data.draw(st.sampled_from([4, 40, 999])))
        try:
            expected = retrieval_metrics(*arguments)
        except ValueError:
            with pytest.raises(ValueError, match="true match"):
                feature_metrics(*case[:4], *groups, cmc)
            return
        got = feature_metrics(*case[:4], *groups, cmc)
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(got, name), value, strict=True)


def test_a_large_gallery_is_never_held_as_a_whole(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    ids = np.arange(9), rng.integers(0, 300, 3000)
    values = [rng.standard_normal((len(i), 16), np.float32) for i in ids]
    query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in values)
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = retrieval_metrics(pairwise_distances(query, gallery), *ids)
    sizes = []

    def measured(query, gallery):
        assert type(gallery) is not np.memmap or gallery.base is None
        sizes.append((query.size, gallery.size, len(query) * len(gallery)))
        return pairwise_distances(query, gallery)

    monkeypatch.setattr(metrics_module, "BLOCK_ELEMENTS", 2000)
    monkeypatch.setattr(metrics_module, "pairwise_distances", measured)
    got = feature_metrics(query, mapped, *ids)
    assert sum(size[2] for size in sizes) == 9 * 3000  # every distance once
    assert np.max(sizes) <= 2000
    np.testing.assert_array_equal(got.first_match_rank, expected.first_match_rank)
    np.testing.assert_array_equal(got.average_precision, expected.average_precision)


@pytest.mark.parametrize("cmc", ["identity", "image"])
@pytest.mark.parametrize("bound", [1, 500, 3000, 100_000])
def test_query_blocks_are_a_partition_within_the_bound(monkeypatch, bound, cmc):
    rng = np.random.default_rng(bound)
    query_ids, gallery_ids = rng.integers(0, 20, 100), rng.integers(3, 30, 150)
    monkeypatch.setattr(metrics_module, "BLOCK_ELEMENTS", bound)

    def size(rows: np.ndarray) -> float:
        """The most of what has to stay within the bound."""
        own = max((gallery_ids == i).sum() for i in query_ids[rows])
        held = np.isin(gallery_ids, query_ids[rows]).sum() + 14 * own
        seen = 27 / 4 if cmc == "identity" else 0
        return len(rows) * max(len(rows), held, seen)

    blocks = list(metrics_module.query_blocks(query_ids, gallery_ids, cmc))
    assert sorted(np.concatenate(blocks).tolist()) == list(range(100))
    assert all(len(rows) == 1 or size(rows) <= bound for rows in blocks)
    # Not smaller than they have to be: two neighbours would not fit together.
    for one, other in itertools.pairwise(blocks):
        assert size(np.append(one, other[:1])) > bound


def test_many_identities_concern_a_cmc_over_identities_only():
    ids = np.arange(1_000_000)
    blocks = {
        cmc: list(metrics_module.query_blocks(ids[:600], ids, cmc)) for cmc in ("identity", "image")
    }
    assert [len(rows) for rows in blocks["identity"]] == [268, 268, 64]
    assert [len(rows) for rows in blocks["image"]] == [600]


@pytest.mark.parametrize("cmc", ["identity", "image"])
def test_queries_of_one_identity_with_all_the_gallery_are_held_within_the_bound(monkeypatch, cmc):
    """The peak of what NumPy allocates; the gallery's own few numbers are small beside it."""
    rng = np.random.default_rng(0)
    query, gallery = (rng.standard_normal((n, 4), np.float32) for n in (500, 800))
    query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery))
    bound = 400_000
    monkeypatch.setattr(metrics_module, "BLOCK_ELEMENTS", bound)
    monkeypatch.setattr(match_counts, "_CHUNK_ELEMENTS", 2000)
    tracemalloc.start()
    feature_metrics(query, gallery, np.zeros(500), np.zeros(800), cmc=cmc)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 4 * bound


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_features": np.ones((2, 3))}, "features must be"),
        ({"gallery_features": np.ones((0, 1)), "gallery_ids": []}, "features must be"),
        ({"gallery_features": [[1], [1], [1.1]]}, "gallery features must be L2-normalised"),
        ({"gallery_features": [[1], [1], [np.nan]]}, "gallery features must be L2-normalised"),
        ({"query_ids": [1, 2, 3]}, "one identity each"),
        ({"gallery_ids": [1, 2]}, "one identity each"),
        ({"gallery_rows": [0, 1, 3]}, "gallery_rows must be whole numbers from 0 to 2"),
        ({"gallery_rows": [0, 1, -1]}, "gallery_rows must be"),
        ({"gallery_rows": [0.0, 1.0, 2.0]}, "gallery_rows must be"),
        ({"gallery_rows": [True, False, True]}, "gallery_rows must be"),
        ({"gallery_rows": [[0, 1, 2]]}, "gallery_rows must be"),
        ({"query_groups": [1, 2]}, "groups: give them for queries and gallery"),
        ({"query_groups": [1, 2], "gallery_groups": [1]}, "one group each"),
        ({"query_groups": [0, 0], "gallery_groups": [0, 0, 0]}, "no query has a true match"),
        ({"cmc": "camera"}, "cmc must be"),
        ({"ranks": 0}, "ranks must be"),
    ],
)
def test_unusable_input_of_features_is_refused(change, message):
    good = {
        "query_features": [[1.0], [-1.0]],
        "gallery_features": [[1.0], [1.0], [-1.0]],
        "query_ids": [1, 2],
        "gallery_ids": [1, 2, 3],
    }
    feature_metrics(**good)
    feature_metrics(**good, gallery_rows=[2, 1, 0])
    with pytest.raises(ValueError, match=message):
        feature_metrics(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": np.zeros(3)}, "distances must be"),
        ({"distances": np.zeros((2, 0)), "gallery_ids": []}, "distances must be"),
        ({"distances": [[0, 1, np.nan], [0, 1, 2]]}, "NaN"),
        ({"query_ids": [1, 2, 3]}, "one identity per query"),
        ({"gallery_ids": [1, 2]}, "one identity per query"),
        ({"query_ids": [[1], [2]]}, "one identity per query"),
        ({"excluded": np.zeros(3, bool)}, "excluded must be"),
        ({"excluded": np.zeros((2, 3))}, "excluded must be"),
        ({"excluded": np.ones((2, 3), bool)}, "no query has a true match"),
        ({"query_ids": [8, 9]}, "no query has a true match"),
        ({"cmc": "camera"}, "cmc must be"),
        ({"ranks": 0}, "ranks must be"),
    ],
)
def test_unusable_input_is_refused(change, message):
    good = {"distances": np.zeros((2, 3)), "query_ids": [1, 2], "gallery_ids": [1, 2, 3]}
    retrieval_metrics(**good)
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**(good | change))


def test_pairwise_distances_are_half_the_squared_euclidean_ones():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    squared = ((query[:, None] - gallery) ** 2).sum(axis=-1)
    np.testing.assert_allclose(pairwise_distances(query, gallery), squared / 2, atol=1e-15)
    single = pairwise_distances(query.astype(np.float32), gallery.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, squared / 2, atol=1e-6)
    # 0 degrees, 90 degrees, 180 degrees.
    assert pairwise_distances([[1, 0]], [[1, 0], [0, 1], [-1, 0]]).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (np.ones((2, 1)), np.ones((2, 2)), "features must be"),
        (np.ones(2), np.ones((2, 2)), "features must be"),
        (np.ones((2, 1)), np.full((2, 1), 1.1), "gallery features must be L2-normalised"),
        (np.full((2, 1), np.nan), np.ones((2, 1)), "query features must be L2-normalised"),
    ],
)
def test_unusable_features_are_refused(query, gallery, message):
    with pytest.raises(ValueError, match=message):
        pairwise_distances(query, gallery)
