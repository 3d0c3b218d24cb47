"""Train and measure the missing runs of a sweep, and keep each as a line of a file.

A run that was cut off resumes from its last checkpoint.
"""

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock, Timeout

from experiments.tables.sweep import INDIFFERENT, ROOT, Planned, Sweep, plan
from lupi_jax.config import Config, to_fields
from lupi_jax.data import Index
from lupi_jax.errors import InputError
from lupi_jax.evaluation import (
    Evaluation,
    domain_shift_test,
    evaluate_features,
    evaluate_network,
)
from lupi_jax.evaluation.searched import make_tasks
from lupi_jax.modality import Modality
from lupi_jax.training import load_run, load_untrained, train
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.run import versions

BANDWIDTHS: tuple[tuple[float, ...] | None, ...] = (None, (0.25, 0.5, 1.0))
"""Bandwidths of the domain shift's kernels, for features of length 1; None: the median."""

SHIFT_ROWS = 2000
"""The most images per modality that the domain shift is measured on."""


def run(sweep: Sweep, cells: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """{cell: records, one per repeat}; missing runs are trained and measured.

    Raises:
      InputError: the data or the configuration cannot be used.
      DivergedError: a training diverged.
      StoppedError: a stop was asked for; the same call resumes.
    """
    commit = commit_here()  # now: the checkout may change while the runs train
    planned = plan(sweep, cells)
    found = {p.key: p.record for p in planned}
    missing = list({p.key: p for p in planned if p.record is None}.values())
    print(f"{len(found)} runs, {len(missing)} of them to do", file=sys.stderr)
    start = time.monotonic()
    for done, item in enumerate(missing):
        left = (time.monotonic() - start) / done * (len(missing) - done) if done else 0.0
        when = f", about {left / 60:.0f} min to go" if done else ""
        regdb = item.config.data.name == "regdb"
        where = f"split {item.config.data.trial}" if regdb else f"seed {item.config.seed}"
        print(f"[{done + 1}/{len(missing)}{when}] {item.cell.name}, {where}", file=sys.stderr)
        record = _measure(sweep, item, commit)
        _append(sweep.results, record)
        found[item.key] = record
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in cells}
    for item in planned:
        records[item.cell.name].append(found[item.key] or {})
    return records


def _measure(sweep: Sweep, item: Planned, commit: str) -> dict[str, Any]:
    """Train or resume a run, and measure it."""
    config = item.config
    losses: dict[str, Any] = {}
    if item.cell.trained:
        workdir = sweep.workdir / item.key
        with _alone(workdir):
            train(config, workdir, fetch=sweep.fetch)
        network = load_run(workdir)
        rows = [row for row in read_metrics(workdir) if row["split"] == "train"]
        losses = {k: v for k, v in rows[-1].items() if k.startswith("loss/") or k == "accuracy"}
        losses["images_per_second"] = float(np.median([r["images_per_second"] for r in rows]))
    else:
        network = load_untrained(config, sweep.fetch)
    evaluation = evaluate_network(
        config, network.model, network.variables, trained_on=network.seen or ()
    )
    fields = {k: v for k, v in to_fields(config).items() if k not in INDIFFERENT}
    record = {
        "key": item.key,
        "cell": item.cell.name,
        "seed": config.seed,
        "trial": config.data.trial,
        "step": network.step,
        "classes": network.record.get("num_classes"),
        "last": losses,
        "results": _results(config, evaluation),
        "average_precision": _by_query(evaluation),
        "shift": _shift(evaluation),
        "tested_on": item.tested_on,
        "commit": commit,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions(),
        "fields": fields,
    }
    return _rounded(record)


def _results(config: Config, evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """{protocol: rows}: SYSU-MM01 by its own protocol and by the released code's."""
    if config.data.name != "sysu":
        return {evaluation.protocol: evaluation.rows}
    asked = dataclasses.replace(config.evaluation, protocol="released")
    tasks = make_tasks(dataclasses.replace(config, evaluation=asked), evaluation.features.index)
    return {
        config.evaluation.protocol: evaluation.rows,
        "released": evaluate_features(evaluation.features, tasks),
    }


def _by_query(evaluation: Evaluation) -> dict[str, dict[str, list[int]]]:
    """{pair: identities of the queries, their average precision in hundredths of a percent}.

    The pairs are infrared and visible in both directions, the first search of each. A query without
    a match has -1.
    """
    found = {}
    for measured in evaluation.measured:
        task = measured.task
        pair = f"{task.query}_to_{task.gallery}"
        if {task.query, task.gallery} != {Modality.VISIBLE, Modality.INFRARED} or pair in found:
            continue
        precision = measured.average_precision
        found[pair] = {
            "identities": evaluation.features.index.identities[measured.queries].tolist(),
            "values": np.where(np.isnan(precision), -1, np.rint(10_000 * precision))
            .astype(int)
            .tolist(),
        }
    return found


def _shift(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Maximum mean discrepancy between the modalities' features, L2-normalised after the neck.

    Permutations stay within an identity. If one modality is made from the other, they stay within
    an image.
    """
    features, index = evaluation.features, evaluation.features.index
    rows = _shift_rows(index)
    found = []
    v, t, z = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE
    image = np.unique(index.paths, return_inverse=True)[1]
    for a, b, groups in ((v, t, index.identities), (z, t, index.identities), (v, z, image)):
        if not (len(rows[a]) and len(rows[b])):
            continue
        for bandwidths in BANDWIDTHS:
            test = domain_shift_test(
                features.neck[rows[a]],
                features.neck[rows[b]],
                groups[rows[a]],
                groups[rows[b]],
                bandwidths,
            )
            found.append(
                {
                    "pair": [str(a), str(b)],
                    "kernel": "median" if bandwidths is None else "fixed",
                    "bandwidths": list(test.bandwidths),
                    "value": test.value,
                    "by_chance": test.by_chance,
                    "p_value": test.p_value,
                    "images": [len(rows[a]), len(rows[b])],
                }
            )
    return found


def _shift_rows(index: Index) -> dict[Modality, np.ndarray]:
    """Rows of each modality, a sample if there are many; intermediate ones follow the visible."""
    rng = np.random.default_rng(0)
    rows = {}
    for modality in (Modality.VISIBLE, Modality.INFRARED):
        of_it = np.flatnonzero(index.modalities == str(modality))
        if len(of_it) > SHIFT_ROWS:
            of_it = np.sort(rng.choice(of_it, SHIFT_ROWS, replace=False))
        rows[modality] = of_it
    made = index.modalities == str(Modality.INTERMEDIATE)
    of_drawn = np.isin(index.paths, index.paths[rows[Modality.VISIBLE]])
    return {**rows, Modality.INTERMEDIATE: np.flatnonzero(made & of_drawn)}


def _rounded(value: Any) -> Any:
    """Floats to six significant digits, because people read these lines too."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Keep other sweeps from training in `workdir` meanwhile.

    Raises:
      InputError: another sweep trains there.
    """
    workdir.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{workdir}.lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"another sweep is training in {workdir}: wait for it, or give another --workdir"
        ) from error


def _append(folder: Path, record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "runs.jsonl"
    text = file.read_text() if file.is_file() else ""
    start = "" if not text or text.endswith("\n") else "\n"  # after a line that was cut off
    with file.open("a") as out:
        out.write(f"{start}{json.dumps(record, separators=(',', ':'))}\n")


def commit_here() -> str:
    """HEAD, with "-dirty" if the code differs from it; results do not count, sweeps write them."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "-uno", "--", ".", ":!experiments/results")
    except OSError:  # no git here
        return "unknown"
    return f"{head or 'unknown'}{'-dirty' if changed else ''}"
