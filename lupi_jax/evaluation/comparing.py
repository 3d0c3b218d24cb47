"""From the directories of several runs to a comparison of their methods."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupi_jax.config import to_fields
from lupi_jax.errors import InputError
from lupi_jax.evaluation.methods import MeasuredRun, compare_methods, measuring
from lupi_jax.evaluation.opening import Checkpoint, open_run, to_go
from lupi_jax.evaluation.results import measure_run
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.progress import Show, silent
from lupi_jax.runtime.terminal import say

if TYPE_CHECKING:
    from lupi_jax.training import Run


@dataclasses.dataclass(frozen=True, eq=False)
class RunComparison:
    """What `compare_runs` found. Runs that differ only in their seed are one method.

    Attributes:
      split: the split that was measured.
      protocol: name of the protocol.
      methods: one dictionary per method, the reference first: "name", "runs", "seeds",
        "differs_in" {field: value} and "results", rows of figures in [0, 1].
      differences: one dictionary per other method and search: the mAP minus the reference's,
        "mean_ap", "by_seed", and 95 % intervals "over_queries", "over_identities", "over_both".
      workdirs: {name of a method: the directories of its runs, by seed}.
      notes: lines about unfinished training, images that have changed, and seeds left out.
    """

    split: str
    protocol: str
    methods: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    workdirs: Mapping[str, Sequence[Path]]
    notes: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What `lupi compare --json` prints."""
        names = ("split", "protocol", "methods", "differences")
        return {name: getattr(self, name) for name in names}


def compare_runs(
    runs: Sequence[str | os.PathLike[str]],
    reference: str | os.PathLike[str] | None = None,
    split: str = "test",
    *,
    checkpoint: Checkpoint | None = None,
    overrides: Mapping[str, Any] | None = None,
    show: Show = silent,
) -> RunComparison:
    """Measure runs on the same images, and compare each method with the reference.

    Args:
      runs: directories of runs of `lupi train`.
      reference: the run whose method the others are compared with; None is the first.
      split: "test", "val" or "train".
      checkpoint: as in `evaluate`, for each run.
      overrides: as in `evaluate`, for each run.
      show: as in `evaluate`.

    Raises:
      InputError: a run is named twice or cannot be read, the reference is not among the runs, or
        the runs cannot be compared.
    """
    places = [expand(run) for run in runs]
    if not places:
        raise InputError("no run is given: name at least one")
    if len({place.resolve() for place in places}) < len(places):
        raise InputError("a run is named twice: name each once")
    measured, notes = [], []
    for place in _reference_first(places, None if reference is None else expand(reference)):
        say(f"measuring {place}")
        run = open_run(place, checkpoint, overrides)
        if left := to_go(run):
            notes.append(f"{place}: {left}")
        own, changed = _measure(run, place, split, show)
        measured.append(own)
        notes += changed
    methods, compared = compare_methods(measured)
    notes += _unequal_seeds(compared)
    workdirs = {name: [each.workdir for each in own] for name, own in methods.items()}
    return RunComparison(split=split, workdirs=workdirs, notes=tuple(notes), **compared)


def _reference_first(runs: Sequence[Path], reference: Path | None) -> list[Path]:
    """`runs`, with the one that `reference` names first."""
    if reference is None:
        return list(runs)
    place = reference.resolve()
    named = [path for path in runs if path.resolve() == place]
    if not named:
        raise InputError(f"--reference {reference}: this run is not compared: name one of the RUNs")
    return named + [path for path in runs if path.resolve() != place]


def _measure(
    run: Run, workdir: Path, split: str, show: Show
) -> tuple[MeasuredRun, tuple[str, ...]]:
    """A run and its figures, and notes about images that have changed."""
    from lupi_jax.training import MOVABLE
    from lupi_jax.training.run import RESUMABLE

    found, notes = measure_run(run, split, show)
    neck = [each for each in found.measured if each.feature == "neck"]
    index = found.features.index
    # Runs of one method may differ in these fields. Their length is part of the method.
    free = {"seed", *RESUMABLE, *MOVABLE} - {"steps", "epochs"}
    fields = to_fields(run.config)
    measured = MeasuredRun(
        workdir=workdir,
        seed=run.config.seed,
        fields={name: value for name, value in fields.items() if name not in free},
        draws_people=bool(run.config.data.validation_identities),
        trained_on=run.record["data"],
        settings=measuring(fields),
        split=split,
        images=index.fingerprint,
        protocol=found.protocol,
        rows=[row for row in found.rows if row["feature"] == "neck"],
        precision=[each.average_precision for each in neck],
        identities=[index.identities[each.queries] for each in neck],
    )
    return measured, notes


def _unequal_seeds(result: Mapping[str, Any]) -> Iterator[str]:
    """Say where differences leave out seeds that the means of the methods are over."""
    seeds = {method["name"]: method["seeds"] for method in result["methods"]}
    shared = {(row["against"], row["method"]): row["seeds"] for row in result["differences"]}
    for (base, name), common in shared.items():
        sizes = len(seeds[base]), len(seeds[name])
        if common and len(common) < max(sizes):  # without a common seed, whole means are compared
            yield (
                f"{base} and {name} share {len(common)} of {sizes[0]} and {sizes[1]} seeds; "
                "differences use the shared seeds only"
            )
