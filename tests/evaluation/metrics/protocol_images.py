"""Images written as counts, for the tests of evaluation protocols."""

import random
from pathlib import Path

import numpy as np

from lupi_jax import Modality
from lupi_jax.data import Index
from lupi_jax.evaluation.metrics import Trial

V, I, G = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE  # noqa: E741

Counts = dict[tuple[Modality, int, int], int]
"""{(modality, identity, camera): number of images}"""


def make_images(counts: Counts, shuffled: int | None = None) -> Index:
    """Images named as in SYSU-MM01, in the order given, or shuffled by a seed."""
    rows = [
        (f"cam{camera}/{identity:04d}/{n:04d}.jpg", identity, camera, str(modality))
        for (modality, identity, camera), count in counts.items()
        for n in range(1, count + 1)
    ]
    if shuffled is not None:
        random.Random(shuffled).shuffle(rows)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Index(Path(), *columns)


def with_intermediate(images: Index) -> Index:
    """`images`, then one intermediate row for each visible image."""
    rows = np.flatnonzero(images.modalities == V)
    both = images[np.concatenate([np.arange(len(images)), rows])]
    modalities = np.concatenate([images.modalities, np.full(len(rows), str(G))])
    return Index(both.root, both.paths, both.identities, both.cameras, modalities)


def hidden(trial: Trial) -> np.ndarray:
    assert trial.excluded is not None
    return trial.excluded


def shown(images: Index, trial: Trial) -> list[str]:
    return images.paths[trial.gallery].tolist()
