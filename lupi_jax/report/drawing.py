"""Pictures of what `evaluate`, `search` and `compare_runs` found, written as files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from lupi_jax.data.sources.folder import name_people
from lupi_jax.evaluation import Results, RunComparison, SearchResults
from lupi_jax.evaluation.ranking import RankingRow, ranking_row, ranking_rows
from lupi_jax.report import pictures
from lupi_jax.runtime.files import expand

DRAWN = 10
"""Number of queries in the picture of a search, and of images per query."""


def draw_results(results: Results, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw the ranking of a few queries per pair of modalities, and the run's training curves.

    Nothing is drawn of several networks, of an untrained one, or of re-ranked figures, because a
    picture ranks by distance alone.

    Args:
      results: what `lupi_jax.evaluate` found.
      folder: directory of the pictures.

    Returns:
      The paths of the pictures, named after `results.name`, and "training.png".

    Raises:
      InputError: an image cannot be read.
      OSError: a picture cannot be written.
    """
    from lupi_jax.training.logging import read_metrics

    run, found = results.run, results.evaluation
    if run is None or found is None or run.name == "untrained":
        return []
    if run.config.evaluation.reranking != "none":
        return []
    folder, drawn = expand(folder), []
    for task in found.tasks:
        picture = folder / f"{results.name}-{task.query}-to-{task.gallery}.png"
        if picture not in drawn:  # the first search of a pair
            rows = ranking_rows(found.features, task.trials[0], run.config.data.image_size)
            title = f"{task.query} queries, {task.gallery} gallery: {task.name}"
            pictures.ranking_picture(picture, rows, title)
            drawn.append(picture)
    workdir = results.record["workdir"]
    if workdir and (curves := read_metrics(Path(workdir))):
        drawn.append(folder / "training.png")
        pictures.training_curves(drawn[-1], curves)
    return drawn


def draw_search(results: SearchResults, path: str | os.PathLike[str]) -> None:
    """Draw the ranking of the first `DRAWN` queries of a search, with up to `DRAWN` images each.

    Args:
      results: what `lupi_jax.search` found.
      path: the picture; its ending chooses the format.

    Raises:
      InputError: an image cannot be read.
      OSError: the picture cannot be written.
    """
    rows = [_search_row(results, place) for place in range(len(results.queries))[:DRAWN]]
    query, gallery = results.modalities
    pictures.ranking_picture(expand(path), rows, f"{query} queries, {gallery} gallery")


def draw_comparison(comparison: RunComparison, path: str | os.PathLike[str]) -> None:
    """Draw the training curves of compared runs, one colour per method.

    Args:
      comparison: what `lupi_jax.compare_runs` found.
      path: the picture; its ending chooses the format.

    Raises:
      OSError: the picture cannot be written.
    """
    from lupi_jax.training.logging import read_metrics

    curves = {
        name: [read_metrics(workdir) for workdir in own]
        for name, own in comparison.workdirs.items()
    }
    pictures.compared_curves(expand(path), curves)


def _search_row(results: SearchResults, place: int) -> RankingRow:
    """A query and its first images as a picture shows them.

    If all of them lie in one data set of the folder layout, their paths give the identities, and
    the picture tells right from wrong. A number means the same person only within one data set.
    """
    rows = results.rows[place, :DRAWN]
    asked, found = results.query[np.array([place])], results.gallery[rows]
    (root, own), (other, others) = name_people(asked.index), name_people(found.index)
    if root is not None and root == other:
        asked = dataclasses.replace(asked, index=own)
        found = dataclasses.replace(found, index=others)
    row = ranking_row(asked, 0, found, np.arange(len(rows)), results.image_size)
    if results.matches is None:
        return row
    matched = results.matches[place, : len(rows)].tolist()
    title = row.query_title if any(matched) else f"{row.query_title}\nno match"
    return dataclasses.replace(row, query_title=title, matched=matched)
