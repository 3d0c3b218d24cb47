import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lupi_jax.config import OptimizerConfig
from lupi_jax.training.optimizer import learning_rate, make_optimizer, parameter_groups


def test_released_schedule_in_epochs() -> None:
    rate = learning_rate(OptimizerConfig(), steps_per_epoch=7)
    # Warm-up by epoch: 0.1 * (epoch + 1) / 10, constant within an epoch.
    by_epoch = {0: 0.01, 1: 0.02, 8: 0.09, 9: 0.1, 10: 0.1, 19: 0.1, 20: 0.01, 49: 0.01, 50: 0.001}
    for epoch, expected in by_epoch.items():
        for step in (7 * epoch, 7 * epoch + 6):
            assert float(rate(step)) == pytest.approx(expected, rel=1e-6), (epoch, step)


def test_schedule_in_steps() -> None:
    config = OptimizerConfig(rate=1.0, warmup=4, milestones=(6.0,), factors=(0.5,), unit="steps")
    rate = learning_rate(config, steps_per_epoch=1000)
    expected = [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5]
    assert [float(rate(step)) for step in range(8)] == pytest.approx(expected)


PARAMS = {
    "stem_visible": {"w": jnp.array([1.0, -2.0])},
    "classifier": {"kernel": jnp.array([3.0])},
    "neck": {"scale": jnp.array([1.0]), "bias": jnp.array([0.5])},
}


def test_groups() -> None:
    groups = parameter_groups(PARAMS)
    assert groups["stem_visible"]["w"] == "trunk"
    assert groups["classifier"]["kernel"] == groups["neck"]["scale"] == "head"
    assert groups["neck"]["bias"] == "frozen"


def test_sgd_is_pytorch_s() -> None:
    config = OptimizerConfig(rate=0.1, warmup=0, milestones=(), factors=(), weight_decay=0.01)
    tx = make_optimizer(config, 1)
    params, state = PARAMS, tx.init(PARAMS)
    # torch.optim.SGD(nesterov=True): g += decay * p; buf = 0.9 buf + g; p -= lr (g + 0.9 buf).
    p, buffer = 3.0, 0.0
    trunk, trunk_buffer = np.array([1.0, -2.0]), np.zeros(2)
    for gradient in (1.0, -2.0, 0.5):
        gradients = jax.tree.map(lambda x, g=gradient: jnp.full_like(x, g), params)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        g = gradient + 0.01 * p
        buffer = 0.9 * buffer + g
        p -= 0.1 * (g + 0.9 * buffer)
        g = gradient + 0.01 * trunk
        trunk_buffer = 0.9 * trunk_buffer + g
        trunk = trunk - 0.01 * (g + 0.9 * trunk_buffer)
    assert float(params["classifier"]["kernel"][0]) == pytest.approx(p, rel=1e-6)
    np.testing.assert_allclose(params["stem_visible"]["w"], trunk, rtol=1e-6)
    assert float(params["neck"]["bias"][0]) == 0.5  # frozen: neither gradient nor decay


def test_adam_decays_decoupled() -> None:
    config = OptimizerConfig(
        name="adam", rate=0.1, warmup=0, milestones=(), factors=(), weight_decay=0.5
    )
    tx = make_optimizer(config, 1)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, 7.0), PARAMS)
    updates, _ = tx.update(gradients, tx.init(PARAMS), PARAMS)
    # Adam's first step has length 1 whatever the gradient; the decay adds 0.5 * 3.
    assert float(updates["classifier"]["kernel"][0]) == pytest.approx(-0.1 * (1 + 1.5), rel=1e-5)


def test_clipping_bounds_the_global_norm() -> None:
    config = OptimizerConfig(
        rate=1.0, trunk_factor=1.0, warmup=0, milestones=(), factors=(), weight_decay=0.0,
        momentum=0.0, clip=2.0,
    )  # fmt: skip
    tx = make_optimizer(config, 1)
    params = {"neck": {"scale": jnp.zeros(1)}, "trunk": {"w": jnp.zeros(1)}}
    gradients = {"neck": {"scale": jnp.array([30.0])}, "trunk": {"w": jnp.array([40.0])}}
    updates, _ = tx.update(gradients, tx.init(params), params)
    assert float(updates["neck"]["scale"][0]) == pytest.approx(-1.2)  # 30 * 2 / 50
    assert float(updates["trunk"]["w"][0]) == pytest.approx(-1.6)
