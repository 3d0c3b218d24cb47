"""`lupi evaluate`: figures as a table, JSON and pictures."""

import argparse
import copy
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lupi_jax.cli.console import interrupted, print_table, say
from lupi_jax.cli.network import load, parse_trials
from lupi_jax.config import EvaluationConfig, parse_record
from lupi_jax.errors import InputError
from lupi_jax.evaluation import Evaluation, average_runs
from lupi_jax.evaluation import evaluate as measure
from lupi_jax.evaluation.figures import FIGURES, figure_text
from lupi_jax.evaluation.search import ranking_rows
from lupi_jax.report.pictures import ranking_picture, training_curves
from lupi_jax.runtime.files import write_whole
from lupi_jax.runtime.hosts import is_first
from lupi_jax.runtime.phases import phase
from lupi_jax.runtime.terminal import showing
from lupi_jax.training import Run
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.run import versions


def evaluate(options: argparse.Namespace) -> None:
    """Evaluate one network, or one on each of several of RegDB's splits.

    Raises:
      InputError: the network or the data cannot be used, or the one was trained on the other.
    """
    with interrupted(lambda: "nothing was saved"):
        if options.trials is not None:
            _evaluate_trials(options)
            return
        run = load(options, options.untrained)
        found = _measure(run, options)
        result = _result(run, found, options)
    if not is_first():
        return
    data = run.config.data
    _print(result, f"{data.name} {data.root}, {options.split}, {run.name}", options)
    if run.unfinished and not options.untrained:
        say(f"note: training has {run.unfinished} steps to go")
    folder = options.out or (options.workdir and options.workdir / "evaluation")
    if folder is None:
        return
    name = "-".join([options.split, *_result_name(run, found.features.index.fingerprint)])
    figures = _write(folder / f"{name}.json", result)
    drawing = interrupted(lambda: f"the figures are saved in {figures}, not all pictures")
    with drawing, phase("drawing the pictures"):
        written = [figures, *_draw(run, found, options, folder / name)]
    for path in written:
        say(f"wrote {path}")


def _measure(run: Run, options: argparse.Namespace) -> Evaluation:
    with showing() as show:
        seen = run.seen or ()
        return measure(run.config, run.model, run.variables, options.split, seen, show)


def _draw(run: Run, found: Evaluation, options: argparse.Namespace, stem: Path) -> list[Path]:
    """The pictures of a result, named after it; which were drawn."""
    written = []
    # A picture ranks by distance alone: beside re-ranked figures it would show something else.
    if run.name != "untrained" and run.config.evaluation.reranking == "none":
        first = {(task.query, task.gallery): task for task in reversed(found.tasks)}
        for task in sorted(first.values(), key=found.tasks.index):
            picture = stem.with_name(f"{stem.name}-{task.query}-to-{task.gallery}.png")
            rows = ranking_rows(found.features, task.trials[0], run.config.data.image_size)
            ranking_picture(picture, rows)
            written.append(picture)
        curves = read_metrics(options.workdir) if options.workdir else []
        if curves:
            written.append(stem.with_name("training.png"))
            training_curves(written[-1], curves)
    return written


def _evaluate_trials(options: argparse.Namespace) -> None:
    """One network for each split, each on its own, and their mean."""
    if options.workdir is None:
        raise InputError("--trials are of the runs below --workdir: give it")
    trials = parse_trials(options.trials)
    lacking = [t for t in trials if not (options.workdir / f"trial-{t}/checkpoints").is_dir()]
    if lacking:
        raise InputError(
            f"no run of split {', '.join(map(str, lacking))} below {options.workdir}: train it "
            f"with `lupi train --config configs/regdb.py --workdir {options.workdir} --trials "
            f"{','.join(map(str, lacking))}`"
        )
    results = []
    for trial in trials:
        own = copy.copy(options)
        own.workdir = options.workdir / f"trial-{trial}"
        run = load(own, options.untrained)
        if run.config.data.name != "regdb" or run.config.data.trial != trial:
            raise InputError(
                f"{own.workdir} holds a network of {run.config.data.name}, split "
                f"{run.config.data.trial}, not of RegDB's split {trial}: train that one there"
            )
        if run.unfinished and not options.untrained:
            raise InputError(
                f"{own.workdir} has {run.unfinished} steps to go: finish its training first"
            )
        say(f"split {trial} of RegDB, {run.name} ...")
        found = _measure(run, options)
        results.append(_result(run, found, own))
    shown = f"{len(trials)} splits, one network each" if len(trials) > 1 else f"split {trials[0]}"
    rest = results[0]["protocol"].partition(", all images")[2]
    common = ("split", "feature", "reranking", "precision", "checkpoint", "selection", "versions")
    result = {
        **{name: results[0][name] for name in common},
        "workdir": str(options.workdir),
        "protocol": f"RegDB, {shown}, all images{rest}",
        "splits": trials,
        "trials": len(trials),
        "results": average_runs([r["results"] for r in results]),
        "runs": results,
    }
    if not is_first():
        return
    step = "untrained" if options.untrained else "trained"
    _print(result, f"regdb {options.workdir}, {options.split}, {step}", options)
    folder = options.out or options.workdir / "evaluation"
    parts = [options.split, f"trials{'+'.join(map(str, trials))}"]
    parts += ["untrained"] * options.untrained + [options.checkpoint] * bool(options.checkpoint)
    parts += _changed(run)
    say(f"wrote {_write(folder / ('-'.join(parts) + '.json'), result)}")


def _result(run: Run, found: Evaluation, options: argparse.Namespace) -> dict[str, Any]:
    """What is written of one evaluation: its figures, and all that they depend on."""
    config = run.config
    trained = dict(run.record)
    trained.pop("identities", None)  # in the checkpoint, for whoever asks; here only in the way
    return {
        **trained,
        "config": dataclasses.asdict(config),
        "protocol": found.protocol,
        "split": options.split,
        "trials": max(len(task.trials) for task in found.tasks),
        "seeds": {"training": config.seed, "galleries": found.seeds},
        "feature": sorted({row["feature"] for row in found.rows}),
        "reranking": config.evaluation.reranking,
        "precision": run.precision,
        "workdir": options.workdir and str(options.workdir),
        "checkpoint": options.checkpoint or ("newest" if options.workdir else run.name),
        "selection": selection(run, options),
        "people_unseen_in_training": None if run.seen is None else options.split != "train",
        "images": {
            "root": config.data.root,
            "fingerprint": found.features.index.fingerprint,
        },
        "step": run.step,
        "versions": {"training": trained.get("versions"), "evaluation": versions()},
        "results": found.rows,
    }


def selection(run: Run, options: argparse.Namespace) -> str:
    """How the checkpoint was chosen."""
    if run.step is None:
        return "trained elsewhere: not known"
    if run.step == 0:
        return "untrained"
    if options.checkpoint != "best":
        return "the newest" if options.checkpoint in (None, "newest") else "by its step"
    data = run.config.data
    who = f"{data.validation_identities} training identities held out"
    if data.validation_split:
        who = "the data set's own validation identities"
    return f"best mAP, mean over the protocol's searches, on {who}"


def _result_name(run: Run, fingerprint: str) -> list[str]:
    """What tells this result from others of the network: its step, and what is not as trained."""
    trained, now = run.record["config"]["data"], run.config.data
    parts = [run.name if run.step is None else f"step{run.step}"]
    # A network without a run has no place of its own for its results.
    elsewhere = run.step is None or "steps" not in run.record
    if elsewhere or any(getattr(now, name) != trained[name] for name in ("root", "index", "trial")):
        parts.append(fingerprint)
    return parts + _changed(run)


def _changed(run: Run) -> list[str]:
    """The evaluation's settings that are not the run's, or of a network without one the usual."""
    before = dataclasses.asdict(EvaluationConfig())
    if "steps" in run.record:
        before = dataclasses.asdict(parse_record(run.record["config"]).evaluation)
    parts = []
    for field, value in dataclasses.asdict(run.config.evaluation).items():
        if value != type(value)(before[field]):
            text = "+".join(value) if isinstance(value, tuple) else str(value)
            parts.append(f"{text}{field}" if field in ("trials", "precision") else text)
    return parts


def _write(path: Path, result: dict[str, Any]) -> Path:
    write_whole(path, json.dumps(result, indent=1) + "\n")
    return path


def _print(result: dict[str, Any], of: str, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(result))
        return
    headings = ("query -> gallery", "search", "feature", "queries", "with match", "gallery")
    print_table(
        f"{of}: {result['protocol']} (percent)",
        (*headings, *(f">{heading}" for heading in FIGURES.values())),
        [_cells(row) for row in result["results"]],
    )


def _cells(row: dict[str, Any]) -> Sequence[str]:
    counts = ("queries", "valid_queries", "gallery_images")
    return (
        f"{row['query']} -> {row['gallery']}",
        row["search"],
        row["feature"],
        *(str(row[name]) for name in counts),
        *(figure_text(row, name) for name in FIGURES),
    )
