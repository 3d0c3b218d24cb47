"""The step mapped over devices; the only module that knows a mesh.

The step names its axis, and is no plain `jax.jit` over the global batch: a function that `pmap`
maps, and `batch_norm = "device"`, see one device's rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Compiled, Lowered

from lupi_jax.data import Batch
from lupi_jax.errors import InputError
from lupi_jax.runtime.phases import phase
from lupi_jax.training.step import AXIS, Metrics, Step, TrainState

Wait = Callable[[Callable[[], object]], object]


def _all_devices() -> list[Any]:
    """Those of one process stand together, as its rows do in a batch."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def everywhere() -> Sharding:
    """Where every device of every process holds the whole of an array."""
    devices = _all_devices()
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0])
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), P())


def local_copy(tree: Any) -> Any:
    """What all devices hold, on this process's first one, for this process to use alone."""
    return jax.tree.map(lambda x: jnp.copy(x.addressable_data(0)), tree)


class ParallelStep:
    """A per-device step as a function of the whole state and this process's rows of a batch.

    The step takes the state from `state_sharding`.
    """

    def __init__(
        self, step: Step, how: str = "shard_map", devices: int | None = None, seed: int = 0
    ) -> None:
        """Map `step` by "shard_map" (jit over a mesh) or "pmap", over the first `devices`.

        `seed` is handed to every step.

        Raises:
          InputError: processes have unequal numbers of devices, or there are several and `how` is
            "pmap".
        """
        processes = jax.process_count()
        if jax.local_device_count() * processes != jax.device_count():
            raise InputError(
                f"{processes} processes share {jax.device_count()} devices, and this one has "
                f"{jax.local_device_count()}: give each as many"
            )
        if how == "pmap" and processes > 1:
            raise InputError(
                f"parallel = pmap maps in one process, not of {processes}: use shard_map"
            )
        chosen = _all_devices()[:devices]
        mesh = Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))
        self.devices = len(chosen)
        self._seed = np.uint32(seed)
        self._images: jax.Array | None = None
        self._compiled: Compiled | None = None
        self._by_rows: Sharding | None = None
        self.state_sharding: Sharding = SingleDeviceSharding(chosen[0])
        if how == "shard_map":
            self._by_rows = NamedSharding(mesh, P(AXIS))
            self.state_sharding = NamedSharding(mesh, P())
        self._step = _mapped(_with_images(step), how, mesh)

    def place(self, state: TrainState) -> TrainState:
        """Put a state where the step takes it from."""
        return jax.device_put(state, self.state_sharding)

    def hold(self, images: np.ndarray) -> None:
        """Keep `images` [n, h, w, 3] uint8 on every device; from now on batches name their rows.

        Under pmap they would go to the devices at every step, and a configuration refuses it.
        """
        self._images = jax.make_array_from_callback(
            images.shape, self.state_sharding, lambda place: images[place]
        )
        self._compiled = None

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step; `state` is used up, the metrics are still on the device.

        Raises:
          InputError: the rows do not divide among the devices.
        """
        step = self._compiled or self._step
        return step(state, self._rows_by_device(batch), self._seed, self._images)

    def lower(self, state: Any, batch: Mapping[str, Any]) -> Lowered:
        """The step as JAX compiles it for arrays or shapes that are placed as it takes them."""
        return self._step.lower(state, batch, self._seed, self._images)

    def compile(self, state: TrainState, batch: Batch, wait: Wait) -> None:
        """Compile the step for a state and a batch such as these; calls then take no others.

        `wait` calls what it is given and returns once that is over. With `StopRequest.during` a
        signal can end the compilation, which can take minutes.
        """
        with phase("tracing the step"):
            lowered = self.lower(state, self._rows_by_device(batch))

        def keep() -> None:
            self._compiled = lowered.compile()

        with phase("compiling the step, or reading it from the store"):
            wait(keep)

    def cost(self) -> Mapping[str, float]:
        """XLA's analysis of the compiled step, of one device: "flops", "bytes accessed", ..."""
        assert self._compiled is not None, "compile the step first"
        return self._compiled.cost_analysis() or {}

    def _rows_by_device(self, batch: Batch) -> Mapping[str, jax.Array | np.ndarray]:
        processes = jax.process_count()
        rows, local = len(batch["labels"]), self.devices // processes
        if rows % local:
            raise InputError(
                f"a batch of {rows * processes} rows a modality does not divide among "
                f"{self.devices} devices: change batch.identities or batch.images"
            )
        if self._by_rows is None:
            return {k: v.reshape(local, -1, *v.shape[1:]) for k, v in batch.items()}
        return {
            k: jax.make_array_from_process_local_data(self._by_rows, v) for k, v in batch.items()
        }


def _with_images(of_pixels: Step) -> Callable[..., tuple[TrainState, Metrics]]:
    """The step, which also takes images that the device holds, and rows of them as a batch."""

    def step(
        state: TrainState, batch: Mapping[str, jax.Array], seed: jax.Array, images: jax.Array | None
    ) -> tuple[TrainState, Metrics]:
        if images is not None:
            batch = {name: x if name == "labels" else images[x] for name, x in batch.items()}
        return of_pixels(state, batch, seed)

    return step


def _mapped(step: Callable[..., Any], how: str, mesh: Mesh) -> Any:
    """`step`, of which only the batch is divided among devices."""
    if how == "pmap":
        devices = list(mesh.devices)
        return jax.pmap(step, AXIS, in_axes=(None, 0, None, None), out_axes=None, devices=devices)
    # The step's gradients and statistics are made equal on all devices by its own psum and pmean;
    # check_vma=False keeps shard_map from summing them a second time.
    inputs = (P(), P(AXIS), P(), P())
    mapped = jax.shard_map(step, mesh=mesh, in_specs=inputs, out_specs=P(), check_vma=False)
    return jax.jit(mapped, donate_argnums=0)
