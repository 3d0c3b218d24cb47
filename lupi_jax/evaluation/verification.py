"""Thresholds of a network: how often two people match in a search, and how often one does not."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.metrics import Task, pairwise_distances
from lupi_jax.evaluation.metrics.open_set import (
    Outcomes,
    calibrate_threshold,
    open_set_rates,
    query_outcomes,
)
from lupi_jax.evaluation.metrics.retrieval import BLOCK_ELEMENTS
from lupi_jax.evaluation.metrics.tasks import Trial

LEVELS = tuple(float(f"{n}e-{power}") for power in range(2, 10) for n in (10, 5, 2))
"""False-match rates that thresholds are computed for, 0.1, 0.05, 0.02, 0.01, ..."""

ALARMS = (0.01, 0.1)
"""False-alarm rates that detection and identification rates are computed for."""

_STEP = BLOCK_ELEMENTS // 8  # distances at once; their masks and copies take several times as much


def verify(features: Features, task: Task) -> dict[str, Any]:
    """Thresholds of a task, by the pairs of its first trial and the feature after the neck.

    Returns:
      A dictionary of plain values:
        "query", "gallery", "search", "feature": what the task compares;
        "genuine_pairs", "impostor_pairs": numbers of pairs of one person and of two, without the
          pairs that the protocol leaves out;
        "levels": [{"false_match_rate", "threshold" (a distance), "false_non_match_rate"}] for each
          of `LEVELS` that so many pairs can show;
        "open_set", only if some queries have a mate and others do not: {"mated_queries",
          "other_queries", "levels": [{"false_alarm_rate", "threshold",
          "detection_identification_rate" (at rank 1)}]}.
    """
    trial, ids = task.trials[0], features.index.identities
    # The number of distances that the largest level needs, and one more.
    most = int(LEVELS[0] * len(trial.query) * len(trial.gallery)) + 2
    genuine, outcomes, count = [], [], 0
    impostors = np.empty(0, np.float32)
    for rows, distances, hidden in _blocks(features.neck, trial):
        own = ids[rows][:, None] == ids[trial.gallery]
        genuine.append(distances[own & ~hidden])
        others = distances[~own & ~hidden]
        count += others.size
        impostors = np.concatenate([impostors, others])
        if impostors.size > most:
            impostors = np.partition(impostors, most - 1)[:most]
        outcomes.append(query_outcomes(distances, ids[rows], ids[trial.gallery], hidden))
    pairs = np.concatenate(genuine)
    levels = []
    for level in LEVELS:
        if level * count >= 1:
            threshold = calibrate_threshold(impostors, level, count)
            missed = float(np.mean(pairs > threshold))
            levels.append(
                {
                    "false_match_rate": level,
                    "threshold": threshold,
                    "false_non_match_rate": missed,
                }
            )
    joined = Outcomes(*(np.concatenate(part) for part in zip(*outcomes, strict=True)))
    return {
        "query": str(task.query),
        "gallery": str(task.gallery),
        "search": task.name,
        "feature": "neck",
        "genuine_pairs": len(pairs),
        "impostor_pairs": count,
        "levels": levels,
        **_open_set(joined),
    }


def level_for(levels: list[Mapping[str, float]], rate: float) -> Mapping[str, float] | None:
    """The level of `verify` with the highest false-match rate up to `rate`, or None."""
    fitting = [level for level in levels if level["false_match_rate"] <= rate]
    return max(fitting, key=lambda level: level["false_match_rate"], default=None)


def _open_set(outcomes: Outcomes) -> dict[str, Any]:
    mated = outcomes.rank > 0
    alarms = outcomes.nearest[~mated]
    if mated.all() or not mated.any():
        return {}
    levels = []
    for rate in ALARMS:
        if rate * len(alarms) >= 1:
            threshold = calibrate_threshold(alarms, rate)
            detected = float(open_set_rates(outcomes, [threshold])[0][0])
            level = {"false_alarm_rate": rate, "threshold": threshold}
            levels.append({**level, "detection_identification_rate": detected})
    counts = {"mated_queries": int(mated.sum()), "other_queries": int((~mated).sum())}
    return {"open_set": {**counts, "levels": levels}}


def _blocks(
    values: np.ndarray, trial: Trial
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Row numbers of some queries [b], distances to the gallery [b, g] and hidden images [b, g]."""
    gallery = values[trial.gallery]
    step = max(1, _STEP // len(gallery))
    for start in range(0, len(trial.query), step):
        rows = trial.query[start : start + step]
        hidden = np.zeros((len(rows), len(gallery)), bool)
        if trial.groups is not None:
            hidden = trial.groups[rows][:, None] == trial.groups[trial.gallery]
        yield rows, pairwise_distances(values[rows], gallery), hidden
