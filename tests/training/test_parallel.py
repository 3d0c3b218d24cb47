"""n devices compute what one does: in a process of its own, since devices are fixed at start."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from lupi_jax.models import EmbedNet, initialize
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.run import abstract

PROGRAM = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_enable_x64", True)
import numpy as np
from lupi_jax.config import OptimizerConfig
from lupi_jax.errors import InputError
from lupi_jax.losses import LossSettings
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.state import TrainState
from lupi_jax.training.step import AXIS, make_train_step
from lupi_jax.views import ViewSettings

model = EmbedNet(6, backbone="thin", axis_name=AXIS)
optimizer = OptimizerConfig(rate=0.01, warmup=2, unit="steps", milestones=(), factors=())
tx, rate = make_optimizer(optimizer, 1), learning_rate(optimizer, 1)
step = make_train_step(model, tx, seed=0, modalities=tuple(Modality), views=ViewSettings(pad=2),
                       loss=LossSettings(triplet="mean", color_free="released"), rate=rate)
rng = np.random.default_rng(0)
batches = [
    {"visible": rng.integers(0, 256, (8, 32, 16, 3), np.uint8),
     "infrared": rng.integers(0, 256, (8, 32, 16, 3), np.uint8),
     "labels": np.repeat(rng.permutation(6)[:4], 2).astype(np.int32)}
    for _ in range(3)
]
def run(how, devices):
    variables = initialize(model, jax.random.key(0), image_size=(32, 32))
    variables = jax.tree.map(lambda x: x.astype("float64"), variables)
    parallel = ParallelStep(step, how, devices)
    state, losses = parallel.place(TrainState.create(variables, tx)), []
    for batch in batches:
        state, metrics = parallel(state, batch)
        losses.append(float(metrics["loss/total"]))
    leaves = jax.tree.leaves((state.params, state.batch_stats, state.opt_state))
    return losses, [np.asarray(x) for x in leaves]

one = run("shard_map", 1)

# A checkpoint of four devices, for a process that has one.
model = EmbedNet(6, backbone="thin")
shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(7), image_size=(32, 32)))
variables = jax.tree.map(lambda x: np.arange(x.size, dtype="float32").reshape(x.shape), shapes)
state = ParallelStep(step, devices=4).place(TrainState.create(variables, tx))
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(state.replace(step=state.step + 9), {}, {})
    checkpoints.wait()
result = {"losses": one[0]}
for how, devices in (("shard_map", 4), ("pmap", 4)):
    losses, leaves = run(how, devices)
    result[how] = [
        float(np.max(np.abs(np.array(losses) - one[0]))),
        # Some gradients are zero but for rounding: that of a bias before a normalisation.
        max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6))
            for a, b in zip(leaves, one[1])),
    ]
try:
    ParallelStep(step, devices=3)(None, batches[0])
except InputError as error:
    result["refused"] = str(error)
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("four_devices")


@pytest.fixture(scope="module")
def result(workdir: Path) -> dict:
    command = [sys.executable, "-c", PROGRAM, str(workdir)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("how", ["shard_map", "pmap"])
def test_four_devices_equal_one(result: dict, how: str) -> None:
    losses, parameters = result[how]
    assert losses < 1e-10
    assert parameters < 1e-8
    assert result["losses"][0] != result["losses"][2]  # it did train


def test_a_checkpoint_of_four_devices_is_read_by_one(result: dict, workdir: Path) -> None:
    assert len(jax.devices()) == 1
    model = EmbedNet(6, backbone="thin")
    fresh = partial(initialize, model, jax.random.key(7), image_size=(32, 32))
    here = SingleDeviceSharding(jax.devices()[0])
    with Checkpoints(workdir, read_only=True) as checkpoints:
        restored = checkpoints.variables(9, abstract(fresh, here))
    for x in jax.tree.leaves(restored):
        np.testing.assert_array_equal(x, np.arange(x.size).reshape(x.shape))


def test_rows_that_do_not_divide_are_refused_with_the_numbers(result: dict) -> None:
    assert "8 rows" in result["refused"]
    assert "3 devices" in result["refused"]
