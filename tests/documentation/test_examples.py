"""The examples of parts of a user's own compute what they say."""

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pages import ROOT

import lupi_jax as lupi
from lupi_jax.config import parse_config
from lupi_jax.losses import ExtraLoss
from lupi_jax.modality import Modality
from lupi_jax.models import Embedding, EmbedNet, Numerics, initialize

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def example(name: str) -> Any:
    return importlib.import_module(name)


def embeddings(**pooled: Any) -> dict[Modality, Embedding]:
    rows = {Modality(name): jnp.asarray(value, jnp.float32) for name, value in pooled.items()}
    return {name: Embedding(x, x, x) for name, x in rows.items()}


def test_hetero_center_by_hand():
    given = embeddings(
        visible=[[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]],  # centres (1, 0) and (5, 5)
        infrared=[[1.0, 2.0], [1.0, 4.0], [5.0, 4.0]],  # centres (1, 3) and (5, 4)
    )
    labels = jnp.array([7, 7, 9])
    found = example("hetero_center").hetero_center(given, labels, weight=0.5)
    assert found["hetero_center"] == pytest.approx(0.5 * (9 + 1))
    three = {**given, Modality.INTERMEDIATE: given[Modality.VISIBLE]}
    found = example("hetero_center").hetero_center(three, labels, weight=1.0)
    assert found["hetero_center"] == pytest.approx(2 * (9 + 1) + 0)


def test_weighted_triplet_is_the_method_s_own_over_all_rows():
    rng = np.random.default_rng(0)
    visible, infrared = rng.normal(size=(2, 4, 3))
    labels = jnp.array([0, 0, 1, 1])
    found = example("weighted_triplet").weighted_triplet(
        embeddings(visible=visible, infrared=infrared), labels
    )
    stacked = jnp.asarray(np.concatenate([visible, infrared]), jnp.float32)
    expected = lupi.losses.weighted_regularized_triplet(stacked, jnp.array([0, 0, 1, 1] * 2))
    assert found["weighted_triplet"] == expected


def test_the_adversary_reverses_the_gradient_that_its_discriminator_follows():
    module = example("modality_adversary").ModalityAdversary
    rng = np.random.default_rng(0)
    given = embeddings(visible=rng.normal(size=(4, 3)), infrared=rng.normal(size=(4, 3)))
    labels = jnp.zeros(4, jnp.int32)
    params = module(width=5).init(jax.random.key(0), given, labels)

    def loss(strength: float, given: dict[Modality, Embedding]) -> jax.Array:
        return module(width=5, strength=strength).apply(params, given, labels)["adversary"]

    assert loss(0.1, given) == pytest.approx(float(loss(-1.0, given)))  # forward: the same
    plain, turned = (jax.grad(loss, 1)(s, given)["visible"].pooled for s in (-1.0, 0.25))
    np.testing.assert_allclose(turned, -0.25 * plain, rtol=1e-5)
    assert float(jnp.abs(plain).max()) > 1e-3


def test_small_net_follows_the_contract():
    net = example("small_net").SmallNet(width=4)
    name = "small_net:SmallNet"
    model = EmbedNet(3, backbone=name, pooling="average", backbone_settings={"width": 4})
    assert (net.features, model.features) == (32, 32)
    variables = initialize(model, jax.random.key(0), image_size=(32, 32))
    kernel = variables["params"]["stem_infrared"]["Conv_0"]["kernel"]
    assert kernel.shape == (3, 3, 3, 4)
    found = model.apply(variables, jnp.zeros((2, 48, 32, 3)), Modality.VISIBLE)
    assert [x.shape for x in found] == [(2, 32), (2, 32), (2, 3)]
    stem = net.stem(Numerics(), "stem")
    assert jax.eval_shape(
        lambda: stem.init_with_output(jax.random.key(0), jnp.zeros((2, 48, 32, 3)), False)
    )[0].shape == (2, 24, 16, 4)


class Recorder(types.ModuleType):
    """A logging library that notes its calls."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: self.calls.append((name, args, options))


@pytest.mark.parametrize(
    ("library", "hook", "begin", "calls"),
    [
        (
            "wandb",
            "wandb_hook:WandbHook",
            "init",
            [("log", ({"train/loss/total": 2.5},), {"step": 20}), ("finish", (), {})],
        ),
        (
            "mlflow",
            "mlflow_hook:MlflowHook",
            "start_run",
            [("log_metrics", ({"train/loss/total": 2.5},), {"step": 20}), ("end_run", (), {})],
        ),
    ],
)
def test_hooks_send_each_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, hook: str, begin: str, calls: Any
) -> None:
    recorder = Recorder(library)
    monkeypatch.setitem(sys.modules, library, recorder)
    module, _, name = hook.partition(":")
    config = parse_config({"steps": 2, "data.root": "x"})
    with getattr(example(module), name)(config, tmp_path) as opened:
        opened.logged({"step": 20, "split": "train", "loss/total": 2.5})
    assert recorder.calls[0][0] == begin
    sent = [call for call in recorder.calls if call[0] not in (begin, "log_params")]
    assert sent == calls
    monkeypatch.delitem(sys.modules, module)


def test_a_weight_multiplies_every_term():
    def two(embeddings: Any, labels: Any, a: float) -> dict[str, Any]:
        return {"one": jnp.float32(a), "two": jnp.float32(2 * a)}

    settings = lupi.losses.LossSettings(extra_weight=0.5, extra_settings={"a": 3.0})
    loss = ExtraLoss.of(two, settings)
    assert loss({}, {}, jnp.zeros(2)) == {"one": 1.5, "two": 3.0}
