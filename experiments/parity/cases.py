"""Golden cases: the released PyTorch code's outputs, and the inputs they belong to.

The figures are outputs of alehdaghi/Cross-Modal-Re-ID-via-LUPI at b4f5443. The evaluator with the
camera rule and the case `resnet50_agw_shared` come from mangye16/Cross-Modal-Re-ID-baseline at
e817a26. Weights and images are kept only as seeds. `state_dict` and the methods for images draw
them again, in the original order.

`resnet50_agw_shared` is AGW's own network (`embed_net` with its non-local blocks and GeM) and loss
(cross-entropy and `TripletLoss_WRT`), run by PyTorch 2.13 in float64 on a CPU. AGW keeps three
whole ResNets; the seed fills the tensors that the forward pass uses. The optimiser is SGD with
Nesterov momentum 0.9, weight decay 5e-4, rate 0.002 for neck and classifier, and a tenth of it for
the rest. Features keep every eighth column.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality

FIGURES = Path(__file__).with_name("figures")
LOSSES = "losses"
METRICS = "metrics"


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkCase:
    """A network's outputs in float64.

    Attributes:
      name: name of the case.
      figures: arrays by the names of `experiments.parity.network`.
      meta: arch, method ("agw" or "base"), seed, n_class, P, K, steps, h, w, lr, and shapes,
        {PyTorch name: shape}. AGW's own network also has code = "agw", and every, the step between
        the columns of features that are kept.
      envelope: {quantity: error of the released code in float32 against its own float64}, maximum
        error over maximum value.
    """

    name: str
    figures: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]
    envelope: Mapping[str, float]

    @property
    def of_agw(self) -> bool:
        """Whether the network is AGW's own, not LUPI's."""
        return self.meta.get("code") == "agw"

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that the network has a stem for, in the order of rows."""
        every = tuple(Modality)
        return every[:2] if self.of_agw else every

    def state_dict(self) -> dict[str, np.ndarray]:
        """The network's weights in float32, with PyTorch's names and layouts."""
        rng = np.random.default_rng(self.meta["seed"])
        shapes = self.meta["shapes"]
        return {name: _draw(rng, name, tuple(shapes[name])) for name in sorted(shapes)}

    def evaluation_images(self) -> np.ndarray:
        """Input of the network, [2, h, w, 3] float32."""
        return self._images(1, 2)

    def training_images(self, step: int) -> dict[Modality, np.ndarray]:
        """Images of a step by modality, [P K, h, w, 3] float32 each."""
        first, n = 100 + 3 * step, self.meta["P"] * self.meta["K"]
        return {m: self._images(first + i, n) for i, m in enumerate(self.modalities)}

    def _images(self, stream: int, n: int) -> np.ndarray:
        rng = np.random.default_rng(self.meta["seed"] + stream)
        return rng.normal(0, 1, (n, self.meta["h"], self.meta["w"], 3)).astype(np.float32)


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        value = rng.normal(0, 0.1, shape)
    elif len(shape) >= 2:
        gains = {"classifier": 1.0, "NL_": 0.05}
        gain = next((g for prefix, g in gains.items() if name.startswith(prefix)), 2.0)
        value = rng.normal(0, np.sqrt(gain / int(np.prod(shape[1:]))), shape)
    elif name.endswith(("bn3.weight", "downsample.1.weight", "W.1.weight")):
        value = rng.uniform(0.2, 0.6, shape)
    elif name.endswith("weight"):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.normal(0, 0.1, shape)
    return value.astype(np.float32)


def networks(folder: Path = FIGURES) -> list[str]:
    """The names of all network cases in a folder; InputError if the folder has no case."""
    names = sorted(file.stem for file in folder.glob("*.npz"))
    names = [name for name in names if name not in (LOSSES, METRICS)]
    if not names:
        raise InputError(f"no figures in {folder}: give the directory of the golden .npz files")
    return names


def load_network(name: str, folder: Path = FIGURES) -> NetworkCase:
    """A network case by its name; InputError if the file is missing or holds no case."""
    figures = load_figures(name, folder)
    try:
        meta = json.loads(str(figures.pop("meta")))
        envelope = json.loads(str(figures.pop("float32_envelope")))
    except KeyError as error:
        raise InputError(
            f"{folder / name}.npz holds no network's figures: {error} is missing"
        ) from error
    lacking = [key for key in (*envelope, "grad_names", "bn_names") if key not in figures]
    if lacking:
        raise InputError(f"{folder / name}.npz lacks {', '.join(lacking)}")
    return NetworkCase(name, figures, meta, envelope)


def load_numbered(name: str, folder: Path = FIGURES) -> dict[str, dict[str, np.ndarray]]:
    """Cases of losses or metrics: {"0": {name: array}} of a file's {"0_name": array}.

    Raises InputError if the file holds no case.
    """
    cases: dict[str, dict[str, np.ndarray]] = {}
    for key, value in load_figures(name, folder).items():
        number, _, quantity = key.partition("_")
        if number.isdecimal():
            cases.setdefault(number, {})[quantity] = value
    if not cases:
        raise InputError(f"{folder / name}.npz holds no case of {name}")
    return cases


def load_figures(name: str, folder: Path = FIGURES) -> dict[str, np.ndarray]:
    """All arrays of `<folder>/<name>.npz`; InputError if it cannot be read."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise InputError(f"no figures at {path}: give the directory of the golden .npz files")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:
        raise InputError(f"{path} cannot be read as .npz: {error}") from error
