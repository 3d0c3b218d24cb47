"""The variants of the benchmarks compute what the step computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.benchmarks import variants
from experiments.benchmarks.work import Work, fields
from lupi_jax.config import parse_config
from lupi_jax.models import operations, resnet


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_a_block_and_its_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "relu", nn.relu)  # a GPU's
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, weights = jnp.asarray(rng.normal(5.0, size=(2, 3, 4, 5, 8)))
        block = resnet.Block(8)
        variables = block.init(jax.random.key(0), x, train=True)

        def total(params, x):
            state = {**variables, "params": params}
            y, updates = block.apply(state, x, train=True, mutable=["batch_stats"])
            return jnp.sum(y * weights), updates

        def run() -> list[jax.Array]:
            gradients = jax.grad(total, (0, 1), has_aux=True)(variables["params"], x)
            return jax.tree.leaves(gradients)

        plain = run()
        with variants.applied(name):
            module, attribute, replacement = variants.VARIANTS[name]
            assert getattr(module, attribute) is replacement
            varied = run()
    assert len(plain) == 11  # two kernels, scales, biases and both statistics, the input
    for found, expected in zip(varied, plain, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_one_pass_does_not_cancel() -> None:
    """In float32, with a mean of a thousand deviations, where E[x^2] - E[x]^2 is off by a tenth."""
    x = np.random.default_rng(0).normal(1000.0, 1.0, size=(8, 16, 4)).astype(np.float32)
    _, _, var = variants._batch_normalize(x, jnp.ones(4), jnp.zeros(4), 1e-5)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1)), rtol=1e-4)
    today: Any = operations.batch_normalize(jnp.asarray(x), jnp.ones(4), jnp.zeros(4), 1e-5)
    np.testing.assert_allclose(today[2], x.astype(np.float64).var((0, 1)), rtol=1e-4)


def test_the_benchmarks_have_a_configuration() -> None:
    config = parse_config(fields(Work(identities=3, images=5, size=(64, 32), backbone="thin")))
    assert (config.batch.identities, config.batch.images) == (3, 5)
    assert config.data.image_size == (64, 32)
    assert config.model.backbone == "thin"
