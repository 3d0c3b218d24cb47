"""From a run to results: figures, and a record of everything that they depend on."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.errors import InputError, plural
from lupi_jax.evaluation.evaluator import Evaluation, evaluate_network
from lupi_jax.evaluation.opening import Checkpoint, open_run, to_go, workdir_of
from lupi_jax.evaluation.record import changed_settings, mean_record, name_of, record_of
from lupi_jax.runtime.files import expand, write_whole
from lupi_jax.runtime.progress import Show, silent
from lupi_jax.runtime.records import printable
from lupi_jax.runtime.terminal import say

if TYPE_CHECKING:
    from lupi_jax.training import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """What `evaluate` and `evaluate_trials` found.

    Attributes:
      rows: the figures, one row per search and feature, as `evaluate_features` gives them.
      protocol: name of the protocol.
      split: the split that was measured.
      record: everything that `lupi evaluate` writes as JSON: the rows, the thresholds, and what
        they depend on (the run's configuration, the images, versions).
      name: name of the result's file, without an ending.
      title: the data and the network, for people.
      notes: lines about images that have changed since training, and about unfinished training.
      run: the network that was measured; None for several.
      evaluation: the features, the tasks and the figures of every query; None for several networks.
    """

    rows: Sequence[Mapping[str, Any]]
    protocol: str
    split: str
    record: Mapping[str, Any] = dataclasses.field(repr=False)
    name: str
    title: str
    notes: tuple[str, ...] = ()
    run: Run | None = dataclasses.field(default=None, repr=False)
    evaluation: Evaluation | None = dataclasses.field(default=None, repr=False)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the record as `<name>.json` into a directory, and return the file's path.

        Raises:
          OSError: the file cannot be written.
        """
        file = expand(folder) / f"{self.name}.json"
        write_whole(file, json.dumps(printable(self.record), indent=1) + "\n")
        return file


def evaluate(
    run: str | os.PathLike[str] | Run,
    split: str = "test",
    *,
    checkpoint: Checkpoint | None = None,
    untrained: bool = False,
    overrides: Mapping[str, Any] | None = None,
    fetch: bool = False,
    show: Show = silent,
) -> Results:
    """Measure a run on a split of its data.

    For example `lupi_jax.evaluate("runs/demo").rows[0]["mean_ap"]`.

    Args:
      run: directory of a run of `lupi train`, or a loaded network, see `open_run`.
      split: "test", "val" or "train".
      checkpoint: the checkpoint in the directory; None is "newest".
      untrained: whether to measure the network before its first step instead.
      overrides: fields to change, such as {"evaluation.trials": 1} or {"data.root": path}.
      fetch: with `untrained`, whether to download pre-trained weights.
      show: shows how many images are embedded, and how many rows of figures are measured.

    Raises:
      InputError: the run or the data cannot be read or evaluated, or the network was trained on
        people of the split.
      ValueError: `open_run` raises it.
    """
    opened = open_run(run, checkpoint, overrides, untrained, fetch)
    return measure(opened, split, workdir_of(run), checkpoint, show)


def measure(
    run: Run,
    split: str,
    workdir: Path | None,
    checkpoint: Checkpoint | None,
    show: Show = silent,
) -> Results:
    """`evaluate` for a loaded network; its directory and checkpoint are only for the record."""
    data = run.config.data
    found, notes = measure_run(run, split, show)
    return Results(
        rows=found.rows,
        protocol=found.protocol,
        split=split,
        record=record_of(run, found, split, workdir, checkpoint),
        name="-".join([split, *name_of(run, found)]),
        title=f"{data.name} {data.root}, {split}, {run.name}",
        notes=tuple(filter(None, (*notes, to_go(run)))),
        run=run,
        evaluation=found,
    )


def measure_run(run: Run, split: str, show: Show = silent) -> tuple[Evaluation, tuple[str, ...]]:
    """What `evaluate_network` finds of a run, and notes about images that have changed."""
    found = evaluate_network(run.config, run.model, run.variables, split, run.seen or (), show)
    changed = run.changed(found.features.index)
    if not changed:
        return found, ()
    return found, (
        f"{run.config.data.root}: {plural(len(changed), 'image')} changed since this network was "
        f"trained on them, the first is {changed[0]}",
    )


def evaluate_trials(
    workdir: str | os.PathLike[str],
    trials: Sequence[int] = TRIALS,
    split: str = "test",
    *,
    checkpoint: Checkpoint | None = None,
    untrained: bool = False,
    overrides: Mapping[str, Any] | None = None,
    fetch: bool = False,
    show: Show = silent,
) -> Results:
    """Measure one network per split of RegDB, each on its own split, and give their mean.

    Args:
      workdir: directory with a run `trial-N` for each split N, from `lupi train --trials`.
      trials: the splits, from 1 to 10.
      split: "test" or "train".
      checkpoint: as in `evaluate`, for each run.
      untrained: as in `evaluate`.
      overrides: as in `evaluate`.
      fetch: as in `evaluate`.
      show: as in `evaluate`.

    Raises:
      InputError: a run is missing, not finished, or of another data set; or `evaluate` raises it.
    """
    workdir = expand(workdir)
    below = {trial: workdir / f"trial-{trial}" for trial in trials}
    lacking = [str(t) for t, place in below.items() if not (place / "checkpoints").is_dir()]
    if not below:
        raise InputError("no split is given: name at least one of RegDB's, from 1 to 10")
    if lacking:
        raise InputError(
            f"no run of split {', '.join(lacking)} below {workdir}: train it with `lupi "
            f"train --config configs/regdb.py --workdir {workdir} --trials {','.join(lacking)}`"
        )
    found = []
    for trial, place in below.items():
        run = open_run(place, checkpoint, overrides, untrained, fetch)
        _require_trial(run, place, trial)
        say(f"split {trial} of RegDB, {run.name} ...")
        found.append(measure(run, split, place, checkpoint, show))
    which = ["untrained"] * untrained + [str(checkpoint)] * bool(checkpoint)
    parts = [f"trials{'+'.join(map(str, trials))}", *which, *changed_settings(run)]
    record = mean_record([each.record for each in found], trials, workdir)
    return Results(
        rows=record["results"],
        protocol=record["protocol"],
        split=split,
        record=record,
        name="-".join([split, *parts]),
        title=f"regdb {workdir}, {split}, {'untrained' if untrained else 'trained'}",
        notes=tuple(note for each in found for note in each.notes),
    )


def _require_trial(run: Run, workdir: Path, trial: int) -> None:
    """Raise InputError if `run` is not a finished training on a split of RegDB."""
    data = run.config.data
    if (data.name, data.trial) != ("regdb", trial):
        raise InputError(
            f"{workdir}: this network was trained on {data.name}, split {data.trial}, not on "
            f"RegDB's split {trial}: train that one there"
        )
    if left := to_go(run):
        raise InputError(f"{workdir}: {left.replace(':', ',')}: finish it first")
