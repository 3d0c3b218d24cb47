"""Runs of the tables: trained where they are not there yet, measured once, kept as lines of a file.

A run is known by what its numbers depend on: its configuration and its training images. What is in
`experiments/results/<name>/runs.jsonl` is not run again, by whichever table; a run that was cut
off goes on from its last checkpoint.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock, Timeout

from experiments.cells import CELLS, Cell
from lupi_jax.config import Config, to_fields
from lupi_jax.config.file import load_config, parse_overrides
from lupi_jax.data import Index, read_searched, read_training, source_modalities
from lupi_jax.errors import InputError
from lupi_jax.evaluation import (
    Evaluation,
    domain_shift_test,
    evaluate,
    evaluate_features,
    make_validation,
)
from lupi_jax.evaluation.metrics.tasks import WITHOUT, WITHOUT_IMAGE, is_within
from lupi_jax.evaluation.searched import make_tasks, same_modality_rule
from lupi_jax.modality import Modality
from lupi_jax.training import load_run, load_untrained, train
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.loop import prepare_data
from lupi_jax.training.run import RESUMABLE, versions

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
DATA = ("sysu", "regdb", "llcm", "folder", "synthetic")

PAIRS = (
    "visible_to_visible",
    "infrared_to_infrared",
    "intermediate_to_intermediate",
    "infrared_to_visible",
    "infrared_to_intermediate",
    "visible_to_infrared",
)
"""(query)_to_(gallery) that every network is measured on."""

BANDWIDTHS: tuple[tuple[float, ...] | None, ...] = (None, (0.25, 0.5, 1.0))
"""Of the kernels of the domain shift, in units of features of length 1; None: the median."""

SHIFT_ROWS = 2000
"""Images of a modality that the domain shift is measured on, at most."""

# What a run's numbers do not depend on: what may change when it is resumed, but for its length.
_INDIFFERENT = {*RESUMABLE, "log.validate_every", "data.workers"} - {"steps", "epochs"}


# Fields that are younger than the recorded runs, with what those did: so they keep their keys.
_YOUNGER = {
    "model.shared_from": "layer2",
    "precision": "default",
    "views.share_crop_and_flip": False,
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Which data, and how cells are trained on them.

    Attributes:
      config: file of the configuration.
      overrides: of its fields, for all cells: {dotted name: value as text}.
      name: of the data, for the results' folder.
      workdir: of the runs.
      repeats: what one network of a cell differs in from the next, {field: value}: seeds, or
        RegDB's splits.
      fetch: whether pre-trained weights may come over the network.
    """

    config: Path
    overrides: dict[str, str]
    name: str
    workdir: Path
    repeats: tuple[dict[str, str], ...]
    fetch: bool = False

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return HERE / "results" / self.name

    def configuration(self, cell: Cell, repeat: dict[str, str]) -> Config:
        """That of one run.

        Raises:
          InputError: fields are wrong.
        """
        fields = {**self.overrides, **cell.fields, **repeat, "evaluation.pairs": repr(PAIRS)}
        return load_config(f"{self.config}:{cell.recipe}", fields)

    @property
    def what_repeats(self) -> str:
        """ "seeds", or "splits"."""
        return "splits" if "data.trial" in self.repeats[0] else "seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `make_sweep` reads."""
    parser.add_argument("--data", choices=DATA, required=True, help="kind of data set")
    parser.add_argument("--root", required=True, help="its directory")
    parser.add_argument("--config", type=Path, help="a config file (configs/<data>.py)")
    parser.add_argument("--name", help="of the results' folder (that of --data)")
    parser.add_argument("--workdir", type=Path, help="of the runs (runs/tables/<name>)")
    parser.add_argument("--cells", metavar="NAME,...", help="train and show these alone")
    parser.add_argument("--seeds", type=int, help="networks a cell (3; RegDB: its 10 splits)")
    parser.add_argument("--fetch", action="store_true", help="download weights the cache lacks")


def make_sweep(options: argparse.Namespace, rest: Sequence[str]) -> Sweep:
    """The sweep that the command line asks for; `rest` sets fields, as with `lupi train`.

    Raises:
      InputError: an argument cannot be used.
    """
    most = 10 if options.data == "regdb" else None
    count = options.seeds if options.seeds is not None else (most or 3)
    if count < 1 or (most and count > most):
        raise InputError(f"--seeds {count}: give {'1 to 10' if most else 'at least 1'}")
    repeats = tuple(
        {"data.trial": str(i + 1), "seed": "0"} if most else {"seed": str(i)} for i in range(count)
    )
    overrides = {**parse_overrides(rest), "data.root": options.root}
    by_cells = {name for cell in CELLS.values() for name in cell.fields}
    fixed = overrides.keys() & {"seed", "data.trial", "evaluation.pairs", "recipe", *by_cells}
    if fixed:
        raise InputError(f"--config.{min(fixed)}: the tables set that themselves")
    name = options.name or options.data
    return Sweep(
        options.config or CONFIGS / f"{options.data}.py",
        overrides,
        name,
        options.workdir or Path("runs/tables") / name,
        repeats,
        options.fetch,
    )


def command_of(script: str, options: argparse.Namespace, rest: Sequence[str]) -> str:
    """The command as somebody else would type it, without this machine's places."""
    sweep = make_sweep(options, rest)
    fields = {k: v for k, v in parse_overrides(rest).items() if k != "data.prepared"}
    for name in fields.keys() & {"data.index", "pretrained"}:
        if not fields[name].startswith("hf://"):
            fields[name] = Path(fields[name]).name
    words = ["python", "-m", f"experiments.{script}", "--data", options.data, "--root", "DATA"]
    if options.config:
        words += ["--config", f"configs/{options.config.name}"]
    words += ["--name", sweep.name, "--seeds", str(len(sweep.repeats))]
    if options.cells:
        words += ["--cells", options.cells]
    return shlex.join([*words, *(f"--config.{name}={value}" for name, value in fields.items())])


def run_key(config: Config, fingerprint: str, trained: bool = True) -> str:
    """16 hexadecimal digits of what a run's numbers depend on.

    Args:
      config: of the run.
      fingerprint: of all training images of the data set.
      trained: False for a network before its first step.
    """
    fields = {k: v for k, v in to_fields(config).items() if k not in _INDIFFERENT}
    if not trained:
        kept = ("seed", "modalities", "pretrained", "data.name", "data.trial", "data.image_size")
        fields = {k: v for k, v in fields.items() if k in kept or k.startswith(("model", "views"))}
    fields = {k: v for k, v in fields.items() if k not in _YOUNGER or v != _YOUNGER[k]}
    text = json.dumps([fields, fingerprint, trained], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """{key: record} of the runs in a results' folder; a line that was cut off is no record."""
    file = folder / "runs.jsonl"
    records = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        records[record["key"]] = record
    return records


def _append(folder: Path, record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "runs.jsonl"
    text = file.read_text() if file.is_file() else ""
    start = "" if not text or text.endswith("\n") else "\n"  # after a line that was cut off
    with file.open("a") as out:
        out.write(f"{start}{json.dumps(record, separators=(',', ':'))}\n")


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run of a sweep.

    Attributes:
      cell: what it is of.
      config: of it.
      key: what it is known by.
      tested_on: fingerprint of the test images.
      record: what was measured, where it was.
    """

    cell: Cell
    config: Config
    key: str
    tested_on: str
    record: dict[str, Any] | None


def plan(sweep: Sweep, cells: Sequence[str]) -> list[Planned]:
    """The runs of some cells: all of the first seed, then all of the second, and so on.

    Raises:
      InputError: the data or the configuration cannot be used.
    """
    records = read_records(sweep.results)
    fingerprints: dict[int, tuple[str, str]] = {}
    planned = []
    for repeat in sweep.repeats:
        for name in cells:
            config = sweep.configuration(CELLS[name], repeat)
            trial = config.data.trial
            if trial not in fingerprints:
                plain = dataclasses.replace(
                    config.data, validation_identities=0, validation_split=False
                )
                fingerprints[trial] = (
                    read_training(plain, 0)[0].fingerprint,
                    read_searched(plain, "test", 0).fingerprint,
                )
            trained_on, tested_on = fingerprints[trial]
            key = run_key(config, trained_on, CELLS[name].trained)
            record = records.get(key)
            if record is not None and not _is_measured_so(record, config, tested_on):
                record = None
            planned.append(Planned(CELLS[name], config, key, tested_on, record))
    return planned


def _is_measured_so(record: dict[str, Any], config: Config, tested_on: str) -> bool:
    """Whether a run was measured as `config` asks: its key says what it was trained with."""
    if record.get("tested_on") != tested_on:
        return False
    if record["fields"]["dtype"] != config.dtype:
        return False
    if record["fields"]["pretrained_fresh"] != list(config.pretrained_fresh):
        return False  # of a network that is not trained these are no part of the key
    protocol, rows = next(iter(record["results"].items()))
    drawn = config.data.name in ("sysu", "llcm")
    if drawn and rows[0]["trials"] != config.evaluation.trials:
        return False
    if config.data.name == "sysu" and protocol != config.evaluation.protocol:
        return False
    rules = WITHOUT[same_modality_rule(config)], WITHOUT_IMAGE
    return protocol == "released" or all(
        row["search"].endswith(rules)
        for row in rows
        if is_within(Modality(row["query"]), Modality(row["gallery"]))
    )


def run(sweep: Sweep, cells: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """{cell: records, one a repeat}, trained and measured where they are not there yet.

    Raises:
      InputError: the data or the configuration cannot be used.
      DivergedError: a training did.
      StoppedError: asked for; the same call goes on.
    """
    commit = commit_here()  # of what runs: a checkout may move on meanwhile
    planned = plan(sweep, cells)
    found = {p.key: p.record for p in planned}
    missing = list({p.key: p for p in planned if p.record is None}.values())
    print(f"{len(found)} runs, {len(missing)} of them to do", file=sys.stderr)
    start = time.monotonic()
    for done, item in enumerate(missing):
        left = (time.monotonic() - start) / done * (len(missing) - done) if done else 0.0
        when = f", about {left / 60:.0f} min to go" if done else ""
        regdb = item.config.data.name == "regdb"
        where = f"split {item.config.data.trial}" if regdb else f"seed {item.config.seed}"
        print(f"[{done + 1}/{len(missing)}{when}] {item.cell.name}, {where}", file=sys.stderr)
        record = _measure(sweep, item, commit)
        _append(sweep.results, record)
        found[item.key] = record
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in cells}
    for item in planned:
        records[item.cell.name].append(found[item.key] or {})
    return records


def _measure(sweep: Sweep, item: Planned, commit: str) -> dict[str, Any]:
    """Train a run, or go on, and measure it."""
    config = item.config
    losses: dict[str, Any] = {}
    if item.cell.trained:
        workdir = sweep.workdir / item.key
        with _alone(workdir):
            train(config, workdir, make_validation, sweep.fetch)
        network = load_run(workdir)
        rows = [row for row in read_metrics(workdir) if row["split"] == "train"]
        losses = {k: v for k, v in rows[-1].items() if k.startswith("loss/") or k == "accuracy"}
        losses["images_per_second"] = float(np.median([r["images_per_second"] for r in rows]))
    else:
        network = load_untrained(config, sweep.fetch)
    evaluation = evaluate(config, network.model, network.variables, trained_on=network.seen or ())
    fields = {k: v for k, v in to_fields(config).items() if k not in _INDIFFERENT}
    record = {
        "key": item.key,
        "cell": item.cell.name,
        "seed": config.seed,
        "trial": config.data.trial,
        "step": network.step,
        "classes": network.record.get("num_classes"),
        "last": losses,
        "results": _results(config, evaluation),
        "average_precision": _by_query(evaluation),
        "shift": _shift(evaluation),
        "tested_on": item.tested_on,
        "commit": commit,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions(),
        "fields": fields,
    }
    return _rounded(record)


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Keep other sweeps from training in `workdir` meanwhile.

    Raises:
      InputError: one does.
    """
    workdir.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{workdir}.lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"another sweep is training in {workdir}: wait for it, or give another --workdir"
        ) from error


def _results(config: Config, evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """{protocol: rows}: SYSU-MM01 by the official one and as the released code measures."""
    if config.data.name != "sysu":
        return {evaluation.protocol: evaluation.rows}
    asked = dataclasses.replace(config.evaluation, protocol="released")
    tasks = make_tasks(dataclasses.replace(config, evaluation=asked), evaluation.features.index)
    return {
        config.evaluation.protocol: evaluation.rows,
        "released": evaluate_features(evaluation.features, tasks),
    }


def _by_query(evaluation: Evaluation) -> dict[str, dict[str, list[int]]]:
    """{pair: identities of the queries, their average precision in hundredths of a percent}.

    Of the first search of both directions between infrared and visible; -1 without a match.
    """
    found = {}
    for measured in evaluation.measured:
        task = measured.task
        pair = f"{task.query}_to_{task.gallery}"
        if {task.query, task.gallery} != {Modality.VISIBLE, Modality.INFRARED} or pair in found:
            continue
        precision = measured.average_precision
        found[pair] = {
            "identities": evaluation.features.index.identities[measured.queries].tolist(),
            "values": np.where(np.isnan(precision), -1, np.rint(10_000 * precision))
            .astype(int)
            .tolist(),
        }
    return found


def _shift(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Maximum mean discrepancy between the modalities' features, L2-normalised after the neck.

    Rows change places within their identity, or, where the one is made of the other, their image.
    """
    features, index = evaluation.features, evaluation.features.index
    rows = _shift_rows(index)
    found = []
    v, t, z = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE
    image = np.unique(index.paths, return_inverse=True)[1]
    for a, b, groups in ((v, t, index.identities), (z, t, index.identities), (v, z, image)):
        for bandwidths in BANDWIDTHS:
            test = domain_shift_test(
                features.neck[rows[a]],
                features.neck[rows[b]],
                groups[rows[a]],
                groups[rows[b]],
                bandwidths,
            )
            found.append(
                {
                    "pair": [str(a), str(b)],
                    "kernel": "median" if bandwidths is None else "fixed",
                    "bandwidths": list(test.bandwidths),
                    "value": test.value,
                    "by_chance": test.by_chance,
                    "p_value": test.p_value,
                    "images": [len(rows[a]), len(rows[b])],
                }
            )
    return found


def _shift_rows(index: Index) -> dict[Modality, np.ndarray]:
    """Rows of each modality, drawn where there are many; intermediate ones of the visible drawn."""
    rng = np.random.default_rng(0)
    rows = {}
    for modality in (Modality.VISIBLE, Modality.INFRARED):
        of_it = np.flatnonzero(index.modalities == str(modality))
        if len(of_it) > SHIFT_ROWS:
            of_it = np.sort(rng.choice(of_it, SHIFT_ROWS, replace=False))
        rows[modality] = of_it
    made = index.modalities == str(Modality.INTERMEDIATE)
    of_drawn = np.isin(index.paths, index.paths[rows[Modality.VISIBLE]])
    return {**rows, Modality.INTERMEDIATE: np.flatnonzero(made & of_drawn)}


def commit_here() -> str:
    """HEAD, "-dirty" where what runs differs from it: results do not run, and sweeps write them."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=HERE.parent)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "-uno", "--", ".", ":!experiments/results")
    except OSError:  # no git here
        return "unknown"
    return f"{head or 'unknown'}{'-dirty' if changed else ''}"


def _rounded(value: Any) -> Any:
    """Floats to six significant digits: a line of results is read by people as well."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def cost(planned: Sequence[Planned], rate: float) -> list[dict[str, Any]]:
    """What is still to train: steps, images and hours at `rate` images a second.

    Images are counted as the log of `lupi train` counts them: visible and infrared ones read.
    """
    rows = []
    for item in planned:
        if item.record is not None or not item.cell.trained:
            continue
        data = prepare_data(item.config)
        steps = item.config.steps or int(np.ceil(item.config.epochs * data.steps_per_epoch))
        images = steps * data.sampler.batch_size * len(source_modalities(item.config.modalities))
        rows.append(
            {
                "cell": item.cell.name,
                "seed": item.config.seed,
                "trial": item.config.data.trial,
                "steps": steps,
                "images": images,
                "hours": images / rate / 3600,
            }
        )
    return rows
