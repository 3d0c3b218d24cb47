"""n devices compute what one does: in a process of its own, since devices are fixed at start."""

import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import SingleDeviceSharding

from lupi_jax.config import Config, OptimizerConfig, SourceConfig
from lupi_jax.declared import Options
from lupi_jax.errors import InputError
from lupi_jax.losses import ExtraLoss, LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import BACKBONES, EmbedNet, ResNetShape, initialize
from lupi_jax.models.operations import conv2d
from lupi_jax.training.beside import parameters_beside
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.network import abstract
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep, everywhere, local_copy, require_room
from lupi_jax.training.step import AXIS, Step, TrainState, train_step
from lupi_jax.views import ViewSettings, make_views

# A stem a modality, one layer of trunk, and it compiles in seconds.
TINY = ResNetShape((1, 1, 0, 0), width=4, non_local=(0, 0, 0, 0))
DEVICES, STEPS, IDENTITIES, IMAGES = 8, 20, 4, 2
VIEWS = ViewSettings(pad=2)
LOSSES = {
    "paper": LossSettings(modality="adversarial"),
    "released": LossSettings(triplet="mean", color_free="released"),
}
ADAPTIVE = dataclasses.replace(VIEWS, intermediate="adaptive", adaptive_share=0.7)
# The paper's losses have gradients of norm 39 and more here, so that this clips at every step. A
# power of two is exact in the schedule's float32.
OPTIMIZERS = {
    "paper": OptimizerConfig(
        rate=0.02, clip=20.0, warmup=2, unit="steps", milestones=(), factors=()
    ),
    "released": OptimizerConfig(rate=2**-7, warmup=2, unit="steps", milestones=(), factors=()),
}


class Tightness(nn.Module):
    """A loss with a parameter: how far rows of an identity are from its mean, in learnt units."""

    @nn.compact
    def __call__(self, embeddings: Any, labels: Any) -> dict[str, Any]:
        rows = jnp.concatenate([each.neck for each in embeddings.values()])
        tiled = jnp.tile(labels, len(embeddings))
        same = tiled[:, None] == tiled[None, :]
        far = rows - (same / same.sum(1, keepdims=True)) @ rows
        units = self.param("units", nn.initializers.ones, rows.shape[-1:], rows.dtype)
        return {"tight": jnp.mean((far * units) ** 2) + jnp.mean(units**-2)}


# The paper's runs have learnt intermediate images and a loss of a user's own as well.
EXTRAS = {"paper": ExtraLoss(Tightness, "Tightness", 0.5, Options())}
CASES = {
    "fast": (
        ("paper", "float64", "shard_map"),
        ("paper", "float32", "shard_map"),
        ("released", "float64", "pmap"),
    ),
    "slow": tuple((r, "float64", how) for r in LOSSES for how in ("shard_map", "pmap")),
}


# What follows up to `main` runs in the process with eight devices.


def draw_batches() -> list[dict[str, np.ndarray]]:
    """Of eight rows, one a device: no device has a positive or a negative of its own."""
    rng = np.random.default_rng(0)
    shape = (IDENTITIES * IMAGES, 32, 16, 3)
    return [
        {
            "visible": rng.integers(0, 256, shape, np.uint8),
            "infrared": rng.integers(0, 256, shape, np.uint8),
            "labels": np.repeat(rng.permutation(6)[:IDENTITIES], IMAGES).astype(np.int32),
        }
        for _ in range(STEPS)
    ]


def configured(recipe: str) -> Config:
    views = ADAPTIVE if recipe == "paper" else VIEWS
    data = SourceConfig(image_size=(32, 32))
    return Config(data=data, views=views, loss=LOSSES[recipe], optimizer=OPTIMIZERS[recipe])


def make_step(
    backbone: str, recipe: str, axis_name: str | None = AXIS
) -> tuple[EmbedNet, optax.GradientTransformation, Step]:
    model = EmbedNet(6, backbone=backbone, axis_name=axis_name)
    config = configured(recipe)
    tx, rate = make_optimizer(config.optimizer, 1), learning_rate(config.optimizer, 1)
    step = partial(
        train_step, config=config, model=model, tx=tx, rate=rate, extra=EXTRAS.get(recipe)
    )
    return model, tx, step


Trained = tuple[dict[str, np.ndarray], TrainState]


def train(
    backbone: str, recipe: str, dtype: str, how: str, devices: int, variables: Any
) -> Trained:
    """{figure: its values at all steps} and the state after them."""
    model, tx, step = make_step(backbone, recipe)
    typed = dataclasses.replace(configured(recipe), dtype=dtype)
    beside = parameters_beside(typed, model, EXTRAS.get(recipe))
    variables = jax.tree.map(lambda x: np.asarray(x, dtype), variables)
    parallel = ParallelStep(step, how, devices)
    create = jax.jit(partial(TrainState.create, tx=tx))
    state, rows = parallel.place(create(variables, beside=beside)), []
    if how == "pmap":  # as `lupi train` does, for either way of mapping
        parallel.compile(state, draw_batches()[0], lambda call: call())
    for batch in draw_batches():
        state, metrics = parallel(state, batch)
        rows.append(jax.device_get(metrics))
    figures = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return figures, jax.device_get(state)


def difference(one: Trained, other: Trained) -> dict[str, float]:
    """The largest difference of an array, relative to its largest value.

    Of the figures of all steps, and of the state after them.
    """

    def error(path: tuple[Any, ...], a: np.ndarray, b: np.ndarray) -> float:
        # A bias before a normalisation has no gradient but rounding: it is compared to zero.
        idle = jax.tree_util.keystr(path).endswith("['out']['bias']")
        scale = 1.0 if idle else np.abs(a).max() or 1.0
        return float(np.abs(a - b).max() / scale)

    def largest(a: Any, b: Any) -> float:
        return max(jax.tree.leaves(jax.tree_util.tree_map_with_path(error, a, b)))

    (figures, state), (other_figures, other_state) = one, other
    return {
        "figures": largest(figures, other_figures),
        "variables": largest(
            (state.variables, state.beside), (other_state.variables, other_state.beside)
        ),
        "momentum": largest(state.opt_state, other_state.opt_state),
    }


def each_device_by_itself(variables: Any) -> dict[str, Any]:
    """One step of two devices with their own batch statistics, and the same by hand."""
    model, tx, step = make_step("tiny", "released", axis_name=None)
    variables = jax.tree.map(lambda x: np.asarray(x, "float64"), variables)
    batch = draw_batches()[0]
    parallel = ParallelStep(step, devices=2)
    state = parallel.place(jax.jit(partial(TrainState.create, tx=tx))(variables))
    state, metrics = jax.device_get(parallel(state, batch))

    images = jax.jit(partial(make_views, settings=VIEWS, modalities=tuple(Modality)))(
        jax.random.fold_in(jax.random.key(0), 0), batch["visible"], batch["infrared"]
    )
    half = len(batch["labels"]) // 2
    halves = [{m: x[i * half : (i + 1) * half] for m, x in images.items()} for i in range(2)]

    @jax.jit
    def embed(images: Any, cotangents: Any) -> Any:
        def apply(params: Any) -> Any:
            both = {**variables, "params": params}
            embedding, updates = model.apply(both, images, train=True, mutable=["batch_stats"])
            return (embedding.pooled, embedding.logits), updates["batch_stats"]

        outputs, pull_back, stats = jax.vjp(apply, variables["params"], has_aux=True)
        return outputs, stats, pull_back(cotangents)[0]

    @jax.jit
    def loss(outputs: Any) -> Any:
        def by_modality(which: int) -> dict[Modality, Any]:
            parts = [jnp.split(pair[which], 3) for pair in outputs]
            return {m: jnp.concatenate([p[i] for p in parts]) for i, m in enumerate(Modality)}

        return objective(by_modality(0), by_modality(1), batch["labels"], LOSSES["released"])[0]

    nothing = (np.zeros((3 * half, 8)), np.zeros((3 * half, 6)))
    outputs = [embed(images, nothing)[0] for images in halves]
    total, cotangents = jax.value_and_grad(loss)(outputs)
    (_, first_stats, first), (_, second_stats, second) = map(embed, halves, cotangents)
    gradient = jax.tree.map(np.add, first, second)

    def stepped(path: tuple[Any, ...], p: np.ndarray, g: np.ndarray) -> np.ndarray:
        # The first step of SGD: decay, Nesterov's 1 + 0.9, half the rate (warm-up of two).
        rate = 2**-8 * (1.0 if path[0].key in ("neck", "classifier") else 0.1)
        return p - rate * 1.9 * (g + 5e-4 * p)

    params = jax.tree_util.tree_map_with_path(stepped, variables["params"], gradient)
    stats = jax.tree.map(lambda a, b: (a + b) / 2, first_stats, second_stats)

    # And without the network's own normalisation: the first one's statistics, in NumPy.
    kernel = variables["params"]["stem_visible"]["conv1"]["kernel"]
    x = [np.asarray(conv2d(h[Modality.VISIBLE].astype("float64"), kernel, 2)) for h in halves]
    mean = 0.1 * np.mean([x.mean((0, 1, 2)) for x in x], 0)
    var = 0.9 + 0.1 * np.mean([x.reshape(-1, 4).var(0, ddof=1) for x in x], 0)
    whole = 0.9 + 0.1 * np.concatenate(x).reshape(-1, 4).var(0, ddof=1)
    found = state.batch_stats["stem_visible"]["bn1"]

    def apart(a: Any, b: Any) -> float:
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return max(float(np.abs(x - y).max()) for x, y in pairs)

    return {
        "loss": abs(float(metrics["loss/total"] - total)),
        "gradient_norm": abs(float(metrics["gradient_norm"] - optax.tree.norm(gradient))),
        "params": apart(state.params, params),
        "batch_stats": apart(state.batch_stats, stats),
        "first_mean": apart(found["mean"], mean),
        "first_var": apart(found["var"], var),
        "not_of_all_rows": apart(found["var"], whole),
    }


def some_variables() -> dict[str, Any]:
    w, m = jnp.arange(12, dtype="float32"), jnp.arange(4, dtype="float32")
    return {"params": {"w": w.reshape(3, 4)}, "batch_stats": {"m": m}}


def unused(state: TrainState, *_: Any) -> tuple[TrainState, dict[str, Any]]:
    return state, {}


def save_of_all_devices(workdir: str) -> dict[str, Any]:
    """Save a checkpoint of eight devices, for a process that has one."""
    state = TrainState.create(some_variables(), optax.sgd(0.1, momentum=0.9))
    state = ParallelStep(unused).place(state)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(state.replace(step=state.step + 9), {}, {})
        checkpoints.wait()
    mine = local_copy(state.params["w"])
    return {
        "held_by": len(state.params["w"].sharding.device_set),
        "everywhere": len(everywhere().device_set),
        "copy_held_by": len(mine.sharding.device_set),
        "copy_equal": bool(np.array_equal(mine, state.params["w"])),
    }


def seen_of_rows() -> dict[str, float]:
    """What a step sees of 16 rows, as images and as their numbers among images that are held."""
    seed = 2**32 - 1

    def step(state: Any, batch: Any, seed: Any) -> Any:
        weights = batch["labels"] + 100.0 * jax.lax.axis_index(AXIS)
        seen = batch["visible"].astype(jnp.float64).sum((1, 2, 3)) @ weights
        return state, {"seen": jax.lax.psum(seen, AXIS) + seed}

    rng = np.random.default_rng(5)
    images, rows = rng.integers(0, 256, (30, 4, 2, 3), np.uint8), rng.integers(0, 30, 16, np.int32)
    labels = np.arange(16)
    fed = ParallelStep(step, seed=seed)(jnp.zeros(()), {"visible": images[rows], "labels": labels})
    parallel = ParallelStep(step, seed=seed)
    parallel.hold(images)
    held = parallel(jnp.zeros(()), {"visible": rows, "labels": labels})
    by_hand = images[rows].sum((1, 2, 3), np.float64) @ (labels + 100.0 * (labels // 2)) + seed
    return {"fed": float(fed[1]["seen"]), "held": float(held[1]["seen"]), "by_hand": float(by_hand)}


def refusal(how: str) -> str:
    try:
        ParallelStep(unused, how, 3)(None, draw_batches()[0])
    except InputError as error:
        return str(error)
    return "nothing"


def main(which: str, workdir: str) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    BACKBONES["tiny"] = TINY
    backbone = {"fast": "tiny", "slow": "thin"}[which]
    key, size = jax.random.key(0), (32, 32)
    variables = initialize(EmbedNet(6, backbone=backbone), key, image_size=size)
    variables = jax.tree.map(np.asarray, variables)
    result: dict[str, Any] = {}
    ones: dict[tuple[str, str], Trained] = {}
    for recipe, dtype, how in CASES[which]:
        if (recipe, dtype) not in ones:
            ones[recipe, dtype] = train(backbone, recipe, dtype, "shard_map", 1, variables)
        one = ones[recipe, dtype]
        other = train(backbone, recipe, dtype, how, DEVICES, variables)
        result[f"{recipe} {dtype} {how}"] = {
            **difference(one, other),
            "losses": one[0]["loss/total"].tolist(),
            "least_gradient_norm": float(one[0]["gradient_norm"].min()),
            "dtypes": sorted({str(x.dtype) for x in jax.tree.leaves((one[1], other[1]))}),
        }
    if which == "fast":
        result["by_itself"] = each_device_by_itself(variables)
        result["seen"] = seen_of_rows()
        result["placed"] = save_of_all_devices(workdir)
        result["refused"] = {how: refusal(how) for how in ("shard_map", "pmap")}
    print(json.dumps(result))


# From here on the tests, which have one device.


def run_main(which: str, workdir: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, which, str(workdir)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("eight_devices")


@pytest.fixture(scope="module")
def result(workdir: Path) -> dict[str, Any]:
    return run_main("fast", workdir)


def check_equal(found: dict[str, Any], recipe: str, dtype: str) -> None:
    # Momentum is of the last gradients, and no average tames the rounding of those.
    tolerance, of_momentum = {"float64": (1e-10, 1e-8), "float32": (2e-5, 1e-4)}[dtype]
    assert found["figures"] < tolerance
    assert found["variables"] < tolerance
    assert found["momentum"] < of_momentum
    assert found["dtypes"] == [dtype, "int32"]
    losses = found["losses"]
    assert len(losses) == STEPS
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])  # it did train
    if recipe == "paper":
        assert found["least_gradient_norm"] > OPTIMIZERS["paper"].clip  # and clipped


@pytest.mark.parametrize(("recipe", "dtype", "how"), CASES["fast"])
def test_eight_devices_equal_one(result: dict[str, Any], recipe: str, dtype: str, how: str) -> None:
    check_equal(result[f"{recipe} {dtype} {how}"], recipe, dtype)


@pytest.mark.slow
def test_eight_devices_equal_one_with_a_whole_resnet(tmp_path: Path) -> None:
    result = run_main("slow", tmp_path)
    for recipe, dtype, how in CASES["slow"]:
        check_equal(result[f"{recipe} {dtype} {how}"], recipe, dtype)


def test_devices_with_their_own_statistics_compute_what_a_hand_does(result: dict) -> None:
    found = result["by_itself"]
    # Figures are about 20 and 100, parameters and statistics about 1.
    assert found["loss"] < 1e-10
    assert found["gradient_norm"] < 1e-10
    assert found["params"] < 1e-12
    assert found["batch_stats"] < 1e-12


def test_running_statistics_are_the_mean_over_devices(result: dict) -> None:
    found = result["by_itself"]
    assert found["first_mean"] < 1e-12
    assert found["first_var"] < 1e-12
    assert found["not_of_all_rows"] > 1e-6


def test_a_checkpoint_of_eight_devices_is_read_by_one(result: dict, workdir: Path) -> None:
    assert result["placed"]["held_by"] == DEVICES
    assert len(jax.devices()) == 1
    saved, here = some_variables(), SingleDeviceSharding(jax.devices()[0])
    with Checkpoints(workdir, read_only=True) as checkpoints:
        restored = checkpoints.variables(9, abstract(lambda: saved, here))
    jax.tree.map(np.testing.assert_array_equal, restored, saved)
    assert restored["params"]["w"].sharding == here


def test_a_local_copy_is_on_one_device(result: dict) -> None:
    assert result["placed"]["everywhere"] == DEVICES
    assert result["placed"]["copy_held_by"] == 1
    assert result["placed"]["copy_equal"]


def test_rows_of_images_that_devices_hold_are_those_images(result: dict) -> None:
    seen = result["seen"]
    assert seen["held"] == seen["fed"] == seen["by_hand"]


def test_images_that_a_device_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 2**31}

    monkeypatch.setattr(jax, "local_devices", lambda: [Small()])
    require_room(2**30)
    with pytest.raises(InputError, match=r"the images need 1\.8 GiB, but a device has 2\.0 GiB"):
        require_room(int(1.8 * 2**30))
    with pytest.raises(ValueError, match="pmap"):
        ParallelStep(unused, "pmap").hold(np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize("how", ["shard_map", "pmap"])
def test_rows_that_do_not_divide_are_refused_with_the_numbers(result: dict, how: str) -> None:
    assert "8 rows" in result["refused"][how]
    assert "3 devices" in result["refused"][how]


def counts(monkeypatch: pytest.MonkeyPatch, **numbers: int) -> None:
    def count(number: int) -> Callable[[], int]:
        return lambda: number

    for name, number in numbers.items():
        monkeypatch.setattr(jax, name, count(number))


def test_pmap_over_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, process_count=2, local_device_count=4, device_count=8)
    with pytest.raises(InputError, match="not of 2: use shard_map"):
        ParallelStep(unused, "pmap")


def test_processes_with_unequal_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    counts(monkeypatch, process_count=2, local_device_count=1, device_count=5)
    with pytest.raises(InputError, match="2 processes share 5 devices, but this one has 1"):
        ParallelStep(unused)


@pytest.mark.parametrize("how", ["shard_map", "pmap"])
def test_what_was_compiled_is_not_compiled_again(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    def step(state: Any, batch: Any, seed: jax.Array) -> Any:
        return state + lax.psum(batch["labels"].sum(), AXIS), {}

    parallel = ParallelStep(cast(Step, step), how, devices=1)
    state: Any = parallel.place(cast(TrainState, jnp.int32(1)))
    batch = {"labels": np.arange(4)}
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        parallel.compile(state, batch, lambda work: work())
        state, _ = parallel(state, batch)
        state, _ = parallel(state, batch)
    assert int(state) == 13
    compiled = [r.getMessage() for r in caplog.records if "XLA compilation of" in r.getMessage()]
    assert len(compiled) == 1


if __name__ == "__main__":
    main(*sys.argv[1:])
