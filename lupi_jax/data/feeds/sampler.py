"""The choice of images for the batch of a step, a pure function of (seed, step)."""

import dataclasses

import numpy as np

from lupi_jax.errors import InputError, plural

Batch = dict[str, np.ndarray]
"""What a step trains on: {"visible": [n, ...], "infrared": [n, ...], "labels": int32 [n]}.

Entry i of both modalities shows identity labels[i]. The sampler and the feed "device" give row
numbers of the index, int32 [n]. The other feeds give pixels, uint8 [n, h, w, 3].
"""


@dataclasses.dataclass(frozen=True)
class HostRows:
    """The contiguous share of a global batch that one of several processes feeds.

    Attributes:
      process: number of this process, from 0.
      processes: number of processes.
    """

    process: int = 0
    processes: int = 1

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """This process's rows of a global array [n, ...].

        Raises:
          InputError: n is not a multiple of the number of processes.
        """
        share, rest = divmod(len(rows), self.processes)
        if rest:
            raise InputError(
                f"a batch of {plural(len(rows), 'row')} cannot be divided among {self.processes} "
                "processes: change batch.identities or batch.images"
            )
        return rows[self.process * share : (self.process + 1) * share]


@dataclasses.dataclass(frozen=True, eq=False)
class RowsByLabel:
    """Row numbers grouped by label.

    Attributes:
      order: [n] the row numbers, sorted by label.
      starts: [classes] where the rows of label i begin in `order`.
      counts: [classes] how many rows label i has.
    """

    order: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def group(cls, rows: np.ndarray, labels: np.ndarray, classes: int) -> "RowsByLabel":
        """Group `rows` [n] by their `labels` [n], whole numbers below `classes`."""
        counts = np.bincount(labels, minlength=classes)
        order = rows[np.argsort(labels, kind="stable")]
        return cls(order, np.cumsum(counts) - counts, counts)

    def draw(self, rng: np.random.Generator, labels: np.ndarray, images: int) -> np.ndarray:
        """[len(labels) * images] rows, int32: `images` of each label, with replacement."""
        position = rng.integers(0, self.counts[labels, None], (len(labels), images))
        return self.order[self.starts[labels, None] + position].ravel().astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class IdentitySampler:
    """P x K sampling: P identities without replacement, K images of each with replacement.

    Row i of the visible images and row i of the infrared images of a batch show the same identity.
    The baseline and the released code sample like this (Ye et al., AGW). Since images are drawn
    with replacement, an identity may have fewer than K images, even one.

    Attributes:
      seed: determines a batch, together with the step.
      tables: {source modality: its rows of the index, by label}. The order of the modalities
        determines what is drawn.
      classes: number of identities to draw from.
      identities: P, identities per batch.
      images: K, images per identity and modality.
    """

    seed: int
    tables: dict[str, RowsByLabel]
    classes: int
    identities: int
    images: int

    def __post_init__(self) -> None:
        if self.identities > self.classes:
            raise InputError(too_few_identities(self.identities, self.classes))

    @property
    def batch_size(self) -> int:
        """Images per modality in a batch, P * K."""
        return self.identities * self.images

    def __call__(self, step: int) -> Batch:
        """The batch of `step`; images are row numbers of the index, int32 [P * K]."""
        rng = np.random.default_rng([self.seed, 0xBA7C4, step])
        labels = rng.choice(self.classes, self.identities, replace=False)
        rows = {m: table.draw(rng, labels, self.images) for m, table in self.tables.items()}
        return {**rows, "labels": np.repeat(labels, self.images).astype(np.int32)}


def too_few_identities(wanted: int, there: int) -> str:
    """What is wrong if a batch is to have more identities than there are, and what to do."""
    return f"batch.identities = {wanted} is more than the {there} training identities: lower it"
