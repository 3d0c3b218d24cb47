"""From features and tasks to rows of figures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.metrics import (
    RetrievalMetrics,
    Task,
    Trial,
    feature_metrics,
    k_reciprocal_distances,
    mean_and_std,
    pairwise_distances,
    retrieval_metrics,
)
from lupi_jax.evaluation.metrics.retrieval import BLOCK_ELEMENTS
from lupi_jax.runtime.progress import Show, silent

RANKS = (1, 5, 10, 20)
FEATURES = ("neck", "pooled")

FIGURES = {**{f"rank{k}": f"R{k}" for k in RANKS}, "mean_ap": "mAP", "mean_inp": "mINP"}
"""{figure of a row: its heading in a table}."""


class Measured(NamedTuple):
    """The metrics of a task's trials with one feature, "neck" or "pooled"."""

    task: Task
    feature: str
    trials: list[RetrievalMetrics]

    @property
    def queries(self) -> np.ndarray:
        """[q] row numbers of the queries, the same in all trials."""
        return self.task.trials[0].query

    @property
    def average_precision(self) -> np.ndarray:
        """[q] average precision of each query, mean over trials; NaN without a true match.

        `compare` takes it.
        """
        return np.mean([metrics.average_precision for metrics in self.trials], axis=0)


def _figures(metrics: RetrievalMetrics) -> dict[str, float]:
    ranks = {f"rank{k}": float(metrics.cmc[k - 1]) for k in RANKS}
    return {**ranks, "mean_ap": metrics.mean_ap, "mean_inp": metrics.mean_inp}


def figure_text(row: Mapping[str, Any], name: str) -> str:
    """A figure of a row of `evaluate_features` in percent, with its spread if it has one."""
    spread = f" ± {100 * row['std'][name]:.2f}" if "std" in row else ""
    return f"{100 * row[name]:.2f}{spread}"


def average(figures: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """{figure: its mean}, and with several also "std", {figure: standard deviation}."""
    found = {name: mean_and_std([each[name] for each in figures]) for name in figures[0]}
    averaged: dict[str, Any] = {name: mean for name, (mean, _) in found.items()}
    if len(figures) > 1:
        averaged["std"] = {name: std for name, (_, std) in found.items()}
    return averaged


def evaluate_features(
    features: Features,
    tasks: Sequence[Task],
    reranking: str = "none",
    names: Sequence[str] = FEATURES,
) -> list[dict[str, Any]]:
    """Measure every task with each feature; one row of figures per task and feature.

    Args:
      features: features of all images of the tasks.
      tasks: the tasks to measure.
      reranking: "none" or "k_reciprocal", which re-ranks each trial's queries and gallery.
      names: the features to measure, "neck", "pooled" or both.

    Returns:
      Rows with "query", "gallery" (modalities), "search" (the task's name), "feature",
      "reranking", "trials", "queries", "valid_queries" and "gallery_images" (numbers), and the
      means over trials of `FIGURES`, in [0, 1]; with several trials also "std", {figure: standard
      deviation}.
    """
    return [row_of(m, reranking) for m in measure_tasks(features, tasks, reranking, names)]


def measure_tasks(
    features: Features,
    tasks: Sequence[Task],
    reranking: str = "none",
    names: Sequence[str] = FEATURES,
    show: Show = silent,
) -> list[Measured]:
    """The metrics that each row of `evaluate_features` summarises, with every query's figures."""
    measured, total = [], len(tasks) * len(names)
    advance = show("searches")
    ids = features.index.identities
    for task in tasks:
        for name in names:
            trials = _measure(getattr(features, name), ids, task, reranking)
            measured.append(Measured(task, name, trials))
            advance(len(measured), total)
    return measured


def row_of(measured: Measured, reranking: str) -> dict[str, Any]:
    """A row of `evaluate_features`."""
    task, name, trials = measured
    return {
        "query": str(task.query),
        "gallery": str(task.gallery),
        "search": task.name,
        "feature": name,
        "reranking": reranking,
        "trials": len(trials),
        "queries": len(task.trials[0].query),
        "valid_queries": trials[0].valid_queries,
        "gallery_images": len(task.trials[0].gallery),
        **average([_figures(metrics) for metrics in trials]),
    }


def average_runs(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over networks of the rows of `evaluate_features`.

    "trials" becomes the number of networks. Counts are means too.

    Args:
      runs: the rows of each network, with the same tasks in the same order.

    Raises:
      ValueError: the tasks differ.
    """
    averaged = []
    for rows in zip(*runs, strict=True):
        same = ("query", "gallery", "search", "feature", "reranking")
        row: dict[str, Any] = {name: rows[0][name] for name in same}
        if any(other[name] != row[name] for other in rows for name in same):
            raise ValueError(
                "the runs have different tasks: give rows of the same tasks in the same order"
            )
        row["trials"] = len(rows)
        for name in ("queries", "valid_queries", "gallery_images"):
            row[name] = round(mean_and_std([other[name] for other in rows])[0])
        averaged.append(row | average([{name: other[name] for name in FIGURES} for other in rows]))
    return averaged


def _measure(
    values: np.ndarray, ids: np.ndarray, task: Task, reranking: str
) -> list[RetrievalMetrics]:
    def metrics(trial: Trial, distances: np.ndarray) -> RetrievalMetrics:
        identities = ids[trial.query], ids[trial.gallery]
        return retrieval_metrics(distances, *identities, trial.excluded, trial.cmc)

    trials = task.trials
    if reranking != "none":
        reranked = (k_reciprocal_distances(values[t.query], values[t.gallery]) for t in trials)
        return [metrics(t, distances) for t, distances in zip(trials, reranked, strict=True)]
    # The galleries of a task are draws from the same images: one product serves all of them.
    query, shown = trials[0].query, np.unique(np.concatenate([t.gallery for t in trials]))
    shared = all(np.array_equal(t.query, query) for t in trials)
    if shared and len(query) * len(shown) <= BLOCK_ELEMENTS:
        whole = pairwise_distances(values[query], values[shown])
        return [metrics(t, whole.take(np.searchsorted(shown, t.gallery), axis=1)) for t in trials]
    return [
        feature_metrics(
            values[t.query],
            values,
            ids[t.query],
            ids[t.gallery],
            None if t.groups is None else t.groups[t.query],
            None if t.groups is None else t.groups[t.gallery],
            t.cmc,
            gallery_rows=t.gallery,
        )
        for t in trials
    ]
