"""Map the step over devices. Only this module knows a mesh.

Why not a plain `jax.jit` over the global batch, without an axis in the code? `pmap` has to stay,
and a function that it maps sees only one device's rows. `BatchNorm` therefore averages over the
axis, and the step gathers features and sums gradients. `batch_norm = "device"` needs each device's
rows in either case. A global step would be a second implementation beside this one, and none of
the lines that mention the axis could be removed. On one device both are the same program.
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
    """All devices, ordered by process, as the rows of a batch are."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def everywhere() -> Sharding:
    """Placement in which every device of every process holds the whole array."""
    devices = _all_devices()
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0])
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), P())


def local_copy(tree: Any) -> Any:
    """Copy arrays that all devices hold to this process's first device, for its use alone."""
    return jax.tree.map(lambda x: jnp.copy(x.addressable_data(0)), tree)


def require_room(size: int) -> None:
    """Check that `size` bytes of images fit on a device beside the step.

    Raises:
      InputError: the images would take more than 80 % of a device's memory.
    """
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if memory is not None and size > 0.8 * memory:
        raise InputError(
            f"data.feed = device: the images need {size / 2**30:.1f} GiB, but a device has "
            f"{memory / 2**30:.1f} GiB: use tfdata or memmap, or lower data.image_size"
        )


class ParallelStep:
    """A step mapped over devices, which takes the whole state and this process's rows of a batch.

    Attributes:
      devices: number of devices that share a batch.
      state_sharding: placement of the state that the step takes.
    """

    def __init__(
        self, step: Step, how: str = "shard_map", devices: int | None = None, seed: int = 0
    ) -> None:
        """Map a step over devices.

        Args:
          step: the step of one device.
          how: "shard_map" (jit over a mesh) or "pmap".
          devices: number of devices to use, the first ones; None uses all.
          seed: seed that every step gets.

        Raises:
          InputError: processes have unequal numbers of devices, or `how` is "pmap" with several
            processes.
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
        """Place a state on the devices as the step takes it."""
        return jax.device_put(state, self.state_sharding)

    def hold(self, images: np.ndarray) -> None:
        """Keep `images` [n, h, w, 3] uint8 on every device. Later batches hold row numbers.

        Raises:
          ValueError: the step is mapped by pmap.
        """
        if self._by_rows is None:
            raise ValueError("pmap would copy the images to its devices at every step")
        self._images = jax.make_array_from_callback(
            images.shape, self.state_sharding, lambda place: images[place]
        )
        self._compiled = None

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Take one step. It reuses the memory of `state`; the metrics stay on the device.

        Raises:
          InputError: the rows cannot be divided among the devices.
        """
        step = self._compiled or self._step
        if self._by_rows is None and self.devices > 1:
            step = self._step  # the compiled program refuses a state that pmap has not placed
        return step(state, self._rows_by_device(batch), self._seed, self._images)

    def lower(self, state: Any, batch: Mapping[str, Any]) -> Lowered:
        """Lower the step for arrays or shapes that are placed as it takes them."""
        return self._step.lower(state, batch, self._seed, self._images)

    def compile(self, state: TrainState, batch: Batch, wait: Wait) -> None:
        """Compile the step for the shapes of a state and a batch. Later calls need the same ones.

        Args:
          state: a state, placed as the step takes it. It stays valid.
          batch: this process's rows.
          wait: function that calls its argument and returns after that. With
            `StopRequest.during` a signal can end the compilation, which can take minutes.

        Raises:
          InputError: the rows cannot be divided among the devices.
        """
        with phase("tracing the step"):
            lowered = self.lower(state, self._rows_by_device(batch))

        def keep() -> None:
            self._compiled = lowered.compile()

        with phase("compiling the step, or reading it from the cache"):
            wait(keep)

    def cost(self) -> Mapping[str, float]:
        """XLA's cost analysis of the compiled step on one device ("flops", "bytes accessed", ...).

        Raises:
          ValueError: the step has not been compiled.
        """
        if self._compiled is None:
            raise ValueError("compile the step first")
        return self._compiled.cost_analysis() or {}

    def memory(self) -> Any:
        """XLA's memory analysis of the compiled step on one device, or None if XLA lacks it.

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
            f"{processes} processes share {jax.device_count()} devices, but this one has "
            f"{jax.local_device_count()}: give every process the same number"
        )
    if how == "pmap" and processes > 1:
        raise InputError(
            f"parallel = pmap maps over the devices of one process, not of {processes}: "
            "use shard_map"
        )


def _with_images(of_pixels: Step) -> Callable[..., tuple[TrainState, Metrics]]:
    """The step, which also accepts images on the device and a batch of their row numbers."""

    def step(
        state: TrainState, batch: Mapping[str, jax.Array], seed: jax.Array, images: jax.Array | None
    ) -> tuple[TrainState, Metrics]:
        if images is not None:
            batch = {name: x if name == "labels" else images[x] for name, x in batch.items()}
        return of_pixels(state, batch, seed)

    return step


def _mapped(step: Callable[..., Any], how: str, mesh: Mesh) -> Any:
    """Map `step` over devices. Only the batch is divided among them."""
    if how == "pmap":
        devices = list(mesh.devices)
        return jax.pmap(step, AXIS, in_axes=(None, 0, None, None), out_axes=None, devices=devices)
    # The step's own psum and pmean make gradients and statistics equal on all devices.
    # check_vma=False keeps shard_map from summing them a second time.
    inputs = (P(), P(AXIS), P(), P())
    mapped = jax.shard_map(step, mesh=mesh, in_specs=inputs, out_specs=P(), check_vma=False)
    return jax.jit(mapped, donate_argnums=0)
