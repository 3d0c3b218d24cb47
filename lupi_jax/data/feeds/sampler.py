"""Which images make up the batch of a step: a pure function of (seed, step)."""

import dataclasses

import numpy as np

from lupi_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class RowsByLabel:
    """Row numbers grouped by label: label i has `counts[i]` of `order`, from `starts[i]` on."""

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
        """[len(labels) * images] rows: `images` of each label, with replacement."""
        position = rng.integers(0, self.counts[labels, None], (len(labels), images))
        return self.order[self.starts[labels, None] + position].ravel()


@dataclasses.dataclass(frozen=True, eq=False)
class IdentitySampler:
    """P x K sampling: P identities without replacement, K images of each with replacement.

    Row i of the visible and of the infrared images of a batch show the same identity. This is
    the baseline's and the released code's sampling (Ye et al., AGW); an identity with fewer than
    K images, or one, simply repeats.

    Attributes:
      seed: with the step, fixes a batch.
      tables: rows of the index by label, one table for each source modality, in a fixed order.
      classes: number of identities.
      identities: P.
      images: K.
    """

    seed: int
    tables: tuple[RowsByLabel, ...]
    classes: int
    identities: int
    images: int

    def __post_init__(self) -> None:
        if self.identities > self.classes:
            raise InputError(
                f"batch.identities = {self.identities} is more than the {self.classes} training "
                "identities: lower it"
            )

    @property
    def batch_size(self) -> int:
        """Rows of one modality in a batch, P * K."""
        return self.identities * self.images

    def __call__(self, step: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """The batch of `step`: rows of the index [P K] a table, and labels [P K] int32."""
        rng = np.random.default_rng([self.seed, 0xBA7C4, step])
        labels = rng.choice(self.classes, self.identities, replace=False)
        rows = tuple(table.draw(rng, labels, self.images) for table in self.tables)
        return rows, np.repeat(labels, self.images).astype(np.int32)
