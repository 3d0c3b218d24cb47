"""Thresholds of a network: how often two people match, and one person does not, in a search."""

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
"""False-match rates whose thresholds are kept: 0.1, 0.05, 0.02, 0.01, ..."""

ALARMS = (0.01, 0.1)
"""False-alarm rates whose detection and identification rates are kept."""

_STEP = BLOCK_ELEMENTS // 8  # distances at once; masks and copies of them take several times that


def verify(features: Features, task: Task) -> dict[str, Any]:
    """The thresholds of a task by its pairs, of the neck's feature and the first trial's gallery.

    Returns:
      "query", "gallery", "search", "feature"; "genuine_pairs" and "impostor_pairs", counts of pairs
      of one person and of two, without those that the protocol leaves out; "levels", for each of
      `LEVELS` that so many pairs show, {"false_match_rate", "threshold" (a distance),
      "false_non_match_rate"}. Where queries without a mate are among the others also "open_set":
      {"mated_queries", "other_queries", "levels": [{"false_alarm_rate", "threshold",
      "detection_identification_rate"} of rank 1]}.
    """
    trial, ids = task.trials[0], features.index.identities
    # What the largest level needs, and one more.
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
    """Of the `levels` that `verify` gives, the highest false-match rate up to `rate`, if any is."""
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
    """Rows of some queries [b], their distances to the gallery [b, g], and what is not there."""
    gallery = values[trial.gallery]
    step = max(1, _STEP // len(gallery))
    for start in range(0, len(trial.query), step):
        rows = trial.query[start : start + step]
        hidden = np.zeros((len(rows), len(gallery)), bool)
        if trial.groups is not None:
            hidden = trial.groups[rows][:, None] == trial.groups[trial.gallery]
        yield rows, pairwise_distances(values[rows], gallery), hidden
