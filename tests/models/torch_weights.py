"""Networks and weights that the tests of conversion and of mismatches share."""

from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import (
    EmbedNet,
    from_torch,
    initialize,
)

Weights = dict[str, np.ndarray]

MODEL = EmbedNet(5, backbone="thin", non_local=True)
AGW_MODEL = EmbedNet(5, backbone="thin", non_local=True, stem_relu=True)
SHARED = EmbedNet(5, backbone="thin", stem_relu=True, shared_from="layer1")
RESNET18 = EmbedNet(5, backbone="resnet18")
TWO = (Modality.VISIBLE, Modality.INFRARED)
TORCHVISION_NAMES = {
    "visible_module.resnet_part1.0.": "conv1.",
    "visible_module.resnet_part1.1.": "bn1.",
    "visible_module.resnet_part1.3.": "layer1.",
    "base_resnet.resnet_part2.0.": "layer2.",
    "base_resnet.resnet_part2.1.": "layer3.",
    "base_resnet.resnet_part2.2.": "layer4.",
}
AGW_NAMES = {
    "visible_module.resnet_part1.0.": "visible_module.visible.conv1.",
    "visible_module.resnet_part1.1.": "visible_module.visible.bn1.",
    "thermal_module.resnet_part1.0.": "thermal_module.thermal.conv1.",
    "thermal_module.resnet_part1.1.": "thermal_module.thermal.bn1.",
    "visible_module.resnet_part1.3.": "base_resnet.base.layer1.",
    "base_resnet.resnet_part2.0.": "base_resnet.base.layer2.",
    "base_resnet.resnet_part2.1.": "base_resnet.base.layer3.",
    "base_resnet.resnet_part2.2.": "base_resnet.base.layer4.",
    "NL_": "NL_",
    "bottleneck.": "bottleneck.",
    "classifier.": "classifier.",
}


def draw(model: EmbedNet, seed: int, dtype: Any = np.float32) -> dict[str, Any]:
    """Variables without the minute that compiling their initialisation takes."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=(32, 32)))
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(dtype), shapes)


def renamed(weights: Weights, names: dict[str, str]) -> Weights:
    return {
        name.replace(ours, theirs, 1): value
        for name, value in weights.items()
        for ours, theirs in names.items()
        if name.startswith(ours)
    }


def same(a: Any, b: Any) -> bool:
    x, y = flatten_dict(a), flatten_dict(b)
    return x.keys() == y.keys() and all(
        np.array_equal(x[k], y[k]) and x[k].dtype == y[k].dtype for k in x
    )


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as error:
        from_torch(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)
