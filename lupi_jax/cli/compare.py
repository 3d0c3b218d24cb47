"""`lupi compare`: which of several trainings is better, and how certain the difference is."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lupi_jax as lupi
from lupi_jax.cli.console import PICTURES, check_out, print_table, say
from lupi_jax.cli.network import add_checkpoint, add_images
from lupi_jax.errors import shown
from lupi_jax.runtime.records import printable

if TYPE_CHECKING:
    from lupi_jax.evaluation import RunComparison

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
        "one method: runs/paper-0 and runs/paper-1 become paper",
    )
    text = "run whose method the other methods are compared with (the first RUN)"
    add("--reference", type=Path, metavar="RUN", help=text)
    add_checkpoint(parser)
    add_images(parser)
    add("--out", type=Path, metavar="PICTURE", help="picture to draw, of the training curves")
    add("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> None:
    """Measure runs on the same images, and compare each method with the reference."""
    from lupi_jax.report.drawing import draw_comparison
    from lupi_jax.runtime.backend import start_backend
    from lupi_jax.runtime.terminal import showing

    check_out(options.out, PICTURES)
    start_backend()
    with showing() as show:
        found = lupi.compare_runs(
            options.runs,
            options.reference,
            options.split,
            checkpoint=options.checkpoint,
            overrides=options.overrides,
            show=show,
        )
    for note in found.notes:
        say(f"note: {note}")
    try:
        if options.out:
            draw_comparison(found, options.out)
            say(f"wrote {options.out}")
    finally:  # even if the picture cannot be written, because the figures took hours
        if options.json:
            print(json.dumps(printable(found.record), allow_nan=False))
        else:
            _print_figures(found)
            _print_differences(found)


def _print_figures(found: "RunComparison") -> None:
    from lupi_jax.evaluation.figures import FIGURES, figure_text
    from lupi_jax.evaluation.methods import SHOWN

    print_table(
        f"{found.split}: {found.protocol} (percent, feature after the neck)",
        ("method", ">runs", "query -> gallery", "search", *(f">{FIGURES[f]}" for f in SHOWN)),
        [
            (
                method["name"],
                len(method["runs"]),
                *_search(row),
                *(figure_text(row, figure) for figure in SHOWN),
            )
            for method in found.methods
            for row in method["results"]
        ],
    )
    for method in found.methods:
        if len(method["runs"]) > 1:
            seeds = ", ".join(map(str, method["seeds"]))
            runs = ", ".join(method["runs"])
            print(shown(f"{method['name']}: mean of {runs} (seeds {seeds})"))
    first, *others = found.methods
    for method in others:
        fields = ", ".join(f"{k} = {v}" for k, v in method["differs_in"].items())
        print(shown(f"{method['name']} differs from {first['name']} in: {fields}"))


def _print_differences(found: "RunComparison") -> None:
    if not found.differences:
        alone = len(found.methods[0]["runs"]) == 1
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
            for row in found.differences
        ],
    )


def _search(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"{row['query']} -> {row['gallery']}", row["search"]


def _bounds(interval: Sequence[float]) -> str:
    return " to ".join(map(_points, interval))


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"
