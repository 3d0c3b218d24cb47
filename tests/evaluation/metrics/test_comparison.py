import numpy as np
import pytest

from lupi_jax.evaluation.metrics.comparison import compare


def test_means_by_hand():
    first = [[0.5, 0.7, np.nan, 0.9], [0.6, 0.6, np.nan, 0.6]]
    second = [[0.4, 0.4, np.nan, 0.7], [0.6, 0.3, np.nan, 0.6]]
    found = compare(first, second, [1, 1, 2, 3])
    # Differences 0.1, 0.3, 0.2 and 0, 0.3, 0: their means are 0.2 and 0.1.
    assert found.by_seed == pytest.approx([0.2, 0.1])
    assert found.difference == pytest.approx(0.15)
    assert found.spread == pytest.approx(0.1 / np.sqrt(2))
    assert (found.queries, found.identities) == (3, 2)


def test_one_identity_more_or_less_is_all_there_is_to_its_interval():
    # Identity 1 has three queries with difference 1, identity 2 one with 0. A resample holds
    # identity 1 twice, once or not at all (1/4, 1/2, 1/4): 1, 3/4 or 0 of the queries.
    found = compare([1.0, 1.0, 1.0, 0.0], [0.0] * 4, [1, 1, 1, 2], confidence=0.6)
    assert found.over_identities == (0.0, 1.0)
    found = compare([1.0, 1.0, 1.0, 0.0], [0.0] * 4, [1, 1, 1, 2], confidence=0.4)
    assert found.over_identities == (0.75, 0.75)


def test_the_interval_over_people_and_seeds_by_hand():
    # Means of seeds 2 and 4, of people 2 and 4: each with a variance of 2 / 2 and one degree of
    # freedom. Together 2 with 2^2 / (1 + 1) = 2, where Student's 97.5 % quantile is 4.302653.
    found = compare([[1.0, 3.0], [3.0, 5.0]], np.zeros((2, 2)), [1, 2])
    assert found.over_both == pytest.approx((3 - 6.084870, 3 + 6.084870), abs=1e-5)
    # Seeds that agree leave one degree of freedom, of two people: a quantile of 12.7062. Person 1
    # counts three times: (3 - 3 * 3/4) / 2 and (0 - 3/4) / 2 have a variance of 9/32, halved.
    found = compare([[1.0, 1.0, 1.0, 0.0]] * 2, np.zeros((2, 4)), [1, 1, 1, 2])
    half = 12.706205 * (9 / 64) ** 0.5
    assert found.over_both == pytest.approx((0.75 - half, 0.75 + half), abs=1e-5)


def test_one_seed_says_nothing_of_others():
    found = compare([0.1, 0.4], [0.0, 0.0], [1, 2])
    assert np.isnan(found.over_both).all()
    assert np.isfinite(found.over_identities).all()


@pytest.mark.parametrize(("by_seed", "by_person"), [(1.0, 0.0), (0.5, 2.0)])
def test_the_interval_over_people_and_seeds_holds_the_truth_as_often_as_it_says(by_seed, by_person):
    rng = np.random.default_rng(3)
    held, people, times = 0, 20, 200
    for _ in range(times):
        noise = rng.normal(0, 0.1, (3, people))
        values = by_seed * rng.normal(size=(3, 1)) + by_person * rng.normal(size=people) + noise
        low, high = compare(values, np.zeros_like(values), np.arange(people), resamples=2).over_both
        held += low < 0 < high
    assert 0.92 < held / times < 0.99  # 0.95, give or take 2 standard deviations, or rather wide


def test_the_interval_over_queries_is_that_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 0.3, 900)
    found = compare(values, np.zeros(900), np.arange(900), resamples=20_000)
    half = 1.96 * values.std() / 30
    assert found.over_queries == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=1e-3
    )
    assert found.over_identities == pytest.approx(found.over_queries, abs=1e-3)


def test_queries_of_an_identity_that_agree_widen_its_interval_by_their_number():
    rng = np.random.default_rng(1)
    values, ids = np.repeat(rng.normal(0, 1, 200), 9), np.repeat(np.arange(200), 9)
    found = compare(values, np.zeros(1800), ids)
    width = np.diff(found.over_identities) / np.diff(found.over_queries)
    assert width == pytest.approx(3.0, rel=0.1)  # 9 copies say no more than one


def test_pairing_leaves_out_what_both_find_hard():
    rng = np.random.default_rng(2)
    hard = rng.uniform(0, 1, 400)
    found = compare(hard + 0.01, hard, np.arange(400))
    assert found.over_queries == pytest.approx((0.01, 0.01))


@pytest.mark.parametrize(
    ("first", "second", "ids", "message"),
    [
        ([[0.1, 0.2]], [[0.1]], [1, 2], "figures must be"),
        ([0.1, 0.2], [0.1, 0.2], [1], "figures must be"),
        ([np.nan, 0.2], [0.1, 0.2], [1, 2], "in all networks, or NaN in all networks"),
        ([[np.nan, 0.2], [0.1, 0.2]], [[np.nan, 0.2], [0.1, 0.2]], [1, 2], "in all networks"),
        ([0.1, 0.2], [0.1, 0.2], [1, 1], "1 identity with"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, ids, message):
    with pytest.raises(ValueError, match=message):
        compare(first, second, ids)
