"""Variables of a thin network, and the same as LUPI and AGW save them."""

from typing import Any

import numpy as np
import pytest
from torch_weights import (
    AGW_NAMES,
    MODEL,
    TORCHVISION_NAMES,
    Weights,
    draw,
    renamed,
)

from lupi_jax.models import (
    to_torch,
)


@pytest.fixture(scope="session")
def initial() -> dict[str, Any]:
    return draw(MODEL, 1)


@pytest.fixture(scope="session")
def variables() -> dict[str, Any]:
    return draw(MODEL, 2)


@pytest.fixture(scope="session")
def weights(variables: dict[str, Any]) -> Weights:
    return to_torch(variables)


@pytest.fixture(scope="session")
def agw(weights: Weights) -> Weights:
    """As AGW saves them: each part a whole ResNet, the pieces it does not use spoilt here."""
    resnet = renamed(weights, TORCHVISION_NAMES)
    whole = {
        f"{part}.{name}": np.full_like(value, -1 if value.dtype.kind == "i" else np.nan)
        for part in ("visible_module.visible", "thermal_module.thermal", "base_resnet.base")
        for name, value in resnet.items()
    }
    return whole | renamed(weights, AGW_NAMES)
