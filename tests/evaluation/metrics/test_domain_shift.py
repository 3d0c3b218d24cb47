import itertools
import math

import numpy as np
import pytest

from lupi_jax.evaluation.metrics.domain_shift import domain_shift_test, maximum_mean_discrepancy


def by_double_loop(x, y, bandwidths):
    """Gretton et al. 2012, Eq. 3, term by term."""

    def k(a, b):
        values = [math.exp(-sum((a - b) ** 2) / (2 * s**2)) for s in bandwidths]
        return sum(values) / len(values)

    m, n = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    xy = sum(k(a, b) for a in x for b in y)
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)


@pytest.mark.parametrize("bandwidths", [(0.7,), (0.5, 1.0, 4.0)])
@pytest.mark.parametrize(("m", "n"), [(2, 2), (9, 13)])
def test_equals_the_double_loop(m, n, bandwidths):
    rng = np.random.default_rng(m)
    x, y = rng.normal(size=(m, 3)), rng.normal(0.5, 1.3, size=(n, 3))
    expected = by_double_loop(x, y, bandwidths)
    assert maximum_mean_discrepancy(x, y, bandwidths) == pytest.approx(expected, abs=1e-13)


def test_default_bandwidth_is_the_median_distance_of_the_pooled_rows():
    # Pooled 0, 1, 3, 7: the six distances are 1, 2, 3, 4, 6, 7. The median distance is taken on
    # squares, so of the even count the root mean square of the middle two: sqrt((9 + 16) / 2).
    x, y = np.array([[0.0], [3.0]]), np.array([[1.0], [7.0]])
    expected = by_double_loop(x, y, [math.sqrt(12.5)])
    assert maximum_mean_discrepancy(x, y) == pytest.approx(expected, abs=1e-14)


def test_by_hand():
    # With bandwidth 1 / sqrt(2), k = exp(-distance^2). Within x: exp(-1); within y: exp(-1);
    # between 0, 1 and 2, 3: squared distances 4, 9, 1, 4.
    between = (2 * math.exp(-4) + math.exp(-9) + math.exp(-1)) / 4
    got = maximum_mean_discrepancy([[0.0], [1.0]], [[2.0], [3.0]], [math.sqrt(0.5)])
    assert got == pytest.approx(2 * math.exp(-1) - 2 * between, abs=1e-14)


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_gaussians_have_the_analytic_mmd_without_bias(shift):
    # For N(0, I) and N(mu, I) in d dimensions and bandwidth s: E k = (s^2 / (s^2 + 2))^(d/2) within
    # either, and exp(-|mu|^2 / (2 (s^2 + 2))) times that between the two.
    s, d, draws = 1.5, 3, 400
    within = (s**2 / (s**2 + 2)) ** (d / 2)
    expected = 2 * within * (1 - math.exp(-d * shift**2 / (2 * (s**2 + 2))))
    rng = np.random.default_rng(0)
    # Small samples: here the biased estimate would be off by many standard errors.
    estimates = [
        maximum_mean_discrepancy(rng.normal(size=(8, d)), rng.normal(shift, 1, (6, d)), [s])
        for _ in range(draws)
    ]
    error = np.std(estimates) / math.sqrt(draws)
    assert error < 0.01
    assert abs(np.mean(estimates) - expected) < 3 * error


def test_grows_with_the_shift_and_ignores_the_scale():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 5)), rng.normal(size=(90, 5))
    same, near, far = (maximum_mean_discrepancy(x, y + shift) for shift in (0, 0.5, 2))
    assert abs(same) < 0.02 < near < far
    assert maximum_mean_discrepancy(1000 * x, 1000 * (y + 2)) == pytest.approx(far, rel=1e-9)
    assert maximum_mean_discrepancy(x + 1e6, y + 2 + 1e6) == pytest.approx(far, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "bandwidths", "message"),
    [
        (np.zeros((3, 2)), np.ones((3, 4)), None, r"\[m, d\] and \[n, d\]"),
        (np.zeros(3), np.ones(3), None, r"\[m, d\] and \[n, d\]"),
        (np.zeros((1, 2)), np.ones((3, 2)), None, "m, n >= 2"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), None, "finite"),
        (np.full((3, 2), 0.1), np.full((4, 2), 0.1), None, "median distance is zero"),
        (np.zeros((3, 2)), np.ones((3, 2)), [], "at least one"),
        (np.zeros((3, 2)), np.ones((3, 2)), [1.0, 0.0], "positive"),
        (np.zeros((3, 2)), np.ones((3, 2)), [float("nan")], "positive"),
    ],
)
def test_unusable_input_is_refused(x, y, bandwidths, message):
    with pytest.raises(ValueError, match=message):
        maximum_mean_discrepancy(x, y, bandwidths)


def test_p_value_equals_all_divisions_counted():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(3, 2)), rng.normal(0.7, 1, size=(4, 2))
    rows = np.concatenate([x, y])
    found = domain_shift_test(x, y, bandwidths=[1.0], permutations=20_000)
    values = []
    for chosen in itertools.combinations(range(7), 3):
        rest = [i for i in range(7) if i not in chosen]
        values.append(by_double_loop(rows[list(chosen)], rows[rest], [1.0]))
    exact = np.mean(np.array(values) >= found.value - 1e-12)
    assert found.value == pytest.approx(by_double_loop(x, y, [1.0]), abs=1e-13)
    assert found.by_chance == pytest.approx(np.mean(values), abs=5e-3)
    assert 0.1 < exact < 0.9
    assert found.p_value == pytest.approx(exact, abs=0.015)  # four standard errors


def test_p_value_within_groups_equals_all_divisions_that_keep_the_groups_sizes():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 2)), rng.normal(0.3, 1, size=(4, 2))
    groups = np.array([0, 0, 1, 1, 0, 0, 0, 1])  # 2 of group 0 in x and 3 in y; 2 and 1
    rows = np.concatenate([x, y])
    found = domain_shift_test(x, y, groups[:4], groups[4:], [1.0], 20_000)
    values = []
    for chosen in itertools.combinations(range(8), 4):
        if sum(groups[list(chosen)] == 0) == 2:
            rest = [i for i in range(8) if i not in chosen]
            values.append(by_double_loop(rows[list(chosen)], rows[rest], [1.0]))
    assert len(values) == 10 * 3
    exact = np.mean(np.array(values) >= found.value - 1e-12)
    assert 0.1 < exact < 0.9
    assert found.p_value == pytest.approx(exact, abs=0.015)


def test_identities_of_unequal_numbers_are_no_domain_shift_within_groups():
    # Two identities far apart, 9 : 1 in x and 1 : 9 in y. Neither looks different in y.
    rng = np.random.default_rng(2)
    ids = np.repeat([0, 1], [9, 1]), np.repeat([0, 1], [1, 9])
    x, y = (10.0 * side[:, None] + rng.normal(size=(10, 2)) for side in ids)
    assert domain_shift_test(x, y).p_value < 0.02
    assert domain_shift_test(x, y, *ids).p_value > 0.1


def test_two_views_of_the_same_images_are_exchanged_within_their_image():
    # y is x plus noise: nearly equal pairs, always one in x and one in y.
    rng = np.random.default_rng(5)
    x, images = rng.normal(size=(100, 2)), np.arange(100)
    same = x + 0.01 * rng.normal(size=x.shape)
    found = domain_shift_test(x, same, images, images, [0.5])
    assert found.value < -0.01
    assert found.by_chance == pytest.approx(found.value, abs=1e-4)
    assert 0.02 < found.p_value < 0.98
    shifted = same + 0.2
    assert domain_shift_test(x, shifted, images, images, [0.5]).p_value < 0.01
    assert domain_shift_test(x, shifted, bandwidths=[0.5]).p_value > 0.9  # blinded by the pairs


def test_p_values_of_equal_distributions_are_uniform():
    rng = np.random.default_rng(3)
    small = [
        domain_shift_test(rng.normal(size=(8, 2)), rng.normal(size=(9, 2)), permutations=99).p_value
        for _ in range(300)
    ]
    assert np.mean(np.array(small) <= 0.2) == pytest.approx(0.2, abs=0.07)  # three standard errors
    shifted = domain_shift_test(rng.normal(size=(40, 2)), rng.normal(1.5, 1, size=(40, 2)))
    assert shifted.p_value == 0.001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"permutations": 0}, "at least 1"),
        ({"x_groups": [0, 1]}, "both x and y"),
        ({"x_groups": [0, 1], "y_groups": [0]}, r"\[2\] for x and \[3\] for y"),
    ],
)
def test_unusable_groups_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        domain_shift_test([[0.0], [1.0]], [[2.0], [3.0], [4.0]], **arguments)
