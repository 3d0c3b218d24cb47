"""The record of an evaluation, and the name of its file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupi_jax.config import EvaluationConfig, parse_record
from lupi_jax.data.contents import look_at, summary
from lupi_jax.data.sources.manifest import difficulty
from lupi_jax.evaluation.evaluator import Evaluation
from lupi_jax.evaluation.figures import average_runs
from lupi_jax.evaluation.opening import Checkpoint
from lupi_jax.evaluation.origin import NETWORK
from lupi_jax.evaluation.verification import verify

if TYPE_CHECKING:
    from lupi_jax.training import Run


def record_of(
    run: Run, found: Evaluation, split: str, workdir: Path | None, checkpoint: Checkpoint | None
) -> dict[str, Any]:
    """The record of one evaluation: its figures, and everything that they depend on.

    Args:
      run: the network.
      found: what was measured.
      split: the split that was measured.
      workdir: the run's directory, if it has one.
      checkpoint: the checkpoint that was asked for, None for the newest.
    """
    from lupi_jax.training.run import versions

    config, index = run.config, found.features.index
    images = {
        "root": config.data.root,
        "fingerprint": index.fingerprint,
        "content": summary(index, look_at(index)),
    }
    if config.data.name == "synthetic" and (rendered := difficulty(Path(config.data.root))):
        images["difficulty"] = rendered
    trained = dict(run.record)
    for name in ("identities", "files"):  # long lists, which the checkpoint already has
        trained.pop(name, None)
    return {
        **trained,
        "config": dataclasses.asdict(config),
        "protocol": found.protocol,
        "split": split,
        "trials": max(len(task.trials) for task in found.tasks),
        "seeds": {"training": config.seed, "galleries": found.seeds},
        "feature": sorted({row["feature"] for row in found.rows}),
        "reranking": config.evaluation.reranking,
        "precision": run.precision,
        "workdir": workdir and str(workdir),
        "checkpoint": checkpoint or ("newest" if workdir else run.name),
        "selection": selection(run, checkpoint, workdir),
        "people_unseen_in_training": None if run.seen is None else split != "train",
        "images": images,
        "step": run.step,
        "versions": {"training": trained.get("versions"), "evaluation": versions()},
        NETWORK: found.features.origin[NETWORK],
        "results": found.rows,
        "verification": [verify(found.features, task) for task in found.tasks],
    }


def mean_record(
    records: Sequence[Mapping[str, Any]], trials: Sequence[int], workdir: Path
) -> dict[str, Any]:
    """The record of RegDB's splits, one network each: the mean of their records' figures."""
    shown = f"{len(trials)} splits, one network each" if len(trials) > 1 else f"split {trials[0]}"
    rest = records[0]["protocol"].partition(", all images")[2]
    common = ("split", "feature", "reranking", "precision", "checkpoint", "selection", "versions")
    return {
        **{name: records[0][name] for name in common},
        "workdir": str(workdir),
        "protocol": f"RegDB, {shown}, all images{rest}",
        "splits": list(trials),
        "trials": len(trials),
        "results": average_runs([record["results"] for record in records]),
        "runs": list(records),
    }


def selection(run: Run, checkpoint: Checkpoint | None, workdir: Path | None) -> str:
    """How the checkpoint was chosen, in the words of results."""
    if run.step is None:
        return "trained elsewhere: not known"
    if run.step == 0:
        return "untrained"
    if workdir is None:
        return "loaded before: not known"
    if checkpoint != "best":
        return "the newest" if checkpoint in (None, "newest") else "by its step"
    data = run.config.data
    who = f"{data.validation_identities} training identities held out"
    if data.validation_split:
        who = "the data set's own validation identities"
    return f"best mAP, mean over the protocol's searches, on {who}"


def name_of(run: Run, found: Evaluation) -> list[str]:
    """Parts of a file name that tell this result from others of the network.

    The parts are the network's step and every setting that differs from training.
    """
    trained, now = run.record["config"]["data"], run.config.data
    parts = [run.name if run.step is None else f"step{run.step}"]
    # A network without a run has no directory of its own for its results.
    elsewhere = run.step is None or "steps" not in run.record
    if elsewhere or any(getattr(now, name) != trained[name] for name in ("root", "index", "trial")):
        parts.append(found.features.index.fingerprint)
    if now.identity_zero != trained.get(
        "identity_zero", "auto"
    ):  # the same images, read differently
        parts.append(f"zero-{now.identity_zero}")
    return parts + changed_settings(run)


def changed_settings(run: Run) -> list[str]:
    """The evaluation's settings that differ from the run's; without a run, from the defaults."""
    before = EvaluationConfig()
    if "steps" in run.record:
        before = parse_record(run.record["config"]).evaluation
    parts = []
    for field, value in dataclasses.asdict(run.config.evaluation).items():
        if value != getattr(before, field):
            text = "+".join(value) if isinstance(value, tuple) else str(value)
            parts.append(f"{text}{field}" if field in ("trials", "precision") else text)
    return parts
