"""LUPI (paper, released) against the two-modality baseline, at one budget, over seeds.

    python experiments/recipes.py --config configs/folder.py --config.data.root=DATA \
        --workdir runs/recipes --name my_data --seeds 3

Each recipe and seed is a run of its own under the workdir; what is finished is not run again, and
an interrupted run goes on. Writes `experiments/results/<name>/recipes.{json,md}`.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from lupi_jax.config import to_fields
from lupi_jax.config_file import load_config, parse_overrides
from lupi_jax.errors import DivergedError, InputError
from lupi_jax.evaluation import evaluate, make_validation
from lupi_jax.training import load_run, train
from lupi_jax.training.logging import read_metrics

RECIPES = ("baseline", "paper", "released")
FIGURES = {"rank1": "R1", "rank10": "R10", "mean_ap": "mAP", "mean_inp": "mINP"}


def measure(spec: str, overrides: dict[str, str], workdir: Path) -> dict[str, Any]:
    """Train (or go on, or find trained) one run and evaluate it, trained and untrained."""
    config = load_config(spec, overrides)
    fields = json.loads(json.dumps(to_fields(config)))
    result = workdir / "result.json"
    if result.is_file():
        record = json.loads(result.read_text())
        if record["fields"] != fields:
            raise InputError(f"{result} is of another configuration: give another --workdir")
        return record
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    train(config, workdir, make_validation)
    run, untrained = load_run(workdir), load_run(workdir, untrained=True)
    last = [row for row in read_metrics(workdir) if row["split"] == "train"][-1]
    record = {
        "fields": fields,
        "commit": commit,
        "recipe": config.recipe,
        "seed": config.seed,
        "step": run.step,
        "results": evaluate(config, run.model, run.variables).rows,
        "untrained": evaluate(config, untrained.model, untrained.variables).rows,
        "last_losses": {k: v for k, v in last.items() if k.startswith("loss/")},
        "classes": run.model.num_classes,
        "versions": run.record["versions"],
    }
    result.write_text(json.dumps(record, indent=1) + "\n")
    return record


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over seeds, percent, the neck's feature."""
    groups = {f"{r}": [x for x in records if x["recipe"] == r] for r in RECIPES}
    heading = ["recipe", "query -> gallery", "seeds", *FIGURES.values()]
    lines = ["| " + " | ".join(heading) + " |", "|---" * len(heading) + "|"]

    def add(label: str, rows_of_seeds: list[list[dict[str, Any]]]) -> None:
        for i, row in enumerate(rows_of_seeds[0]):
            if row["feature"] != "neck":
                continue
            cells = []
            for figure in FIGURES:
                values = 100 * np.array([rows[i][figure] for rows in rows_of_seeds])
                spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.2f}{spread}")
            direction = f"{row['query']} -> {row['gallery']}"
            lines.append(
                f"| {label} | {direction} | {len(rows_of_seeds)} | " + " | ".join(cells) + " |"
            )

    add("untrained", [x["untrained"] for x in groups["baseline"]])
    for recipe, group in groups.items():
        if group:
            add(recipe, [x["results"] for x in group])
    return "\n".join(lines)


def write(records: list[dict[str, Any]], options: argparse.Namespace, fields: list[str]) -> None:
    """Write the results next to the command that made them."""
    folder = Path(__file__).parent / "results" / options.name
    folder.mkdir(parents=True, exist_ok=True)
    shown = [{**x, "fields": {**x["fields"], "data.root": "DATA"}} for x in records]
    (folder / "recipes.json").write_text(json.dumps(shown, indent=1) + "\n")
    commits = ", ".join(sorted({x["commit"] for x in records}))
    versions = ", ".join(f"{k} {v}" for k, v in records[0]["versions"].items())
    overrides = parse_overrides(fields)
    overrides["data.root"] = "DATA"  # where it lies here is of no use elsewhere
    command = shlex.join(
        [
            *("python", "experiments/recipes.py", "--config", options.config),
            *(f"--config.{name}={value}" for name, value in overrides.items()),
            *("--workdir", f"runs/{options.name}", "--name", options.name),
            *("--seeds", str(options.seeds)),
        ]
    )
    losses = "\n".join(
        f"| {x['recipe']} | {x['seed']} | "
        + ", ".join(f"{k[5:]} {v:.3f}" for k, v in x["last_losses"].items())
        + " |"
        for x in records
    )
    classes = records[0]["classes"]
    text = f"""# Recipes on {options.name}

    {command}

{records[0]["step"]} steps each, commit {commits}, {jax.devices()[0].device_kind}, {versions}.
Percent, mean ± standard deviation over seeds; feature after the BN neck; every image of one
modality queries all of the other, CMC over images.

{table(records)}

Losses of the last steps ({classes} classes: ln = {np.log(classes):.3f}):

| recipe | seed | losses |
|---|---|---|
{losses}
"""
    (folder / "recipes.md").write_text(text)
    print(text)


def main() -> int:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description="Compare recipes over seeds.")
    parser.add_argument("--config", required=True, help="a config file with the three variants")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--name", required=True, help="of the data, for the results' folder")
    parser.add_argument("--seeds", type=int, default=3)
    options, rest = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)  # Orbax narrates
    try:
        overrides = parse_overrides(rest)
        records = []
        for seed in range(options.seeds):
            for recipe in RECIPES:
                print(f"{recipe}, seed {seed}", file=sys.stderr)
                fields = {**overrides, "seed": str(seed)}
                workdir = options.workdir / f"{recipe}-{seed}"
                records.append(measure(f"{options.config}:{recipe}", fields, workdir))
                write(sorted(records, key=lambda x: RECIPES.index(x["recipe"])), options, rest)
    except (InputError, DivergedError) as error:
        print(f"recipes: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
