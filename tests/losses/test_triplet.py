from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from lupi_jax.losses import (
    bimodal_triplet,
    cross_triplet,
    dual_triplet,
    unimodal_triplet,
    weighted_regularized_triplet,
)


def column(*values):
    return jnp.asarray(values, float)[:, None]


# Hand values


def test_cross_triplet_by_hand():
    # Anchor 0 of identity 0: positives at 1 and 3, so 3; negatives at 2 and -5, so 2: 1.3.
    # Anchor 10 of identity 1: positive at 14, so 4; negative at 9, so 1: 3.3. Mean 2.3.
    labels = (jnp.asarray([0, 1]), jnp.asarray([0, 0, 1]), jnp.asarray([1, 1, 0]))
    loss = cross_triplet(column(0, 10), column(1, 3, 14), column(2, -5, 9), *labels, margin=0.3)
    np.testing.assert_allclose(loss, 2.3, rtol=1e-6)


def test_dual_triplet_by_hand():
    # v = 0, 10; t = 1, 12; z = 3, 9; margin 7.5.
    # (v, t, z): [1 - 9 + 7.5] = 0, [2 - 7 + 7.5] = 2.5; mean 1.25
    # (t, z, v): [2 - 9 + 7.5] = 0.5, [3 - 12 + 7.5] = 0; mean 0.25
    # (z, v, t): [3 - 9 + 7.5] = 1.5, [1 - 8 + 7.5] = 0.5; mean 1
    features = column(0, 10), column(1, 12), column(3, 9)
    labels = jnp.asarray([0, 1])
    summed = dual_triplet(*features, labels, margin=7.5, reduction="sum")
    np.testing.assert_allclose(summed, 2.5, rtol=1e-6)
    np.testing.assert_allclose(dual_triplet(*features, labels, margin=7.5), 2.5 / 3, rtol=1e-6)


def test_bimodal_triplet_by_hand():
    # (v, t, t): [1 - 12 + 7.5] = 0, [2 - 9 + 7.5] = 0.5; mean 0.25
    # (t, v, v): [1 - 9 + 7.5] = 0, [2 - 12 + 7.5] = 0; mean 0. Halved: 0.125.
    loss = bimodal_triplet(column(0, 10), column(1, 12), jnp.asarray([0, 1]), margin=7.5)
    np.testing.assert_allclose(loss, 0.125, rtol=1e-5)


def test_unimodal_triplet_by_hand():
    # Rows 0, 1 of identity 0 and 5 of identity 1, margin 5: [1 - 5 + 5] = 1, [1 - 4 + 5] = 2,
    # and the single row is its own positive: [0 - 4 + 5] = 1. Mean 4 / 3.
    loss = unimodal_triplet(column(0, 1, 5), jnp.asarray([0, 0, 1]), margin=5.0)
    np.testing.assert_allclose(loss, 4 / 3, rtol=1e-6)


def test_weighted_regularized_triplet_by_hand():
    # Rows 0, 1 of identity 0 and 3 of identity 1. Softmax of (0, 1) weighs 1 with e / (1 + e).
    positive = np.e / (1 + np.e)
    # Row 3: negatives at 3 and 2, softmax of (-3, -2) weighs 2 with e / (1 + e).
    negative = 2 * positive + 3 * (1 - positive)
    expected = np.mean(np.log1p(np.exp([positive - 3, positive - 2, 0 - negative])))
    found = weighted_regularized_triplet(column(0, 1, 3), jnp.asarray([0, 0, 1]), epsilon=0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# References in NumPy loops


def reference_cross_triplet(features, labels, margin):
    """Loss and subgradients, one element of each tie, in plain loops."""
    a, p, n = features
    a_labels, p_labels, n_labels = labels
    total, count, gradients = 0.0, 0, [np.zeros_like(x) for x in features]
    for i in range(len(a)):
        positives = [j for j in range(len(p)) if p_labels[j] == a_labels[i]]
        negatives = [k for k in range(len(n)) if n_labels[k] != a_labels[i]]
        if not positives or not negatives:
            continue
        count += 1
        squares_p = [max(((a[i] - p[j]) ** 2).sum(), 1e-12) for j in positives]
        squares_n = [max(((a[i] - n[k]) ** 2).sum(), 1e-12) for k in negatives]
        j, k = positives[np.argmax(squares_p)], negatives[np.argmin(squares_n)]
        d_ap, d_an = np.sqrt(max(squares_p)), np.sqrt(min(squares_n))
        if d_ap - d_an + margin <= 0:
            continue
        total += d_ap - d_an + margin
        gradients[0][i] += (a[i] - p[j]) / d_ap - (a[i] - n[k]) / d_an
        gradients[1][j] -= (a[i] - p[j]) / d_ap
        gradients[2][k] += (a[i] - n[k]) / d_an
    count = max(count, 1)
    return total / count, [g / count for g in gradients]


def drawn(rows):
    # Few integers: ties, coincident rows, and identities without a positive or a negative.
    small = st.integers(-2, 2)
    return st.tuples(
        st.lists(st.tuples(small, small), min_size=rows, max_size=rows),
        st.lists(st.integers(0, 2), min_size=rows, max_size=rows),
    )


loss_and_gradient = jax.jit(
    jax.value_and_grad(lambda f, y: cross_triplet(f[0], f[1], f[2], y[0], y[1], y[2]))
)


@given(drawn(4), drawn(3), drawn(5))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_cross_triplet_equals_reference(a, p, n):
    features = [np.asarray(pool[0], np.float64) for pool in (a, p, n)]
    labels = [np.asarray(pool[1]) for pool in (a, p, n)]
    loss, gradients = reference_cross_triplet(features, labels, 0.3)
    with jax.enable_x64(True):
        found, found_gradients = loss_and_gradient(features, labels)
    np.testing.assert_allclose(found, loss, rtol=1e-12, atol=1e-12)
    for found_gradient, gradient in zip(found_gradients, gradients, strict=True):
        np.testing.assert_allclose(found_gradient, gradient, rtol=1e-9, atol=1e-9)


def reference_weighted(features, labels, epsilon):
    losses = []
    for i in range(len(features)):
        d = np.sqrt(np.maximum(((features[i] - features) ** 2).sum(-1), 1e-12))
        d_p, d_n = d[labels == labels[i]], d[labels != labels[i]]
        if not len(d_n):
            continue
        e_p, e_n = np.exp(d_p - d_p.max()), np.exp(-d_n)
        gap = (e_p @ d_p) / (e_p.sum() + epsilon) - (e_n @ d_n) / (e_n.sum() + epsilon)
        losses.append(np.log1p(np.exp(gap)))
    return np.mean(losses) if losses else 0.0


@given(drawn(5), st.sampled_from([0.0, 1e-6, 0.1]))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_weighted_regularized_triplet_equals_reference(pool, epsilon):
    features, labels = np.asarray(pool[0], np.float64), np.asarray(pool[1])
    with jax.enable_x64(True):
        found = jax.jit(weighted_regularized_triplet, static_argnames="epsilon")(
            features, labels, epsilon=epsilon
        )
    np.testing.assert_allclose(found, reference_weighted(features, labels, epsilon), rtol=1e-9)


# Gradients


def test_gradient_goes_to_the_first_of_tied_rows():
    # Anchor 0; positives at 2 and -2 are equally far, negatives at 1 and -1 equally near.
    labels = jnp.asarray([0]), jnp.asarray([0, 0]), jnp.asarray([1, 1])
    gradient = jax.grad(cross_triplet, (0, 1, 2))(
        column(0), column(2, -2), column(1, -1), *labels, margin=0.3
    )
    np.testing.assert_allclose(gradient[1], [[1], [0]], atol=1e-6)
    np.testing.assert_allclose(gradient[2], [[-1], [0]], atol=1e-6)
    np.testing.assert_allclose(gradient[0], [[0]], atol=1e-6)


LABELS = jnp.asarray([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    "loss",
    [
        lambda v, t, z: dual_triplet(v, t, z, LABELS),
        lambda v, t, z: dual_triplet(v, t, z, LABELS, reduction="sum"),
        lambda v, t, z: bimodal_triplet(v, t, LABELS),
        lambda v, t, z: unimodal_triplet(v, LABELS),
        lambda v, t, z: weighted_regularized_triplet(v, LABELS),
        lambda v, t, z: weighted_regularized_triplet(v, LABELS, epsilon=1e-3),
    ],
)
def test_gradients_match_finite_differences(loss):
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        features = tuple(jnp.asarray(rng.normal(size=(6, 3))) for _ in range(3))
        # Steps of 1e-6 among features drawn at random cross no tie and no hinge.
        check_grads(jax.jit(loss), features, order=1, modes=("rev",), eps=1e-6)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=["one identity", "no positive"])
def test_no_valid_anchor_is_zero_with_zero_gradient(labels):
    # Shifted labels for the positives leave anchors without one.
    labels = jnp.asarray(labels)
    x = column(0, 0, 4)
    positive_labels = labels if (labels == 0).all() else labels + 3
    loss, gradient = jax.jit(
        jax.value_and_grad(lambda x: cross_triplet(x, x, x, labels, positive_labels, labels))
    )(x)
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros((3, 1)))


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_weighted_without_negatives_is_zero_with_zero_gradient(epsilon):
    loss, gradient = jax.jit(
        jax.value_and_grad(partial(weighted_regularized_triplet, epsilon=epsilon))
    )(column(0, 0, 4), jnp.zeros(3, int))
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros((3, 1)))


def test_anchors_without_a_positive_do_not_dilute_the_mean():
    # Anchor 0: [3 - 2 + 0.3] = 1.3; anchor 10 has no positive: the mean is 1.3, not 0.65.
    loss, gradient = jax.value_and_grad(cross_triplet)(
        column(0, 10), column(3), column(2), jnp.asarray([0, 1]), jnp.asarray([0]), jnp.asarray([5])
    )
    np.testing.assert_allclose(loss, 1.3, rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], [0])


def test_weighted_negatives_far_away_keep_their_pull():
    # Two identities 100 apart: the loss is softplus(-100), about 0. AGW's epsilon loses the
    # negatives, exp(-100) against 1e-6, and the loss is softplus(0) = ln 2.
    x, labels = column(0, 100), jnp.asarray([0, 1])
    kept = weighted_regularized_triplet(x, labels, epsilon=0.0)
    np.testing.assert_allclose(kept, 0, atol=1e-20)
    lost = weighted_regularized_triplet(x, labels)
    np.testing.assert_allclose(lost, np.log(2), rtol=1e-5)


def test_nan_features_reach_the_loss():
    x = column(0, jnp.nan, 4, 5)
    assert jnp.isnan(unimodal_triplet(x, jnp.asarray([0, 0, 1, 1])))


# Faces


def test_bfloat16_is_computed_in_float32():
    rng = np.random.default_rng(0)
    v, t, z = jnp.asarray(rng.normal(size=(3, 6, 8)), jnp.bfloat16)
    loss = dual_triplet(v, t, z, LABELS)
    assert loss.dtype == jnp.float32
    v, t, z = (x.astype(jnp.float32) for x in (v, t, z))
    exact = dual_triplet(v, t, z, LABELS)
    np.testing.assert_array_equal(loss, exact)


def test_bad_arguments_are_named():
    x, labels = jnp.zeros((2, 3)), jnp.zeros(2, int)
    with pytest.raises(ValueError, match="reduction"):
        dual_triplet(x, x, x, labels, reduction="max")
    with pytest.raises(ValueError, match="positive_labels"):
        cross_triplet(x, x, x, labels, labels[:, None], labels)
    with pytest.raises(ValueError, match="one label per row"):
        weighted_regularized_triplet(x, labels[:1])
