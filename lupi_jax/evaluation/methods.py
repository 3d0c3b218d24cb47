"""Which of several training methods is better: networks that differ in their seed alone are one."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.evaluation.figures import average
from lupi_jax.evaluation.metrics.comparison import compare

SHOWN = ("rank1", "rank10", "mean_ap", "mean_inp")
"""Figures of a method."""

_SEARCH = ("query", "gallery", "search")


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run and what was found of it.

    Attributes:
      workdir: directory of the run.
      seed: seed of the run.
      fields: the fields of its configuration that make up the method.
      draws_people: whether its seed decides which people it was trained on.
      trained_on: fingerprint of the images it was trained on.
      images: fingerprint of the images it was measured on.
      protocol: what it was measured by.
      rows: its figures, one row for each search.
      precision: [q] for each search, the average precision of its queries.
      identities: [q] for each search, the identities of its queries.
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

    @property
    def searches(self) -> list[tuple[str, ...]]:
        """Who queries whom, in which search: of each of `rows`."""
        return [tuple(row[key] for key in _SEARCH) for row in self.rows]

    def has_images_of(self, other: "MeasuredRun") -> bool:
        """Whether the two were trained on the same images, but for people a seed holds out."""
        return self.trained_on == other.trained_on or (
            self.draws_people and self.seed != other.seed
        )

    def is_method_of(self, other: "MeasuredRun") -> bool:
        """Whether the two are one training but for the seed."""
        return self.fields == other.fields and self.has_images_of(other)


Methods = Mapping[str, Sequence[MeasuredRun]]
"""{name of a method: its runs, by seed}."""


def compare_methods(measured: Sequence[MeasuredRun]) -> tuple[dict[str, list[MeasuredRun]], Any]:
    """Sort runs into methods, and compare each method with that of the first run.

    Returns:
      {name of a method: its runs, by seed}, named after the directory of its first run; and what
      results say: {"protocol", "methods": figures of each, "differences": of each from the first}.

    Raises:
      InputError: the runs were not measured on the same images and searches, two have the same
        method and seed, or the test set is too small.
    """
    first = measured[0]
    for other in measured:
        if (other.images, other.protocol) != (first.images, first.protocol):
            raise InputError(
                f"{other.workdir} is measured on other images or by another protocol than "
                f"{first.workdir} ({other.protocol}; {first.protocol}): give both the same "
                "--data-root and --config.evaluation fields"
            )
        if other.searches != first.searches:
            raise InputError(
                f"{other.workdir} is measured in other searches than {first.workdir}: give both "
                "the same --config.evaluation.pairs and --config.evaluation.same_modality"
            )
    methods = _group(measured)
    return methods, {
        "protocol": first.protocol,
        "methods": [_summarize(name, runs, first) for name, runs in methods.items()],
        "differences": _differences(methods),
    }


def _group(measured: Sequence[MeasuredRun]) -> dict[str, list[MeasuredRun]]:
    """The runs of each method."""
    groups: list[list[MeasuredRun]] = []
    for run in measured:
        for group in groups:
            if run.is_method_of(group[0]):
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
        name = group[0].workdir.name
        if name in methods:  # directories of one name in different places
            name = str(group[0].workdir)
        methods[name] = [seeds[seed] for seed in sorted(seeds)]
    return methods


def _summarize(name: str, runs: Sequence[MeasuredRun], first: MeasuredRun) -> dict[str, Any]:
    """The figures of a method, mean and standard deviation over its runs."""
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


def _differences(methods: Methods) -> list[dict[str, Any]]:
    """mAP of each method minus that of the first, on the same queries and with the same seeds."""
    (reference, base), *others = methods.items()
    return [
        {
            **{key: row[key] for key in _SEARCH},
            "method": name,
            "against": reference,
            **_difference(runs, base, place),
        }
        for name, runs in others
        for place, row in enumerate(base[0].rows)
    ]


def _difference(
    runs: Sequence[MeasuredRun], base: Sequence[MeasuredRun], place: int
) -> dict[str, Any]:
    """mAP of `runs` minus that of `base` in one search."""
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
        query, gallery, _ = base[0].searches[place]
        raise InputError(f"{query} -> {gallery} cannot be compared: {error}") from error
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
