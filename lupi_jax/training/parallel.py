"""The step mapped over devices; the only module that knows a mesh.

Why not a plain `jax.jit` over the global batch, with no axis in the code? `pmap` is to stay, and a
function that it maps sees one device's rows: `BatchNorm` has to average over the axis, and the step
to gather features and to sum gradients. `batch_norm = "device"` needs each device's rows under
either. So of the 38 lines in `lupi_jax.models` and the 11 in `step.py` that speak of the axis none
could go, and a second, global step would stand beside them. On one device it is the same program.
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


def require_room(size: int) -> None:
    """Check that `size` bytes of images fit beside the step on a device.

    Raises:
      InputError: they would take more than 80 % of its memory.
    """
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if memory is not None and size > 0.8 * memory:
        raise InputError(
            f"data.feed = device: the images are {size / 2**30:.1f} GiB, and a device has "
            f"{memory / 2**30:.1f}: use tfdata or memmap, or lower data.image_size"
        )


class ParallelStep:
    """A per-device step as a function of the whole state and this process's rows of a batch.

    Attributes:
      devices: how many devices share a batch.
      state_sharding: where the step takes the state from.
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
        _check_processes(how)
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

        Raises:
          ValueError: the step is mapped by pmap.
        """
        if self._by_rows is None:
            raise ValueError("pmap would send the images to its devices at every step")
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

        Args:
          state: placed as the step takes it; not used up.
          batch: this process's rows.
          wait: calls what it is given and returns once that is over. With `StopRequest.during` a
            signal can end the compilation, which can take minutes.

        Raises:
          InputError: the rows do not divide among the devices.
        """
        with phase("tracing the step"):
            lowered = self.lower(state, self._rows_by_device(batch))

        def keep() -> None:
            self._compiled = lowered.compile()

        with phase("compiling the step, or reading it from the store"):
            wait(keep)

    def cost(self) -> Mapping[str, float]:
        """XLA's analysis of the compiled step, of one device: "flops", "bytes accessed", ...

        Raises:
          ValueError: the step has not been compiled.
        """
        if self._compiled is None:
            raise ValueError("compile the step first")
        return self._compiled.cost_analysis() or {}

    def memory(self) -> Any:
        """XLA's memory analysis of the compiled step, of one device; None where it has none.

        Raises:
          ValueError: the step has not been compiled.
        """
        if self._compiled is None:
            raise ValueError("compile the step first")
        return self._compiled.memory_analysis()

    def _rows_by_device(self, batch: Batch) -> Mapping[str, jax.Array | np.ndarray]:
        processes = jax.process_count()
        rows, local = len(batch["labels"]), self.devices // processes
        if rows % local:
            raise InputError(
                f"a batch of {rows * processes} rows per modality cannot be divided among "
                f"{self.devices} devices: change batch.identities or batch.images"
            )
        if self._by_rows is None:
            return {k: v.reshape(local, -1, *v.shape[1:]) for k, v in batch.items()}
        return {
            k: jax.make_array_from_process_local_data(self._by_rows, v) for k, v in batch.items()
        }


def _check_processes(how: str) -> None:
    processes = jax.process_count()
    if jax.local_device_count() * processes != jax.device_count():
        raise InputError(
            f"{processes} processes share {jax.device_count()} devices, and this one has "
            f"{jax.local_device_count()}: give every process equally many"
        )
    if how == "pmap" and processes > 1:
        raise InputError(
            f"parallel = pmap maps over the devices of one process, not of {processes}: "
            "use shard_map"
        )


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
