"""`lupi compare`: which of several trainings is better, and how sure that is."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lupi_jax.cli.console import interrupted, print_table, require_picture, say
from lupi_jax.cli.network import overrides_of
from lupi_jax.config import Config, differences, to_fields
from lupi_jax.config.file import change_config
from lupi_jax.errors import InputError
from lupi_jax.evaluation import compare as compare_queries
from lupi_jax.evaluation import evaluate
from lupi_jax.evaluation.figures import FIGURES, average, figure_text
from lupi_jax.report.pictures import compared_curves
from lupi_jax.runtime.backend import start_backend
from lupi_jax.runtime.terminal import showing
from lupi_jax.training import MOVABLE, load_run
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.run import RESUMABLE

SHOWN = ("rank1", "rank10", "mean_ap", "mean_inp")

# What runs of one method may differ in. Their length is part of the method.
_SAME_METHOD = {"seed", *RESUMABLE, *MOVABLE} - {"steps", "epochs"}


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """A run and what was found of it.

    Attributes:
      workdir: of the run.
      config: of the run.
      rows: its figures.
      precision: [q] average precision of the queries of each task.
      identities: [q] of the same.
      images: fingerprint of the images it was measured on.
      protocol: what it was measured by.
      trained_on: fingerprint of the images it was trained on.
    """

    workdir: Path
    config: Config
    rows: list[dict[str, Any]]
    precision: list[np.ndarray]
    identities: list[np.ndarray]
    images: str
    protocol: str
    trained_on: str

    @property
    def searches(self) -> list[tuple[str, ...]]:
        """Who queries whom, in which search: of each of `rows`."""
        return [(row["query"], row["gallery"], row["search"]) for row in self.rows]

    def has_images_of(self, other: "Compared") -> bool:
        """Whether the two were trained on the same images, but for people a seed holds out."""
        drawn = self.config.data.validation_identities and self.config.seed != other.config.seed
        return bool(drawn) or self.trained_on == other.trained_on

    def is_method_of(self, other: "Compared") -> bool:
        """Whether the two are one training but for the seed."""
        same = set(differences(self.config, other.config)) <= _SAME_METHOD
        return same and self.has_images_of(other)


@interrupted(lambda: "nothing was saved")
def compare(options: argparse.Namespace) -> None:
    """Measure runs on the same images, and compare each method with the first.

    Runs that differ in nothing but their seed are one method.

    Raises:
      InputError: a run cannot be used, or they are not of the same images and searches.
    """
    start_backend()
    if len({path.resolve() for path in options.runs}) < len(options.runs):
        raise InputError("a run is named twice: name each once")
    require_picture(options.out)
    measured = []
    for workdir in options.runs:
        say(f"measuring {workdir}")
        measured.append(_measure(workdir, options))
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
    methods = _methods(measured)
    result = {
        "split": options.split,
        "protocol": first.protocol,
        "methods": [_summary(name, runs, first) for name, runs in methods.items()],
        "differences": _differences(methods),
    }
    if options.json:
        print(json.dumps(result, allow_nan=False))
    else:
        _print(result)
    if options.out:
        curves = {
            name: [read_metrics(run.workdir) for run in runs] for name, runs in methods.items()
        }
        compared_curves(options.out, curves)
        say(f"wrote {options.out}")


def _measure(workdir: Path, options: argparse.Namespace) -> Compared:
    run = load_run(workdir, options.checkpoint or "newest")
    config = change_config(run.config, overrides_of(options), MOVABLE)
    run = run.under(config)
    if run.unfinished:
        say(f"note: training of {workdir} has {run.unfinished} steps to go")
    with showing() as show:
        seen = run.seen or ()
        found = evaluate(config, run.model, run.variables, options.split, seen, show)
    neck = [each for each in found.measured if each.feature == "neck"]
    ids = found.features.index.identities
    return Compared(
        workdir,
        run.config,
        [row for row in found.rows if row["feature"] == "neck"],
        [each.average_precision for each in neck],
        [ids[each.queries] for each in neck],
        found.features.index.fingerprint,
        found.protocol,
        run.record["data"],
    )


def _methods(measured: Sequence[Compared]) -> dict[str, list[Compared]]:
    """{name: its runs, by seed}; the name is that of its first run's directory.

    Raises:
      InputError: two runs of one method have one seed.
    """
    groups: list[list[Compared]] = []
    for run in measured:
        for group in groups:
            if run.is_method_of(group[0]):
                group.append(run)
                break
        else:
            groups.append([run])
    methods = {}
    for group in groups:
        seeds: dict[int, Compared] = {}
        for run in group:
            if run.config.seed in seeds:
                raise InputError(
                    f"{run.workdir} and {seeds[run.config.seed].workdir} are the same training "
                    "with the same seed: leave one out"
                )
            seeds[run.config.seed] = run
        name = group[0].workdir.name
        if name in methods:  # directories of one name in different places
            name = str(group[0].workdir)
        methods[name] = [seeds[seed] for seed in sorted(seeds)]
    return methods


def _summary(name: str, runs: Sequence[Compared], first: Compared) -> dict[str, Any]:
    """A method's figures, mean and standard deviation over its runs."""
    fields = to_fields(runs[0].config)
    changed = [
        field for field in differences(first.config, runs[0].config) if field not in _SAME_METHOD
    ]
    differs_in = {field: fields[field] for field in changed}
    if not runs[0].has_images_of(first):
        differs_in["training images"] = runs[0].trained_on
    rows = []
    for place, row in enumerate(runs[0].rows):
        figures = [{f: run.rows[place][f] for f in SHOWN} for run in runs]
        rows.append(
            {**{key: row[key] for key in ("query", "gallery", "search")}, **average(figures)}
        )
    return {
        "name": name,
        "runs": [str(run.workdir) for run in runs],
        "seeds": [run.config.seed for run in runs],
        "differs_in": differs_in,
        "results": rows,
    }


def _differences(methods: dict[str, list[Compared]]) -> list[dict[str, Any]]:
    """mAP of each method minus that of the first, on the same queries and with the same seeds."""
    (reference, base), *others = methods.items()
    found = []
    for name, runs in others:
        seeds = sorted({r.config.seed for r in base} & {r.config.seed for r in runs})
        # Without a seed in common, the means over seeds are what can be compared.
        paired = bool(seeds)
        sides = [[r for r in side if r.config.seed in seeds or not paired] for side in (runs, base)]
        for place, row in enumerate(base[0].rows):
            ours, theirs = (np.array([run.precision[place] for run in side]) for side in sides)
            if not paired:
                ours, theirs = ours.mean(axis=0), theirs.mean(axis=0)
            try:
                comparison = compare_queries(ours, theirs, base[0].identities[place])
            except ValueError as error:  # the test set is too small
                raise InputError(
                    f"{row['query']} -> {row['gallery']} cannot be compared: {error}"
                ) from error
            found.append(
                {
                    **{key: row[key] for key in ("query", "gallery", "search")},
                    "method": name,
                    "against": reference,
                    "seeds": seeds,
                    "mean_ap": comparison.difference,
                    "by_seed": comparison.by_seed.tolist() if paired else [],
                    "over_queries": comparison.over_queries,
                    "over_identities": comparison.over_identities,
                    "over_both": None if len(seeds) < 2 else comparison.over_both,
                    "queries": comparison.queries,
                    "identities": comparison.identities,
                }
            )
    return found


def _print(result: dict[str, Any]) -> None:
    rows = []
    for method in result["methods"]:
        for row in method["results"]:
            pair = f"{row['query']} -> {row['gallery']}"
            rows.append(
                (
                    method["name"],
                    len(method["runs"]),
                    pair,
                    row["search"],
                    *(figure_text(row, f) for f in SHOWN),
                )
            )
    print_table(
        f"{result['split']}: {result['protocol']} (percent, the neck's feature)",
        ("method", ">runs", "query -> gallery", "search", *(f">{FIGURES[f]}" for f in SHOWN)),
        rows,
    )
    for method in result["methods"]:
        if len(method["runs"]) > 1:
            seeds = ", ".join(map(str, method["seeds"]))
            print(f"{method['name']}: mean of {', '.join(method['runs'])}, of the seeds {seeds}")
    for method in result["methods"][1:]:
        fields = ", ".join(f"{k} = {v}" for k, v in method["differs_in"].items())
        print(f"{method['name']} differs from {result['methods'][0]['name']} in: {fields}")
    if not result["differences"]:
        alone = len(result["methods"][0]["runs"]) == 1
        why = "one run" if alone else "one method, since the runs differ in their seed alone"
        say(f"{why}: nothing to compare it with")
        return
    rows = []
    for row in result["differences"]:
        rows.append(
            (
                f"{row['method']} - {row['against']}",
                f"{row['query']} -> {row['gallery']}",
                row["search"],
                f"{100 * row['mean_ap']:+.2f}",
                ", ".join(f"{100 * x:+.2f}" for x in row["by_seed"]) or "other seeds",
                *(_interval(row, of) for of in ("queries", "identities")),
                _bounds(row["over_both"]) if row["over_both"] else "-",
            )
        )
    print_table(
        "difference of mAP in points on the same queries; 95 % intervals of a bootstrap over "
        "queries and over their identities (how many), and Student's over identities and seeds",
        (
            *("methods", "query -> gallery", "search", ">mAP", "each seed"),
            *("queries", "identities", "identities and seeds"),
        ),
        rows,
    )


def _interval(row: dict[str, Any], of: str) -> str:
    return f"{_bounds(row[f'over_{of}'])} ({row[of]})"


def _bounds(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * low:+.2f} to {100 * high:+.2f}"
