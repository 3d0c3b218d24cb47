"""The step mapped over devices; the only module that knows a mesh."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from lupi_jax.data import Batch
from lupi_jax.errors import InputError
from lupi_jax.training.state import TrainState
from lupi_jax.training.step import AXIS, Metrics, Step


class ParallelStep:
    """A per-device step as a function of the whole state and this process's rows of a batch.

    Attributes:
      devices: how many devices share a batch.
      state_sharding: where the step takes the state from.
    """

    def __init__(self, step: Step, how: str = "shard_map", devices: int | None = None) -> None:
        """Map `step` by "shard_map" (jit over a mesh) or "pmap", over the first `devices`."""
        self.devices = devices or jax.device_count()
        chosen = jax.devices()[: self.devices]
        self._pmap = how == "pmap"
        self.state_sharding: Sharding = SingleDeviceSharding(chosen[0])
        if self._pmap:
            self._step = jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=None, devices=chosen)
            return
        mesh = jax.make_mesh((self.devices,), (AXIS,), (AxisType.Auto,), devices=chosen)
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
        rows, local = len(batch["labels"]), self.devices // jax.process_count()
        if rows % local:
            raise InputError(
                f"a batch of {rows} rows a modality does not divide among {local} devices: change "
                "batch.identities or batch.images"
            )
        return self._step(state, self._scatter(batch, local))

    def _scatter(self, batch: Batch, local: int) -> Mapping[str, jax.Array | np.ndarray]:
        if self._pmap:
            return {k: v.reshape(local, -1, *v.shape[1:]) for k, v in batch.items()}
        return {
            k: jax.make_array_from_process_local_data(self._sharding, v) for k, v in batch.items()
        }
