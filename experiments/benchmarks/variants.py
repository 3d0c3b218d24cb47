"""Other ways to compute a training step, to be timed on a GPU next to the usual step.

    with variants.applied("one_pass"):
        ...  # build, compile and time the step

Each computes the same as the step, up to rounding
(tests/experiments/test_benchmark_variants.py). README.md says why they may be faster, under
"What was tried for fewer passes".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax import Array, lax

from lupi_jax.models import layers, operations, resnet


def _one_pass_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> Any:
    """`operations._batch_normalize_forward` with both statistics from one pass.

    It sums x minus the first image's mean. Sums of x and x^2 would cancel if the mean is large.
    """
    axes = tuple(range(x.ndim - 1))

    def over_devices(values: Array) -> Array:
        return values if axis_name is None else lax.pmean(values, axis_name)

    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    shift = over_devices(wide[:1].mean(axes))
    moved = wide - shift
    first, second = over_devices(jnp.stack([moved.mean(axes), jnp.square(moved).mean(axes)]))
    mean, var = shift + first, jnp.maximum(second - jnp.square(first), 0)
    deviation = lax.rsqrt(var + epsilon)
    y = (wide - mean) * (deviation * scale) + bias
    return (y, mean, var), (x, scale, bias, mean, deviation)


def _one_pass(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None = None
) -> Any:
    return _one_pass_forward(x, scale, bias, epsilon, axis_name)[0]


_batch_normalize = jax.custom_vjp(_one_pass, nondiff_argnums=(3, 4))
_batch_normalize.defvjp(_one_pass_forward, operations._batch_normalize_backward)

# Variant -> (module, name, replacement).
VARIANTS = {
    "one_pass": (layers, "batch_normalize", _batch_normalize),
    # A CPU's ReLU, which masks the gradient by its result.
    "mask_by_result": (resnet, "relu", operations._relu_cpu),
}


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Steps traced within use the variant `name` of `VARIANTS`."""
    module, attribute, replacement = VARIANTS[name]
    with mock.patch.object(module, attribute, replacement):
        yield
