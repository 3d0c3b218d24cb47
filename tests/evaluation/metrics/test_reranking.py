"""Re-ranking against the paper's definitions written with sets, closed forms and hand counts."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lupi_jax.evaluation.metrics import reranking as reranking_module
from lupi_jax.evaluation.metrics.reranking import k_reciprocal_distances
from lupi_jax.evaluation.metrics.retrieval import pairwise_distances, retrieval_metrics

HALF = {1: 0, 2: 1, 3: 2, 4: 2, 5: 2, 6: 3, 7: 4, 8: 4, 9: 4, 20: 10}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def squared_euclidean(query, gallery):
    both = np.concatenate([query, gallery])
    return ((both[:, None] - both) ** 2).sum(axis=-1)


def by_sets(query, gallery, k1, k2, weight, at_least=False):
    """Zhong et al. 2017, Eq. 1 to 12, one pair of images at a time.

    at_least: read Eq. 4 to the letter, not like the authors' code.
    """
    squared = squared_euclidean(query, gallery).tolist()
    images = range(len(squared))
    d = [[x / max(row) for x in row] for row in squared]
    ranked = [sorted(images, key=lambda j, i=i: (j != i, d[i][j], j)) for i in images]

    def near(i, k):
        return set(ranked[i][: k + 1])

    def reciprocal(i, k):
        return {j for j in near(i, k) if i in near(j, k)}

    encodings = []
    for i in images:
        members = expanded = reciprocal(i, k1)
        for j in members:
            candidates = reciprocal(j, HALF[k1])
            found, needed = len(members & candidates), 2 * len(candidates) / 3
            if found > needed or (at_least and found == needed):
                expanded = expanded | candidates
        weights = [math.exp(-d[i][j]) if j in expanded else 0.0 for j in images]
        encodings.append([w / sum(weights) for w in weights])
    chosen = [ranked[i][:k2] for i in images]
    v = [[sum(encodings[j][m] for j in c) / len(c) for m in images] for c in chosen]

    def jaccard(i, j):
        pairs = list(zip(v[i], v[j], strict=True))
        return 1 - sum(map(min, pairs)) / sum(map(max, pairs))

    q = len(query)
    return np.array(
        [[(1 - weight) * jaccard(i, j) + weight * d[i][j] for j in images[q:]] for i in images[:q]]
    )


@st.composite
def features(draw):
    """Query and gallery features around few centres, any two distances from an image distinct."""
    q, g, people = draw(st.integers(1, 7)), draw(st.integers(1, 12)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.3, 1.0]))
    centres = rng.normal(size=(people, 4))
    both = unit(centres[rng.integers(0, people, q + g)] + spread * rng.normal(size=(q + g, 4)))
    # Closer ones single precision might swap; if all are close, it has few digits of them.
    ranked = np.sort(squared_euclidean(both[:q], both[q:]), axis=1)
    assume(np.diff(ranked, axis=1).min() > 1e-5 and ranked[:, -1].min() > 0.3)
    return both[:q], both[q:]


K1 = st.sampled_from(sorted(HALF))
K2 = st.integers(1, 8)
WEIGHT = st.sampled_from([0.0, 0.3, 1.0])


@settings(max_examples=250, deadline=None)
@given(features(), K1, K2, WEIGHT)
def test_equals_the_definitions(case, k1, k2, weight):
    got = k_reciprocal_distances(*case, k1, k2, weight)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, by_sets(*case, k1, k2, weight), atol=1e-5)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 3), (5, 1)])
def test_equals_the_definitions_on_a_hundred_images(k1, k2):
    # Entries of +-1/4 in 16 dimensions: lengths of 1 and distances that single precision holds.
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.choice([-0.25, 0.25], size=(5, 16)), 20, axis=0)
    images = np.where(rng.random((100, 16)) < 0.2, -centres, centres)
    case = images[::5], images[np.arange(100) % 5 > 0]
    got = k_reciprocal_distances(*case, k1, k2)
    np.testing.assert_allclose(got, by_sets(*case, k1, k2, 0.3), atol=3e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=14), st.integers(1, 2), K1, K2)
def test_ties_keep_the_order_of_the_images_queries_first(axes, q, k1, k2):
    # Unit vectors along the axes and against them: squared distances 0, 2 and 4, all exact.
    assume(len(set(axes)) > 1)
    both = np.concatenate([np.eye(3), -np.eye(3)])[axes]
    got = k_reciprocal_distances(both[:q], both[q:], k1, k2)
    np.testing.assert_allclose(got, by_sets(both[:q], both[q:], k1, k2, 0.3), atol=1e-6)


def test_by_hand():
    # Query 0 at 0 degrees, gallery 1 at 60 and 2 at 180: cosine distances 1/2 (01), 2 (02) and
    # 3/2 (12), so d = 1/4, 1 from 0; 1/3, 1 from 1. With k1 = 1, 0 and 1 are each other's nearest;
    # 2's nearest is 1, which does not return it. R(., 1/2) is the image itself: no expansion.
    query, gallery = [[1.0, 0.0]], [[0.5, math.sqrt(0.75)], [-1.0, 0.0]]
    # V(0) = (1, e^-1/4) / (1 + e^-1/4), V(1) = (e^-1/3, 1) / (1 + e^-1/3), V(2) is 2 alone.
    minima = 1 / (1 + math.exp(1 / 4)) + 1 / (1 + math.exp(1 / 3))
    near = 0.7 * (1 - minima / (2 - minima)) + 0.3 / 4
    got = k_reciprocal_distances(query, gallery, k1=1, k2=1)
    np.testing.assert_allclose(got, [[near, 1]], atol=1e-6)
    # k2 = 2 averages 0 and 1 with each other, 2 with 1. V(0) = V(1), so d_J = 0. Half of V(1) is
    # in both V(0) and V(2), and nothing else: the minima's sum is 1/2, d_J = 1 - (1/2) / (3/2).
    got = k_reciprocal_distances(query, gallery, k1=1, k2=2)
    np.testing.assert_allclose(got, [[0.3 / 4, 0.7 * 2 / 3 + 0.3]], atol=1e-6)


def test_two_thirds_do_not_expand():
    # By the code, not by the letter of Eq. 4; the two differ for this case.
    rng = np.random.default_rng(0)
    case = unit(rng.normal(size=(4, 3))), unit(rng.normal(size=(12, 3)))
    code, letter = (by_sets(*case, 5, 2, 0.3, at_least) for at_least in (False, True))
    assert np.abs(code - letter).max() > 0.01
    np.testing.assert_allclose(k_reciprocal_distances(*case, 5, 2), code, atol=3e-6)


@pytest.mark.parametrize("k1", [14, 15, 1000])
@pytest.mark.parametrize("length", [1, 0.995, 1.005])
def test_k1_beyond_the_images_means_all(k1, length):
    # Every image is everyone's neighbour: V(i) is the softmax of -d(i) over all images.
    rng = np.random.default_rng(1)
    images = unit(rng.normal(size=(15, 5)))
    images[9] = images[2]
    images *= length
    query, gallery = images[:6], images[6:]
    # A length a little off 1 makes no distance negative, and none of an image to itself.
    d = np.maximum(1 - images @ images.T, 0) * (1 - np.eye(15))
    d /= d.max(axis=1, keepdims=True)
    v = np.exp(-d) / np.exp(-d).sum(axis=1, keepdims=True)
    pairs = v[:6, None], v[None, 6:]
    jaccard = 1 - np.minimum(*pairs).sum(axis=-1) / np.maximum(*pairs).sum(axis=-1)
    got = k_reciprocal_distances(query, gallery, k1, 1, 0.0)
    np.testing.assert_allclose(got, jaccard, atol=1e-6)
    # And k2 beyond them averages all: no encoding differs from another.
    for k2 in (15, 16, 1000):
        np.testing.assert_allclose(
            k_reciprocal_distances(query, gallery, k1, k2, 0.0), 0, atol=1e-6
        )


def test_copies_are_at_distance_0_and_strangers_at_1():
    people = np.eye(4)
    got = k_reciprocal_distances(people, np.repeat(people, 3, axis=0), k1=3, k2=4)
    np.testing.assert_allclose(got, 1 - np.repeat(people, 3, axis=1), atol=1e-6)


def test_images_all_alike_have_distance_0():
    alike = np.tile([1.0, 0.0], (30, 1))
    assert not k_reciprocal_distances(alike[:7], alike[7:], k2=30).any()


@settings(max_examples=50, deadline=None)
@given(features(), K1, K2, st.randoms(use_true_random=False))
def test_goes_with_the_order_of_queries_and_gallery(case, k1, k2, random):
    query, gallery = case
    rows, columns = list(range(len(query))), list(range(len(gallery)))
    random.shuffle(rows)
    random.shuffle(columns)
    got = k_reciprocal_distances(query[rows], gallery[columns], k1, k2)
    expected = k_reciprocal_distances(query, gallery, k1, k2)[np.ix_(rows, columns)]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_weight_goes_from_jaccard_to_the_original_ranking():
    rng = np.random.default_rng(2)
    query, gallery = unit(rng.normal(size=(20, 8))), unit(rng.normal(size=(30, 8)))
    jaccard, mixed, original = (
        k_reciprocal_distances(query, gallery, weight=weight) for weight in (0.0, 0.25, 1.0)
    )
    np.testing.assert_allclose(mixed, 0.75 * jaccard + 0.25 * original, atol=1e-6)
    distances = pairwise_distances(query, gallery)
    np.testing.assert_array_equal(np.argsort(original), np.argsort(distances))
    # Each row is divided by its largest distance, which may be one to another query.
    largest = np.maximum(pairwise_distances(query, query).max(axis=1), distances.max(axis=1))
    np.testing.assert_allclose(original, distances / largest[:, None], atol=1e-6)


def test_a_query_depends_on_the_other_queries():
    rng = np.random.default_rng(3)
    query, gallery = unit(rng.normal(size=(20, 8))), unit(rng.normal(size=(30, 8)))
    alone = k_reciprocal_distances(query[:1], gallery)
    assert np.abs(k_reciprocal_distances(query, gallery)[:1] - alone).max() > 0.1


def test_raises_map_where_each_modality_clusters_by_identity():
    rng = np.random.default_rng(4)
    centres, ids = rng.normal(size=(10, 64)), rng.integers(0, 10, 300)
    images = centres[ids] + 2 * rng.normal(size=(300, 64))
    images[:150] += rng.normal(size=64)  # the queries' modality
    query, gallery = unit(images[:150]), unit(images[150:])
    before, after = (
        retrieval_metrics(distances(query, gallery), ids[:150], ids[150:], cmc="image").mean_ap
        for distances in (pairwise_distances, k_reciprocal_distances)
    )
    assert after > before + 0.2


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(4)
    case = unit(rng.normal(size=(13, 6))), unit(rng.normal(size=(20, 6)))
    whole = k_reciprocal_distances(*case)
    monkeypatch.setattr(reranking_module, "_BLOCK_ELEMENTS", 33 * 4)  # four images a block
    np.testing.assert_array_equal(k_reciprocal_distances(*case), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_are_left_as_they_are(dtype):
    rng = np.random.default_rng(5)
    query, gallery = (unit(rng.normal(size=(n, 6))).astype(dtype) for n in (5, 9))
    kept = query.copy(), gallery.copy()
    k_reciprocal_distances(query, gallery, k1=3)
    np.testing.assert_array_equal(query, kept[0])
    np.testing.assert_array_equal(gallery, kept[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_features": np.eye(3)}, "features must be"),
        ({"gallery_features": np.array([1.0, 0.0])}, "features must be"),
        ({"query_features": 1.1 * np.eye(2)}, "query features must be L2-normalised"),
        ({"gallery_features": np.full((3, 2), np.nan)}, "gallery features must be L2-normalised"),
        ({"query_features": np.empty((0, 2))}, "need at least one image each"),
        ({"gallery_features": np.empty((0, 2))}, "need at least one image each"),
        ({"k1": 0}, "k1 and k2 must be"),
        ({"k2": 0}, "k1 and k2 must be"),
        ({"weight": -0.1}, "weight in"),
        ({"weight": 1.1}, "weight in"),
        ({"weight": math.nan}, "weight in"),
    ],
)
def test_unusable_input_is_refused(change, message):
    good = {"query_features": np.eye(2), "gallery_features": np.eye(2)}
    assert k_reciprocal_distances(**good).shape == (2, 2)
    with pytest.raises(ValueError, match=message):
        k_reciprocal_distances(**(good | change))
