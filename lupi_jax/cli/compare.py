"""`lupi compare`: which of several trainings is better, and how certain the difference is."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lupi_jax as lupi
from lupi_jax.cli.console import PICTURES, check_out, print_table, readable, say
from lupi_jax.cli.network import add_checkpoint, add_images, load_from, measure
from lupi_jax.errors import InputError, plural, shown

if TYPE_CHECKING:
    from lupi_jax.evaluation.methods import MeasuredRun

SUMMARY = "compare runs by paired differences, intervals and curves"
EXAMPLE = "lupi compare runs/* --reference runs/baseline-0 --out curves.png"
NEEDS = ("evaluation", "report.pictures", "training")
SAVED = "nothing was saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi compare`."""
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="directories of runs of `lupi train`; runs that differ only in their seed count as "
        "one method, named by what their directories have in common",
    )
    text = "run whose method the other methods are compared with (the first RUN)"
    add("--reference", type=Path, metavar="RUN", help=text)
    add_checkpoint(parser)
    add_images(parser)
    add("--out", type=Path, metavar="PICTURE", help="picture to draw, of the training curves")
    add("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> None:
    """Measure runs on the same images, and compare each method with the reference."""
    from lupi_jax.evaluation.methods import compare_methods
    from lupi_jax.report.pictures import compared_curves
    from lupi_jax.runtime.backend import start_backend
    from lupi_jax.training.logging import read_metrics

    if len({path.resolve() for path in options.runs}) < len(options.runs):
        raise InputError("a run is named twice: name each once")
    runs = _reference_first(options.runs, options.reference)
    check_out(options.out, PICTURES)
    start_backend()
    methods, compared = compare_methods([_measure(path, options) for path in runs])
    result = {"split": options.split, **compared}
    try:
        if options.out:
            curves = {
                name: [read_metrics(each.workdir) for each in own] for name, own in methods.items()
            }
            compared_curves(options.out, curves)
            say(f"wrote {options.out}")
    finally:  # even if the picture cannot be written, because the figures took hours
        _print(result, options.json)


def _reference_first(runs: Sequence[Path], reference: Path | None) -> list[Path]:
    """`runs`, with the one that `reference` names first."""
    if reference is None:
        return list(runs)
    place = reference.resolve()
    named = [path for path in runs if path.resolve() == place]
    if not named:
        raise InputError(f"--reference {reference}: this run is not compared: name one of the RUNs")
    return named + [path for path in runs if path.resolve() != place]


def _measure(workdir: Path, options: argparse.Namespace) -> "MeasuredRun":
    from lupi_jax.evaluation.methods import MeasuredRun, measuring
    from lupi_jax.training.run import RESUMABLE

    say(f"measuring {workdir}")
    network = load_from(workdir, options)
    if network.unfinished:
        left = plural(network.unfinished, "step")
        say(f"note: {workdir}: training is not finished: {left} to go")
    found = measure(network, options.split)
    neck = [each for each in found.measured if each.feature == "neck"]
    index = found.features.index
    # Runs of one method may differ in these fields. Their length is part of the method.
    free = {"seed", *RESUMABLE, *lupi.training.MOVABLE} - {"steps", "epochs"}
    fields = lupi.config.to_fields(network.config)
    return MeasuredRun(
        workdir=workdir,
        seed=network.config.seed,
        fields={name: value for name, value in fields.items() if name not in free},
        draws_people=bool(network.config.data.validation_identities),
        trained_on=network.record["data"],
        settings=measuring(fields),
        split=options.split,
        images=index.fingerprint,
        protocol=found.protocol,
        rows=[row for row in found.rows if row["feature"] == "neck"],
        precision=[each.average_precision for each in neck],
        identities=[index.identities[each.queries] for each in neck],
    )


def _print(result: dict[str, Any], as_json: bool) -> None:
    _say_unequal_seeds(result)
    if as_json:
        print(json.dumps(readable(result), allow_nan=False))
    else:
        _print_figures(result)
        _print_differences(result)


def _say_unequal_seeds(result: dict[str, Any]) -> None:
    """Say where differences leave out seeds that the means of the methods are over."""
    seeds = {method["name"]: method["seeds"] for method in result["methods"]}
    shared = {(row["against"], row["method"]): row["seeds"] for row in result["differences"]}
    for (base, name), common in shared.items():
        sizes = len(seeds[base]), len(seeds[name])
        if common and len(common) < max(sizes):  # without a common seed, whole means are compared
            say(
                f"note: {base} and {name} share {len(common)} of {sizes[0]} and {sizes[1]} seeds; "
                "differences use the shared seeds only"
            )


def _print_figures(result: dict[str, Any]) -> None:
    from lupi_jax.evaluation.figures import FIGURES, figure_text
    from lupi_jax.evaluation.methods import SHOWN

    print_table(
        f"{result['split']}: {result['protocol']} (percent, feature after the neck)",
        ("method", ">runs", "query -> gallery", "search", *(f">{FIGURES[f]}" for f in SHOWN)),
        [
            (
                method["name"],
                len(method["runs"]),
                *_search(row),
                *(figure_text(row, figure) for figure in SHOWN),
            )
            for method in result["methods"]
            for row in method["results"]
        ],
    )
    for method in result["methods"]:
        if len(method["runs"]) > 1:
            seeds = ", ".join(map(str, method["seeds"]))
            runs = ", ".join(method["runs"])
            print(shown(f"{method['name']}: mean of {runs} (seeds {seeds})"))
    first, *others = result["methods"]
    for method in others:
        fields = ", ".join(f"{k} = {v}" for k, v in method["differs_in"].items())
        print(shown(f"{method['name']} differs from {first['name']} in: {fields}"))


def _print_differences(result: dict[str, Any]) -> None:
    if not result["differences"]:
        alone = len(result["methods"][0]["runs"]) == 1
        why = "one run" if alone else "one method, because the runs differ only in their seed"
        say(f"{why}: nothing to compare it with")
        return
    print_table(
        "difference of mAP in points on the same queries, with 95 % intervals: bootstrap over "
        "queries and over identities (with their number), Student's over identities and seeds",
        (
            *("methods", "query -> gallery", "search", ">mAP", "each seed"),
            *("queries", "identities", "identities and seeds"),
        ),
        [
            (
                f"{row['method']} - {row['against']}",
                *_search(row),
                _points(row["mean_ap"]),
                ", ".join(map(_points, row["by_seed"])) or "other seeds",
                *(f"{_bounds(row[f'over_{of}'])} ({row[of]})" for of in ("queries", "identities")),
                _bounds(row["over_both"]) if row["over_both"] else "-",
            )
            for row in result["differences"]
        ],
    )


def _search(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['query']} -> {row['gallery']}", row["search"]


def _bounds(interval: Sequence[float]) -> str:
    return " to ".join(map(_points, interval))


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"
