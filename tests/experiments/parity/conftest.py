"""Golden figures are compared with a user's programs, so the programs here are optimised."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def optimised_programs() -> Iterator[None]:
    name = "jax_disable_most_optimizations"
    disabled = jax.config.read(name)
    jax.config.update(name, False)
    jax.clear_caches()  # programs are kept without regard to the flag
    yield
    jax.config.update(name, disabled)
