"""`lupi evaluate`: figures as a table, as JSON and as pictures."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import lupi_jax as lupi
from lupi_jax.cli.console import print_table, say
from lupi_jax.cli.network import (
    add_images,
    add_network,
    add_processes,
    add_trials,
    add_untrained,
    load,
    parse_trials,
    require_one_network,
)
from lupi_jax.errors import InputError
from lupi_jax.runtime.records import printable

if TYPE_CHECKING:
    from lupi_jax.evaluation import Results

SUMMARY = "measure a run on people never seen in training"
EXAMPLE = """lupi evaluate --workdir runs/demo
  lupi evaluate --workdir runs/demo \\
      --config.evaluation.pairs="('visible_to_visible',)"
  lupi evaluate --config configs/sysu.py:released --checkpoint original.t"""
NEEDS = ("evaluation", "report.pictures", "training")
SAVED = "only the files named above were saved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi evaluate`."""
    add_network(parser)
    add_images(parser)
    add_trials(parser, "give the mean over RUN/trial-N, each on its own split")
    add_untrained(parser)
    add, out = parser.add_argument, "directory for the JSON file and the pictures (RUN/evaluation)"
    add("--out", type=Path, metavar="DIR", help=out)
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--profile", action="store_true", default=None, help="print how long each phase takes")
    add_processes(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate one network, or one network per split of RegDB."""
    from lupi_jax.report.drawing import draw_results
    from lupi_jax.runtime.hosts import is_first
    from lupi_jax.runtime.phases import phase

    results = _measure(options)
    for note in results.notes:
        say(f"note: {note}")
    if not is_first():
        return
    folder = options.out or (options.workdir and options.workdir / "evaluation")
    try:
        if folder:
            say(f"wrote {results.save(folder)}")
            with phase("drawing the pictures"):
                for picture in draw_results(results, folder):
                    say(f"wrote {picture}")
    finally:  # even if the disk is full, because the figures took hours
        _print(results, options.json)


def _measure(options: argparse.Namespace) -> "Results":
    from lupi_jax.evaluation.results import measure
    from lupi_jax.runtime.backend import start_backend
    from lupi_jax.runtime.terminal import showing

    if options.trials is None:
        network = load(options)
        with showing() as show:
            return measure(network, options.split, options.workdir, options.checkpoint, show)
    if options.workdir is None:
        raise InputError("--trials needs --workdir, the directory that contains the trial-N runs")
    require_one_network(options)
    trials = parse_trials(options.trials)
    start_backend()
    with showing() as show:
        return lupi.evaluate_trials(
            options.workdir,
            trials,
            options.split,
            checkpoint=options.checkpoint,
            untrained=options.untrained,
            overrides=options.overrides,
            fetch=options.fetch,
            show=show,
        )


def _print(results: "Results", as_json: bool) -> None:
    from lupi_jax.evaluation.figures import FIGURES, figure_text

    if as_json:
        print(json.dumps(printable(results.record)))
        return
    headings = ("query -> gallery", "search", "feature", "queries", "with match", "gallery")
    counts = ("queries", "valid_queries", "gallery_images")
    print_table(
        f"{results.title}: {results.protocol} (percent)",
        (*headings, *(f">{heading}" for heading in FIGURES.values())),
        [
            (
                f"{row['query']} -> {row['gallery']}",
                row["search"],
                row["feature"],
                *(row[name] for name in counts),
                *(figure_text(row, name) for name in FIGURES),
            )
            for row in results.rows
        ],
    )
