"""The weights and images behind the golden figures, rebuilt from their seeds.

`golden_resnet18_base.npz` holds outputs of the method's released PyTorch code
(alehdaghi/Cross-Modal-Re-ID-via-LUPI at b4f5443) in float64 on these inputs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FIGURES = Path(__file__).with_name("golden_resnet18_base.npz")


def load() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The figures, and their `meta`: arch, seed, n_class, P, K, steps, h, w, lr, shapes."""
    with np.load(FIGURES, allow_pickle=False) as file:
        figures = dict(file)
    return figures, json.loads(str(figures.pop("meta")))


def state_dict(meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """PyTorch-named weights, drawn in the sorted order of their names."""
    rng = np.random.default_rng(meta["seed"])
    out: dict[str, np.ndarray] = {}
    for name in sorted(meta["shapes"]):
        shape = tuple(meta["shapes"][name])
        if name.endswith("num_batches_tracked"):
            out[name] = np.zeros(shape, np.int64)
            continue
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("running_mean"):
            value = rng.normal(0, 0.1, shape)
        elif len(shape) >= 2:
            gain = {"classifier": 1.0, "NL_": 0.05}
            factor = next((g for prefix, g in gain.items() if name.startswith(prefix)), 2.0)
            value = rng.normal(0, np.sqrt(factor / int(np.prod(shape[1:]))), shape)
        elif name.endswith(("bn3.weight", "downsample.1.weight", "W.1.weight")):
            value = rng.uniform(0.2, 0.6, shape)
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        out[name] = value.astype(np.float32)
    return out


def images(seed: int, n: int, meta: dict[str, Any]) -> np.ndarray:
    """Images [n, h, w, 3] as they enter the network, float32 values."""
    shape = (n, meta["h"], meta["w"], 3)
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def training_images(meta: dict[str, Any], step: int) -> tuple[np.ndarray, ...]:
    """Visible, infrared and intermediate images of a step, [P * K, h, w, 3] each."""
    n = meta["P"] * meta["K"]
    return tuple(images(meta["seed"] + 100 + 3 * step + i, n, meta) for i in range(3))
