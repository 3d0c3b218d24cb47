"""Nearest images of a gallery, and the pictures that show them."""

import dataclasses

import numpy as np

from lupi_jax.data import read_image
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.metrics import pairwise_distances
from lupi_jax.evaluation.protocols import Trial
from lupi_jax.pictures import RankingRow


def nearest(
    query: np.ndarray, gallery: np.ndarray, top: int, excluded: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` nearest gallery rows of each query by cosine distance.

    Args:
      query: [q, d], L2-normalised.
      gallery: [g, d], L2-normalised.
      top: how many; fewer come back from a smaller gallery.
      excluded: [q, g] bool, gallery rows that are not there for a query: last, infinitely far.

    Returns:
      Rows of the gallery [q, k] and their distances [q, k], nearest first, k = min(top, g).
    """
    distances = pairwise_distances(query, gallery)
    if excluded is not None:
        distances = np.where(excluded, np.inf, distances)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :top]
    return rows, np.take_along_axis(distances, rows, axis=1)


def ranking_rows(
    features: Features, trial: Trial, size: tuple[int, int], queries: int = 6, top: int = 10
) -> list[RankingRow]:
    """Queries spread evenly over a trial's, each with its `top` nearest by the neck's feature.

    Args:
      features: of all images of the trial.
      trial: who queries whom.
      size: (height, width) the images are shown at.
      queries: how many are shown.
      top: images of the gallery shown beside each.

    Raises:
      InputError: an image cannot be read.
    """
    spread = np.linspace(0, len(trial.query) - 1, min(queries, len(trial.query)))
    shown = trial.query[spread.round().astype(int)]
    excluded = dataclasses.replace(trial, query=shown).excluded
    rows, distances = nearest(features.neck[shown], features.neck[trial.gallery], top, excluded)
    return [
        ranking_row(features, q, features, trial.gallery[r[np.isfinite(d)]], size)
        for q, r, d in zip(shown, rows, distances, strict=True)
    ]


def ranking_row(
    query: Features,
    row: int,
    gallery: Features,
    rows: np.ndarray,
    size: tuple[int, int],
) -> RankingRow:
    """One query and its ranked images, framed right or wrong where both identities are known.

    Identities below 0 are unknown.

    Raises:
      InputError: an image cannot be read.
    """
    identity = int(query.index.identities[row])
    found = gallery.index[rows]
    known = identity >= 0

    def title(number: int, camera: int, path: str) -> str:
        return f"{number} · cam {camera}" if number >= 0 else path.rpartition(".")[0][-14:]

    return RankingRow(
        query=read_image(query.index.root / query.index.paths[row], size),
        query_title=title(identity, query.index.cameras[row], query.index.paths[row]),
        gallery=[read_image(found.root / path, size) for path in found.paths],
        titles=[
            title(*image)
            for image in zip(found.identities, found.cameras, found.paths, strict=True)
        ],
        correct=[bool(i == identity) if known and i >= 0 else None for i in found.identities],
    )
