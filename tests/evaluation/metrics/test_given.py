"""Arrays of every kind that figures may not be worked out from."""

import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax import maximum_mean_discrepancy, retrieval_metrics
from lupi_jax.evaluation.metrics import (
    compare,
    domain_shift_test,
    feature_metrics,
    k_reciprocal_distances,
    pairwise_distances,
)
from lupi_jax.evaluation.ranking import nearest

pytestmark = pytest.mark.filterwarnings("ignore:cmc was left out:FutureWarning")

UNIT = np.eye(4, 6, dtype=np.float32)
DISTANCES = np.arange(16.0).reshape(4, 4)
IDS = np.array([1, 2, 3, 4])

NO_REAL_NUMBERS = {
    "complex": UNIT + 1j,
    "truth values": UNIT > 0,
    "text": UNIT.astype(str),
    "objects": UNIT.astype(object),
    "masked": np.ma.masked_greater(UNIT, 0.5),
    "huge": UNIT.astype(int) * 2**60,
}
NO_IDENTITIES = {
    "NaN": np.array([1, 2, 3, np.nan]),
    "infinite": np.array([1, 2, 3, np.inf]),
    "fractions": np.array([1, 2, 3, 3.5]),
    "floats that float64 does not tell apart": np.array([1, 2, 3, 2.0**60]),
    "beyond int64": np.array([1, 2, 3, 2**64 - 1], np.uint64),
    "complex": np.array([1, 2, 3, 4j]),
    "truth values": np.array([True, True, False, True]),
    "objects": np.array([1, 2, 3, None]),
    "masked": np.ma.masked_equal(IDS, 2),
    "dates": IDS.astype("M8[s]"),
}
MEASURES = {
    "retrieval_metrics": lambda x: retrieval_metrics(x, IDS[:4], np.arange(x.shape[1])),
    "pairwise_distances": lambda x: pairwise_distances(x, UNIT),
    "the gallery's": lambda x: pairwise_distances(UNIT, x),
    "feature_metrics": lambda x: feature_metrics(x, UNIT, IDS, IDS),
    "its gallery": lambda x: feature_metrics(UNIT, x, IDS, IDS),
    "k_reciprocal_distances": lambda x: k_reciprocal_distances(x, UNIT),
    "maximum_mean_discrepancy": lambda x: maximum_mean_discrepancy(x, UNIT),
    "domain_shift_test": lambda x: domain_shift_test(UNIT, x),
    "compare": lambda x: compare(x, UNIT, np.arange(6)),
    "nearest": lambda x: nearest(UNIT, x, 2),
}
JUDGES = {
    "retrieval_metrics, queries": lambda ids: retrieval_metrics(DISTANCES, ids, IDS),
    "retrieval_metrics, gallery": lambda ids: retrieval_metrics(DISTANCES, IDS, ids),
    "feature_metrics": lambda ids: feature_metrics(UNIT, UNIT, ids, IDS),
    "its groups": lambda ids: feature_metrics(UNIT, UNIT, IDS, IDS, IDS, ids),
    "domain_shift_test": lambda ids: domain_shift_test(UNIT, UNIT[::-1], IDS, ids),
    "compare": lambda ids: compare(DISTANCES, DISTANCES.T, ids),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("values", NO_REAL_NUMBERS.values(), ids=NO_REAL_NUMBERS)
def test_what_are_no_real_numbers_is_refused(measure, values):
    with pytest.raises(ValueError, match="must"):
        measure(values)


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
@pytest.mark.parametrize("ids", NO_IDENTITIES.values(), ids=NO_IDENTITIES)
def test_what_are_no_identities_is_refused(judge, ids):
    with pytest.raises(ValueError, match="must"):
        judge(ids)


def test_what_a_curve_counts_has_to_be_said():
    """The match is the third image, of the second person."""
    distances, ids = [[1.0, 2.0, 3.0]], ([5], [6, 6, 5])
    for measure in (
        lambda **cmc: retrieval_metrics(distances, *ids, **cmc),
        lambda **cmc: feature_metrics(UNIT[:1], UNIT[:1].repeat(3, 0), *ids, **cmc),
    ):
        assert measure(cmc="identity").cmc[:3].tolist() == [0, 1, 1]
        assert measure(cmc="image").cmc[:3].tolist() == [0, 0, 1]
        with pytest.warns(FutureWarning, match='give cmc="image" to count images, as') as told:
            assert measure().cmc[:3].tolist() == [0, 1, 1]  # as before
        assert told[0].filename == __file__


def test_numbers_and_names_are_not_compared():
    with pytest.raises(ValueError, match="identities of queries and gallery must be the same kind"):
        retrieval_metrics(DISTANCES, IDS, IDS.astype(str))
    with pytest.raises(ValueError, match="must both be numbers, or both be names"):
        domain_shift_test(UNIT, UNIT[::-1], IDS, IDS.astype(str))


def test_identities_are_told_apart_whatever_their_types():
    """As float64, where NumPy compares int64 with uint64, these are one."""
    big = 2**53
    ids = np.array([big, 7]), np.array([big + 1, big], np.uint64)
    found = retrieval_metrics([[1.0, 2.0], [1.0, 2.0]], *ids)
    assert found.average_precision[0] == 0.5
    assert np.isnan(found.average_precision[1])
    assert retrieval_metrics([[1.0, 2.0]], [1.0], [2, 1]).mean_ap == 0.5
    assert retrieval_metrics([[1.0, 2.0]], ["b"], ["a", "b"]).mean_ap == 0.5


def test_halves_of_jax_are_real_numbers():
    halves = jnp.asarray(UNIT, jnp.bfloat16)
    np.testing.assert_array_equal(pairwise_distances(halves, UNIT), pairwise_distances(UNIT, UNIT))
    assert retrieval_metrics(jnp.asarray(DISTANCES, jnp.bfloat16), IDS, IDS).valid_queries == 4


@pytest.mark.parametrize("count", [2.5, "3", np.float64(2), None])
def test_counts_are_whole_numbers(count):
    with pytest.raises(ValueError, match="ranks must be a whole number"):
        retrieval_metrics(DISTANCES, IDS, IDS, ranks=count)
    with pytest.raises(ValueError, match="whole numbers of at least 1"):
        k_reciprocal_distances(UNIT, UNIT, k1=count)
    with pytest.raises(ValueError, match="permutations must be a whole number"):
        domain_shift_test(UNIT, UNIT, permutations=count)
    with pytest.raises(ValueError, match="top must be a whole number"):
        nearest(UNIT, UNIT, count)


def test_searches_check_what_is_excluded():
    for excluded in (np.zeros((4, 3), bool), np.zeros((4, 4)), np.zeros(4, bool)):
        with pytest.raises(ValueError, match=r"excluded must be bool of shape \(4, 4\)"):
            nearest(UNIT, UNIT, 2, excluded)


@pytest.mark.parametrize("confidence", [0, 1, 95, np.nan])
def test_a_confidence_is_a_fraction(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        compare(DISTANCES, DISTANCES.T, IDS, confidence=confidence)


def test_infinite_figures_are_not_compared():
    figures = DISTANCES.copy()
    figures[1, 2] = np.inf
    with pytest.raises(ValueError, match="figures must be finite"):
        compare(figures, DISTANCES, IDS)
