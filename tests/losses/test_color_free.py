import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lupi_jax.losses import color_free, color_free_mse

# Pair 0 is 5 apart, pair 1 is 0.1 apart. Classifier of pair 1: (3/4, 1/4) and (1/2, 1/2), so that
# KL = 3/4 ln(3/2) + 1/4 ln(1/2); the other way round it would be 1/2 ln(2/3) + 1/2 ln 2.
VISIBLE = jnp.asarray([[3.0, 4.0], [0.1, 0.0]])
INTERMEDIATE = jnp.zeros((2, 2))
VISIBLE_LOGITS = jnp.asarray([[9.0, 0.0], [jnp.log(3.0), 0.0]])
INTERMEDIATE_LOGITS = jnp.zeros((2, 2))
DIVERGENCE = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (5 + 0.5 * DIVERGENCE) / 2),
        ({"alpha": 0.2}, (5 + 0.2 * DIVERGENCE) / 2),
        # Above a threshold of 0.05 both pairs give their distance.
        ({"threshold": 0.05}, (5 + 0.1) / 2),
        # Mean absolute differences: (3 + 4) / 2 and 0.1 / 2.
        ({"norm": "l1_mean"}, (3.5 + 0.5 * DIVERGENCE) / 2),
        ({"norm": "l1_mean", "threshold": 0.04}, (3.5 + 0.05) / 2),
    ],
)
def test_by_hand(options, expected):
    arrays = VISIBLE, INTERMEDIATE, VISIBLE_LOGITS, INTERMEDIATE_LOGITS
    np.testing.assert_allclose(color_free(*arrays, **options), expected, rtol=1e-6)


def test_mean_squared_error_by_hand():
    # (9 + 16 + 0.01 + 0) / 4
    np.testing.assert_allclose(color_free_mse(VISIBLE, INTERMEDIATE), 25.01 / 4, rtol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "l1_mean"])
def test_equal_pairs_give_zero_with_zero_gradient(norm):
    arrays = VISIBLE, VISIBLE, VISIBLE_LOGITS, VISIBLE_LOGITS
    loss, gradients = jax.value_and_grad(
        lambda *arrays: color_free(*arrays, norm=norm), (0, 1, 2, 3)
    )(*arrays)
    assert loss == 0
    for gradient in gradients:
        np.testing.assert_allclose(gradient, np.zeros((2, 2)), atol=1e-7)


@pytest.mark.parametrize("norm", ["l2", "l1_mean"])
def test_gradients_match_finite_differences_on_both_sides_of_the_threshold(norm):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        far, near = rng.normal(size=(2, 5)), 0.05 * rng.normal(size=(2, 5))
        visible = jnp.asarray(rng.normal(size=(4, 5)))
        intermediate = visible + jnp.asarray(np.concatenate([far + np.sign(far), near]))
        logits = tuple(jnp.asarray(rng.normal(size=(4, 3))) for _ in range(2))
        check_grads(
            jax.jit(lambda *arrays: color_free(*arrays, norm=norm)),
            (visible, intermediate, *logits),
            order=1,
            modes=("rev",),
            eps=1e-6,
        )


def test_far_pairs_train_features_and_near_pairs_train_logits():
    gradients = jax.grad(color_free, (0, 1, 2, 3))(
        VISIBLE, INTERMEDIATE, VISIBLE_LOGITS, INTERMEDIATE_LOGITS
    )
    # The pull of a distance is a unit vector, (0.6, 0.8), over two pairs.
    np.testing.assert_allclose(gradients[0], [[0.3, 0.4], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(gradients[1], [[-0.3, -0.4], [0, 0]], atol=1e-6)
    for gradient in gradients[2:]:
        np.testing.assert_array_equal(gradient[0], [0, 0])
        assert jnp.abs(gradient[1]).min() > 0.01


@pytest.mark.parametrize("norm", ["l2", "l1_mean"])
def test_nan_features_reach_the_loss(norm):
    broken = VISIBLE.at[1, 0].set(jnp.nan)
    assert jnp.isnan(
        color_free(broken, INTERMEDIATE, VISIBLE_LOGITS, INTERMEDIATE_LOGITS, norm=norm)
    )


def test_jit_and_bfloat16():
    arrays = VISIBLE, INTERMEDIATE, VISIBLE_LOGITS, INTERMEDIATE_LOGITS
    np.testing.assert_allclose(jax.jit(color_free)(*arrays), color_free(*arrays), rtol=1e-6)
    v, z, v_logits, z_logits = (x.astype(jnp.bfloat16) for x in arrays)
    assert color_free(v, z, v_logits, z_logits).dtype == jnp.float32
    assert color_free_mse(v, z).dtype == jnp.float32


def test_bad_arguments_are_named():
    x, logits = jnp.zeros((2, 3)), jnp.zeros((2, 4))
    with pytest.raises(ValueError, match="norm"):
        color_free(x, x, logits, logits, norm="cosine")
    with pytest.raises(ValueError, match="features"):
        color_free(x, x[:1], logits, logits)
    with pytest.raises(ValueError, match="logits"):
        color_free(x, x, logits, logits[:, :2])
    with pytest.raises(ValueError, match="2 features, 1 logits"):
        color_free(x, x, logits[:1], logits[:1])
    with pytest.raises(ValueError, match="color_free_mse"):
        color_free_mse(x, x[:1])
