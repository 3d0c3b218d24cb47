"""The step mapped over devices; the only module that knows a mesh."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

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
        self.state_sharding: Sharding = SingleDeviceSharding(chosen[0])
        if self._pmap:
            if processes > 1:
                raise InputError(
                    f"parallel = pmap maps over the devices of one process, not of {processes}: "
                    "use shard_map"
                )
            self._step = jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=None, devices=chosen)
            return
        mesh = Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))
        self._sharding = NamedSharding(mesh, P(AXIS))
        self.state_sharding = NamedSharding(mesh, P())
        # The step's gradients and statistics are made equal on all devices by its own psum and
        # pmean; check_vma=False keeps shard_map from summing them a second time.
        mapped = jax.shard_map(
            step, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False
        )
        self._step = jax.jit(mapped, donate_argnums=0)

    def place(self, state: TrainState) -> TrainState:
        """Put a state where the step takes it from."""
        return jax.device_put(state, self.state_sharding)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step; `state` is used up, the metrics are still on the device.

        Raises:
          InputError: the rows do not divide among the devices.
        """
        processes = jax.process_count()
        rows, local = len(batch["labels"]), self.devices // processes
        if rows % local:
            raise InputError(
                f"a batch of {rows * processes} rows a modality does not divide among "
                f"{self.devices} devices: change batch.identities or batch.images"
            )
        return self._step(state, self._scatter(batch, local))

    def _scatter(self, batch: Batch, local: int) -> Mapping[str, jax.Array | np.ndarray]:
        if self._pmap:
            return {k: v.reshape(local, -1, *v.shape[1:]) for k, v in batch.items()}
        return {
            k: jax.make_array_from_process_local_data(self._sharding, v) for k, v in batch.items()
        }
