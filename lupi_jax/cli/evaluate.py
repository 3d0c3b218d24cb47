"""`lupi evaluate`: figures as a table, as JSON and as pictures."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import lupi_jax as lupi
from lupi_jax.cli.console import print_table, readable, say
from lupi_jax.cli.network import (
    add_images,
    add_network,
    add_processes,
    add_trials,
    add_untrained,
    load,
    measure,
    parse_trials,
    selection,
)
from lupi_jax.errors import InputError, plural

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
    from lupi_jax.runtime.hosts import is_first
    from lupi_jax.runtime.phases import phase

    if options.trials is not None:
        _evaluate_trials(options)
        return
    network = load(options)
    found = measure(network, options.split)
    result = _result(network, found, options, options.workdir)
    if not is_first():
        return
    data = network.config.data
    title = f"{data.name} {data.root}, {options.split}, {network.name}"
    try:
        stem = _save(result, _result_name(network, found), options)
        if stem:
            with phase("drawing the pictures"):
                _draw(network, found, options.workdir, stem)
    finally:  # even if the disk is full, because the figures took hours
        _print(result, title, options.json)
    if network.unfinished and not options.untrained:
        say(f"note: training is not finished: {plural(network.unfinished, 'step')} to go")


def _save(result: dict[str, Any], name: list[str], options: argparse.Namespace) -> Path | None:
    """Write a result if a place for it is known; returns the path without its ending."""
    from lupi_jax.runtime.files import write_whole

    folder = options.out or (options.workdir and options.workdir / "evaluation")
    stem = folder and folder / "-".join([options.split, *name])
    if stem:
        file = stem.with_name(f"{stem.name}.json")
        write_whole(file, json.dumps(readable(result), indent=1) + "\n")
        say(f"wrote {file}")
    return stem


def _print(result: dict[str, Any], title: str, as_json: bool) -> None:
    from lupi_jax.evaluation.figures import FIGURES, figure_text

    if as_json:
        print(json.dumps(readable(result)))
        return
    headings = ("query -> gallery", "search", "feature", "queries", "with match", "gallery")
    counts = ("queries", "valid_queries", "gallery_images")
    print_table(
        f"{title}: {result['protocol']} (percent)",
        (*headings, *(f">{heading}" for heading in FIGURES.values())),
        [
            (
                f"{row['query']} -> {row['gallery']}",
                row["search"],
                row["feature"],
                *(row[name] for name in counts),
                *(figure_text(row, name) for name in FIGURES),
            )
            for row in result["results"]
        ],
    )


def _draw(
    run: "lupi.training.Run", found: "lupi.evaluation.Evaluation", workdir: Path | None, stem: Path
) -> None:
    from lupi_jax.evaluation.search import ranking_rows
    from lupi_jax.report.pictures import ranking_picture, training_curves
    from lupi_jax.training.logging import read_metrics

    # A picture ranks by distance alone, so it would not match re-ranked figures.
    if run.name == "untrained" or run.config.evaluation.reranking != "none":
        return
    drawn = set()
    for task in found.tasks:
        picture = stem.with_name(f"{stem.name}-{task.query}-to-{task.gallery}.png")
        if picture not in drawn:  # the first search of a pair
            rows = ranking_rows(found.features, task.trials[0], run.config.data.image_size)
            ranking_picture(
                picture, rows, f"{task.query} queries, {task.gallery} gallery: {task.name}"
            )
            say(f"wrote {picture}")
            drawn.add(picture)
    curves = read_metrics(workdir) if workdir else []
    if curves:
        picture = stem.with_name("training.png")
        training_curves(picture, curves)
        say(f"wrote {picture}")


def _evaluate_trials(options: argparse.Namespace) -> None:
    """Evaluate one network per split, each on its own split, and give their mean."""
    from lupi_jax.runtime.hosts import is_first

    if options.workdir is None:
        raise InputError("--trials needs --workdir, the directory that contains the trial-N runs")
    trials = parse_trials(options.trials)
    below = {trial: options.workdir / f"trial-{trial}" for trial in trials}
    lacking = [str(t) for t, workdir in below.items() if not (workdir / "checkpoints").is_dir()]
    if lacking:
        raise InputError(
            f"no run of split {', '.join(lacking)} below {options.workdir}: train it with `lupi "
            f"train --config configs/regdb.py --workdir {options.workdir} --trials "
            f"{','.join(lacking)}`"
        )
    results, name = [], []
    for trial, workdir in below.items():
        network = _load_trial(workdir, trial, options)
        say(f"split {trial} of RegDB, {network.name} ...")
        found = measure(network, options.split)
        results.append(_result(network, found, options, workdir))
        name = _changed(network)
    if not is_first():
        return
    step = "untrained" if options.untrained else "trained"
    result = _mean_result(results, trials, options.workdir)
    which = ["untrained"] * options.untrained + [options.checkpoint] * bool(options.checkpoint)
    name = [f"trials{'+'.join(map(str, trials))}", *which, *name]
    try:
        _save(result, name, options)
    finally:
        _print(result, f"regdb {options.workdir}, {options.split}, {step}", options.json)


def _load_trial(workdir: Path, trial: int, options: argparse.Namespace) -> "lupi.training.Run":
    network = load(argparse.Namespace(**{**vars(options), "workdir": workdir}))
    data = network.config.data
    if (data.name, data.trial) != ("regdb", trial):
        raise InputError(
            f"{workdir}: this network was trained on {data.name}, split {data.trial}, not on "
            f"RegDB's split {trial}: train that one there"
        )
    if network.unfinished and not options.untrained:
        raise InputError(
            f"{workdir}: training is not finished, {plural(network.unfinished, 'step')} to go: "
            "finish it first"
        )
    return network


def _mean_result(results: list[dict[str, Any]], trials: list[int], workdir: Path) -> dict[str, Any]:
    shown = f"{len(trials)} splits, one network each" if len(trials) > 1 else f"split {trials[0]}"
    rest = results[0]["protocol"].partition(", all images")[2]
    common = ("split", "feature", "reranking", "precision", "checkpoint", "selection", "versions")
    return {
        **{name: results[0][name] for name in common},
        "workdir": str(workdir),
        "protocol": f"RegDB, {shown}, all images{rest}",
        "splits": trials,
        "trials": len(trials),
        "results": lupi.evaluation.average_runs([result["results"] for result in results]),
        "runs": results,
    }


def _result(
    run: "lupi.training.Run",
    found: "lupi.evaluation.Evaluation",
    options: argparse.Namespace,
    workdir: Path | None,
) -> dict[str, Any]:
    """The record of one evaluation: its figures, and everything that they depend on."""
    from lupi_jax.data.contents import look_at, summary
    from lupi_jax.data.sources.manifest import difficulty
    from lupi_jax.evaluation.origin import NETWORK
    from lupi_jax.evaluation.verification import verify
    from lupi_jax.training.run import versions

    config, index = run.config, found.features.index
    images = {
        "root": config.data.root,
        "fingerprint": index.fingerprint,
        "content": summary(index, look_at(index)),
    }
    if config.data.name == "synthetic" and (rendered := difficulty(Path(config.data.root))):
        images["difficulty"] = rendered
    trained = dict(run.record)
    for name in ("identities", "files"):  # long lists, which the checkpoint already has
        trained.pop(name, None)
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
        "workdir": workdir and str(workdir),
        "checkpoint": options.checkpoint or ("newest" if workdir else run.name),
        "selection": selection(run, options.checkpoint),
        "people_unseen_in_training": None if run.seen is None else options.split != "train",
        "images": images,
        "step": run.step,
        "versions": {"training": trained.get("versions"), "evaluation": versions()},
        NETWORK: found.features.origin[NETWORK],
        "results": found.rows,
        "verification": [verify(found.features, task) for task in found.tasks],
    }


def _result_name(run: "lupi.training.Run", found: "lupi.evaluation.Evaluation") -> list[str]:
    """Parts of a file name that tell this result from others of the network.

    The parts are the network's step and every setting that differs from training.
    """
    trained, now = run.record["config"]["data"], run.config.data
    parts = [run.name if run.step is None else f"step{run.step}"]
    # A network without a run has no directory of its own for its results.
    elsewhere = run.step is None or "steps" not in run.record
    if elsewhere or any(getattr(now, name) != trained[name] for name in ("root", "index", "trial")):
        parts.append(found.features.index.fingerprint)
    if now.identity_zero != trained.get(
        "identity_zero", "auto"
    ):  # the same images, read differently
        parts.append(f"zero-{now.identity_zero}")
    return parts + _changed(run)


def _changed(run: "lupi.training.Run") -> list[str]:
    """The evaluation's settings that differ from the run's; without a run, from the defaults."""
    before = lupi.config.EvaluationConfig()
    if "steps" in run.record:
        before = lupi.config.parse_record(run.record["config"]).evaluation
    parts = []
    for field, value in dataclasses.asdict(run.config.evaluation).items():
        if value != getattr(before, field):
            text = "+".join(value) if isinstance(value, tuple) else str(value)
            parts.append(f"{text}{field}" if field in ("trials", "precision") else text)
    return parts
