"""What a feed gives: batches of uint8, the same bit for bit whichever feed makes them."""

import dataclasses

import numpy as np

from lupi_jax.errors import InputError

# {"visible": uint8 [n, h, w, 3], "infrared": the same, "labels": int32 [n]}; row i of both
# modalities shows identity labels[i]. The feed "device" has rows, int32 [n], in place of images.
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class HostRows:
    """The contiguous share of a global batch that one of several processes feeds."""

    process: int = 0
    processes: int = 1

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """This process's rows of a global [n, ...].

        Raises:
          InputError: n is not a multiple of the number of processes.
        """
        share, rest = divmod(len(rows), self.processes)
        if rest:
            raise InputError(
                f"a batch of {len(rows)} rows does not divide among {self.processes} processes: "
                "change batch.identities or batch.images"
            )
        return rows[self.process * share : (self.process + 1) * share]
