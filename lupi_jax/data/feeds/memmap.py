"""The feed without TensorFlow: the sampler, a reader of images, and a thread ahead."""

from collections.abc import Iterator

import numpy as np

from lupi_jax.data.feeds.batch import Batch, HostRows
from lupi_jax.data.feeds.sampler import IdentitySampler
from lupi_jax.data.images import ReadRow, parallel_map


def memmap_batches(
    read: ReadRow,
    sampler: IdentitySampler,
    names: tuple[str, ...],
    start: int,
    stop: int,
    host: HostRows,
    prefetch: int = 4,
) -> Iterator[Batch]:
    """The batches of steps `start`..`stop` - 1, gathered ahead of time by a thread.

    Args:
      read: of a prepared set (`prepared_reader`).
      sampler: rows of a step.
      names: key of each of the sampler's tables in the batch.
      start: first step: since a batch is a function of its step, resuming needs nothing else.
      stop: step after the last.
      host: which rows of every batch this process feeds.
      prefetch: batches kept ready.
    """

    def gather(step: int) -> Batch:
        rows, labels = sampler(step)
        batch = {
            name: np.stack([read(row) for row in host(r)])
            for name, r in zip(names, rows, strict=True)
        }
        return {**batch, "labels": host(labels)}

    return parallel_map(gather, iter(range(start, stop)), 1, prefetch)
