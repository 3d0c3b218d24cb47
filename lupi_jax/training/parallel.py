"""The step mapped over devices; the only module that knows a mesh."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Lowered

from lupi_jax.data import Batch
from lupi_jax.errors import InputError
from lupi_jax.training.state import TrainState
from lupi_jax.training.step import AXIS, Metrics, Step


def everywhere() -> Sharding:
    """Where every device of every process holds the whole of an array."""
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0])
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), P())


def local_copy(tree: Any) -> Any:
    """What all devices hold, on this process's first one, for this process to use alone."""
    return jax.tree.map(lambda x: jnp.copy(x.addressable_data(0)), tree)


def _looking_up(step: Step) -> Callable[..., tuple[TrainState, Metrics]]:
    """`step`, of a batch's images or of their rows among those held on the device."""

    def mapped(
        state: TrainState, batch: Mapping[str, Any], held: jax.Array | None
    ) -> tuple[TrainState, Metrics]:
        if held is not None:
            batch = {k: v if k == "labels" else held[v] for k, v in batch.items()}
        return step(state, batch)

    return mapped


class ParallelStep:
    """A per-device step as a function of the whole state and this process's rows of a batch.

    Attributes:
      devices: how many devices share a batch.
      state_sharding: where the step takes the state from.
    """

    def __init__(self, step: Step, how: str = "shard_map", devices: int | None = None) -> None:
        """Map `step` by "shard_map" (jit over a mesh) or "pmap", over the first `devices`.

        Raises:
          InputError: processes have unequal numbers of devices, or there are several and `how` is
            "pmap".
        """
        self.devices = devices or jax.device_count()
        processes = jax.process_count()
        if jax.local_device_count() * processes != jax.device_count():
            raise InputError(
                f"{processes} processes share {jax.device_count()} devices, and this one has "
                f"{jax.local_device_count()}: give each as many"
            )
        # A process's devices stand together, as its rows do in a batch.
        chosen = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))[: self.devices]
        self._pmap = how == "pmap"
        self._held: jax.Array | None = None
        self.state_sharding: Sharding = SingleDeviceSharding(chosen[0])
        if self._pmap:
            if processes > 1:
                raise InputError(
                    f"parallel = pmap maps over the devices of one process, not of {processes}: "
                    "use shard_map"
                )
            self._step = jax.pmap(
                _looking_up(step), AXIS, in_axes=(None, 0, None), out_axes=None, devices=chosen
            )
            return
        mesh = Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))
        self._sharding = NamedSharding(mesh, P(AXIS))
        self.state_sharding = NamedSharding(mesh, P())
        # The step's gradients and statistics are made equal on all devices by its own psum and
        # pmean; check_vma=False keeps shard_map from summing them a second time.
        mapped = jax.shard_map(
            _looking_up(step),
            mesh=mesh,
            in_specs=(P(), P(AXIS), P()),
            out_specs=P(),
            check_vma=False,
        )
        self._step = jax.jit(mapped, donate_argnums=0)

    def place(self, state: TrainState) -> TrainState:
        """Put a state where the step takes it from."""
        return jax.device_put(state, self.state_sharding)

    def hold(self, images: np.ndarray) -> None:
        """Keep `images` [n, h, w, 3] uint8 on every device; from now on batches name their rows.

        Raises:
          InputError: they would take more than 80 % of a device's memory.
        """
        memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
        if memory is not None and images.nbytes > 0.8 * memory:
            raise InputError(
                f"data.feed = device: {len(images)} images are {images.nbytes / 2**30:.1f} GiB, "
                f"a device has {memory / 2**30:.1f}: use tfdata or memmap, or lower data.image_size"
            )
        self._held = jax.make_array_from_callback(
            images.shape, self.state_sharding, lambda place: images[place]
        )

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step; `state` is used up, the metrics are still on the device.

        Raises:
          InputError: the rows do not divide among the devices.
        """
        return self._step(state, self._rows_by_device(batch), self._held)

    def lower(self, state: TrainState, batch: Batch) -> Lowered:
        """The step as JAX would compile it for these arguments, of which none is used up."""
        return self._step.lower(state, self._rows_by_device(batch), self._held)

    def cost(self, state: TrainState, batch: Batch) -> Mapping[str, float]:
        """XLA's analysis of the compiled step, of one device: "flops", "bytes accessed", ..."""
        return self.lower(state, batch).compile().cost_analysis() or {}

    def _rows_by_device(self, batch: Batch) -> Mapping[str, jax.Array | np.ndarray]:
        processes = jax.process_count()
        rows, local = len(batch["labels"]), self.devices // processes
        if rows % local:
            raise InputError(
                f"a batch of {rows * processes} rows a modality does not divide among "
                f"{self.devices} devices: change batch.identities or batch.images"
            )
        if self._pmap:
            return {k: v.reshape(local, -1, *v.shape[1:]) for k, v in batch.items()}
        return {
            k: jax.make_array_from_process_local_data(self._sharding, v) for k, v in batch.items()
        }
