"""Which of several training methods is better: networks that differ in their seed alone are one."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.evaluation.figures import average
from lupi_jax.evaluation.metrics.comparison import compare

SHOWN = ("rank1", "rank10", "mean_ap", "mean_inp")

_SEARCH = ("query", "gallery", "search")

_SEED = re.compile(r"[-_. ]*(?:seed)?[-_. ]*[0-9]*$")
"""How the name of a run's directory may end in its seed, as "-0" of luma-0."""


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run and what was found of it.

    Attributes:
      fields: the fields of its configuration that make up the method.
      draws_people: whether its seed decides which people it was trained on.
      trained_on: fingerprint of the images it was trained on.
      images: fingerprint of the images it was measured on.
      rows: its figures for each search.
      precision: [q] average precision of the queries for each search.
      identities: [q] of the queries for each search.
    """

    workdir: Path
    seed: int
    fields: Mapping[str, Any]
    draws_people: bool
    trained_on: str
    images: str
    protocol: str
    rows: Sequence[Mapping[str, Any]]
    precision: Sequence[np.ndarray]
    identities: Sequence[np.ndarray]

    def has_images_of(self, other: "MeasuredRun") -> bool:
        """Whether the two were trained on the same images, but for people a seed holds out."""
        return self.trained_on == other.trained_on or (
            self.draws_people and self.seed != other.seed
        )


def _measured_by(run: MeasuredRun) -> tuple[Any, ...]:
    return run.images, run.protocol, [[row[key] for key in _SEARCH] for row in run.rows]


def compare_methods(measured: Sequence[MeasuredRun]) -> tuple[dict[str, list[MeasuredRun]], Any]:
    """Sort runs into methods, and compare each method with that of the first run.

    Returns:
      {name of a method: its runs, by seed}, and what results say: {"protocol", "methods": figures
      of each, "differences": of each from the first}.

    Raises:
      InputError: the runs were not measured on the same images and searches, two have the same
        method and seed, or the test set is too small.
    """
    first = measured[0]
    for other in measured:
        if _measured_by(other) != _measured_by(first):
            raise InputError(
                f"{other.workdir} is measured on other images, by another protocol or in other "
                f"searches than {first.workdir} ({other.protocol}; {first.protocol}): give both "
                "the same --data-root and --config.evaluation fields"
            )
    methods = _group(measured)
    (reference, base), *others = methods.items()
    return methods, {
        "protocol": first.protocol,
        "methods": [_summarize(name, runs, first) for name, runs in methods.items()],
        "differences": [
            {
                **{key: row[key] for key in _SEARCH},
                "method": name,
                "against": reference,
                **_difference(runs, base, place),
            }
            for name, runs in others
            for place, row in enumerate(first.rows)
        ],
    }


def _group(measured: Sequence[MeasuredRun]) -> dict[str, list[MeasuredRun]]:
    groups: list[list[MeasuredRun]] = []
    for run in measured:
        for group in groups:
            if run.fields == group[0].fields and run.has_images_of(group[0]):
                group.append(run)
                break
        else:
            groups.append([run])
    methods = {}
    for group in groups:
        seeds: dict[int, MeasuredRun] = {}
        for run in group:
            if run.seed in seeds:
                raise InputError(
                    f"{run.workdir} and {seeds[run.seed].workdir} are the same training with the "
                    "same seed: leave one out"
                )
            seeds[run.seed] = run
        name = _name(group)
        if name in methods:  # directories of one name in different places
            name = ", ".join(str(run.workdir) for run in group)
        methods[name] = [seeds[seed] for seed in sorted(seeds)]
    return methods


def _name(group: Sequence[MeasuredRun]) -> str:
    """The name of a run's directory; of several, without their seeds' numbers where that is one."""
    names = [run.workdir.name for run in group]
    shared = {_SEED.sub("", name) for name in names}
    if len(names) > 1 and len(shared) == 1 and shared != {""}:
        return shared.pop()
    return ", ".join(names)


def _summarize(name: str, runs: Sequence[MeasuredRun], first: MeasuredRun) -> dict[str, Any]:
    fields = runs[0].fields
    differs_in = {key: value for key, value in fields.items() if value != first.fields[key]}
    if not runs[0].has_images_of(first):
        differs_in["training images"] = runs[0].trained_on
    rows = []
    for place, row in enumerate(runs[0].rows):
        figures = [{figure: run.rows[place][figure] for figure in SHOWN} for run in runs]
        rows.append({**{key: row[key] for key in _SEARCH}, **average(figures)})
    return {
        "name": name,
        "runs": [str(run.workdir) for run in runs],
        "seeds": [run.seed for run in runs],
        "differs_in": differs_in,
        "results": rows,
    }


def _difference(
    runs: Sequence[MeasuredRun], base: Sequence[MeasuredRun], place: int
) -> dict[str, Any]:
    """mAP of `runs` minus that of `base` in one search, on the same queries and seeds."""
    seeds = sorted({run.seed for run in base} & {run.seed for run in runs})
    ours, theirs = (
        np.array([run.precision[place] for run in side if run.seed in seeds or not seeds])
        for side in (runs, base)
    )
    if not seeds:  # the means over seeds are what can be compared
        ours, theirs = ours.mean(axis=0), theirs.mean(axis=0)
    try:
        found = compare(ours, theirs, base[0].identities[place])
    except ValueError as error:  # the test set is too small
        row = base[0].rows[place]
        search = f"{row['query']} -> {row['gallery']}"
        raise InputError(f"{search} cannot be compared: {error}") from error
    return {
        "seeds": seeds,
        "mean_ap": found.difference,
        "by_seed": found.by_seed.tolist() if seeds else [],
        "over_queries": found.over_queries,
        "over_identities": found.over_identities,
        "over_both": None if len(seeds) < 2 else found.over_both,
        "queries": found.queries,
        "identities": found.identities,
    }
