"""Which of several training methods is better. Runs that differ only in their seed are one."""

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

_IMAGES = ("data.name", "data.root", "data.index", "data.identity_zero", "data.trial")
_MEASURE = "evaluation."
_OPTIONS = {"data.root": "--data-root"}  # options that set a field, if not --config.FIELD

_SEED = re.compile(r"[-_. ]*(?:seed)?[-_. ]*[0-9]*$")
"""The end of a run's directory name that gives its seed, such as "-0" in "luma-0"."""


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run and its measured figures.

    Attributes:
      workdir: the run's directory.
      seed: the run's seed.
      fields: the fields of the configuration that make up the method.
      draws_people: whether the seed decides which people the run was trained on.
      trained_on: fingerprint of the images that the run was trained on.
      settings: the fields that say where the measured images are, and how they are measured.
      split: the split that the run was measured on.
      images: fingerprint of the images that the run was measured on.
      protocol: name of the protocol.
      rows: the run's figures, one row per search.
      precision: for each search [q], average precision of the queries, in (0, 1] or NaN.
      identities: for each search [q], identities of the queries.
    """

    workdir: Path
    seed: int
    fields: Mapping[str, Any]
    draws_people: bool
    trained_on: str
    settings: Mapping[str, Any]
    split: str
    images: str
    protocol: str
    rows: Sequence[Mapping[str, Any]]
    precision: Sequence[np.ndarray]
    identities: Sequence[np.ndarray]

    def has_images_of(self, other: "MeasuredRun") -> bool:
        """Whether both were trained on the same images, apart from people held out by seed."""
        return self.trained_on == other.trained_on or (
            self.draws_people and self.seed != other.seed
        )


def measuring(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The `settings` of a `MeasuredRun`, out of all fields of its configuration."""
    return {n: value for n, value in fields.items() if n in _IMAGES or n.startswith(_MEASURE)}


def _measured_by(run: MeasuredRun) -> dict[str, Any]:
    """{what figures depend on, in words: its value}."""
    return {
        "on other images": run.images,
        "by another protocol": run.protocol,
        "in other searches": [[row[key] for key in _SEARCH] for row in run.rows],
    }


def _unlike(other: MeasuredRun, first: MeasuredRun) -> str:
    """How two runs were measured differently, and what to do about it; "" if they were not."""
    theirs, ours = _measured_by(other), _measured_by(first)
    kinds = [kind for kind in ours if theirs[kind] != ours[kind]]
    if not kinds:
        return ""
    same_images = "on other images" not in kinds
    differing = [
        name
        for name, value in first.settings.items()
        if other.settings[name] != value and not (same_images and name in _IMAGES)
    ]
    said = "; ".join(
        f"{name} = {other.settings[name]!r}, not {first.settings[name]!r}" for name in differing
    )
    options = [_OPTIONS.get(name, f"--config.{name}") for name in differing]
    mend = f"give both the same {', '.join(options)}"
    if not differing and other.split == "val":
        said = "each held out people of its own for validation"
        mend = "compare them with --split test"
    elif not differing:
        said = f"{other.protocol}; {first.protocol}"
        mend = "check the data set"
    what = " and ".join(kinds)
    return f"{other.workdir}: measured {what} than {first.workdir} ({said}): {mend}"


def compare_methods(measured: Sequence[MeasuredRun]) -> tuple[dict[str, list[MeasuredRun]], Any]:
    """Sort runs into methods, and compare each method with the first run's method.

    Args:
      measured: the runs, the reference first.

    Returns:
      {name of a method: its runs, by seed}, and the content of results: {"protocol", "methods":
      figures of each method, "differences": each method's figures minus the first's}.

    Raises:
      InputError: the runs were not measured on the same images and searches, two runs have the same
        method and seed, or the test set is too small.
    """
    first = measured[0]
    for other in measured:
        if fault := _unlike(other, first):
            raise InputError(fault)
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
        if name in methods:  # directories of the same name in different places
            name = ", ".join(str(run.workdir) for run in group)
        methods[name] = [seeds[seed] for seed in sorted(seeds)]
    return methods


def _name(group: Sequence[MeasuredRun]) -> str:
    """The runs' shared directory name without the seed, or the names of all directories."""
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
    """The mAP of `runs` minus the mAP of `base` in one search, on the same queries and seeds."""
    seeds = sorted({run.seed for run in base} & {run.seed for run in runs})
    ours, theirs = (
        np.array([run.precision[place] for run in side if run.seed in seeds or not seeds])
        for side in (runs, base)
    )
    if not seeds:  # only the means over seeds can be compared
        ours, theirs = ours.mean(axis=0), theirs.mean(axis=0)
    try:
        found = compare(ours, theirs, base[0].identities[place])
    except ValueError as error:  # the test set is too small
        row = base[0].rows[place]
        search = f"{row['query']} -> {row['gallery']}"
        raise InputError(f"{search}: cannot be compared: {error}") from error
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
