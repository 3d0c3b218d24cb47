"""Which runs the tables need, and which of them have finished.

A run's key is made from what decides its numbers: the configuration and the training images. No
table trains a run again whose key is in `experiments/results/<name>/runs.jsonl`.
"""

import argparse
import dataclasses
import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.tables.cells import CELLS, Cell
from lupi_jax.config import Config, SourceConfig, to_fields
from lupi_jax.config.file import load_config, parse_overrides
from lupi_jax.data import read_searched, read_training, source_modalities
from lupi_jax.data.sources.manifest import difficulty
from lupi_jax.errors import InputError
from lupi_jax.evaluation.metrics.tasks import WITHOUT, WITHOUT_IMAGE, is_within
from lupi_jax.evaluation.searched import same_modality_rule
from lupi_jax.modality import Modality
from lupi_jax.runtime.records import read_json_lines
from lupi_jax.training.build import prepare_data
from lupi_jax.training.run import RESUMABLE

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DATA = ("sysu", "regdb", "llcm", "folder", "synthetic")

PAIRS = (
    "visible_to_visible",
    "infrared_to_infrared",
    "intermediate_to_intermediate",
    "infrared_to_visible",
    "infrared_to_intermediate",
    "visible_to_infrared",
)
"""The (query)_to_(gallery) pairs that every network is measured on. A learnt mix leaves out those
with intermediate images."""

# Fields that do not change a run's numbers: those that may change on resuming, except its length.
INDIFFERENT = {*RESUMABLE, "log.validate_every", "data.workers"} - {"steps", "epochs"}


# Fields younger than the recorded runs, with the value of those runs, so that their keys stay.
_YOUNGER = {
    "data.identity_zero": "auto",
    "model.shared_from": "layer2",
    "precision": "default",
    "views.share_crop_and_flip": False,
    "model.backbone_settings": {},
    "views.adaptive_context": True,
    "views.adaptive_share": 1.0,
    "views.adaptive_ramp": 0,
    "loss.direct_weight": 0.0,
    "loss.color_free_stop": "none",
    "loss.modality": "none",
    "loss.modality_weight": 1.0,
    "loss.extra": "",
    "loss.extra_weight": 1.0,
    "loss.extra_settings": {},
    "log.hooks": (),
    "views.intermediate_settings": {},
    "views.exchange_visible": (0.0, 0.0, 0.0, 0.0, 1.0),
    "views.exchange_infrared": (0.0, 0.0, 0.0, 0.0, 1.0),
    "views.exchange_intermediate": (1.0, 1.0, 1.0, 0.0, 0.0),
    "views.extra": "",
    "views.extra_settings": {},
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Which data, and how cells are trained on them.

    Attributes:
      config: the configuration file.
      overrides: fields to change for all cells, {dotted name: value as text}.
      name: name of the data, for the results' folder.
      workdir: directory of the runs.
      repeats: how one network of a cell differs from the next, {field: value}: seeds, or RegDB's
        splits.
      fetch: whether pre-trained weights may be downloaded.
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
        return ROOT / "experiments/results" / self.name

    def configuration(self, cell: Cell, repeat: dict[str, str]) -> Config:
        """The configuration of one run.

        Raises:
          InputError: fields are wrong.
        """
        pairs = PAIRS
        if cell.fields.get("views.intermediate") == "adaptive":  # exists in training only
            pairs = tuple(pair for pair in PAIRS if "intermediate" not in pair)
        fields = {**self.overrides, **cell.fields, **repeat, "evaluation.pairs": repr(pairs)}
        return load_config(f"{self.config}:{cell.recipe}", fields)

    @property
    def what_repeats(self) -> str:
        """ "seeds", or "splits"."""
        return "splits" if "data.trial" in self.repeats[0] else "seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `make_sweep` reads."""
    parser.add_argument("--data", choices=DATA, required=True, help="kind of data set")
    parser.add_argument("--root", required=True, help="directory of the data set")
    parser.add_argument("--config", type=Path, help="config file (configs/<data>.py)")
    parser.add_argument("--name", help="name of the results' folder (the kind of data set)")
    parser.add_argument("--workdir", type=Path, help="directory for the runs (runs/tables/<name>)")
    parser.add_argument("--cells", metavar="NAME,...", help="cells to train and show (all)")
    parser.add_argument("--seeds", type=int, help="networks per cell (3; RegDB: its 10 splits)")
    parser.add_argument("--fetch", action="store_true", help="download missing weights")


def make_sweep(options: argparse.Namespace, rest: Sequence[str]) -> Sweep:
    """The sweep that the command line asks for; `rest` sets fields, as in `lupi train`.

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
        raise InputError(f"--config.{min(fixed)}: leave this field out, the tables set it")
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
    words = ["python", "-m", *f"experiments.{script}".split()]
    words += ["--data", options.data, "--root", "DATA"]
    if options.config:
        words += ["--config", f"configs/{options.config.name}"]
    words += ["--name", sweep.name, "--seeds", str(len(sweep.repeats))]
    if options.cells:
        words += ["--cells", options.cells]
    return shlex.join([*words, *(f"--config.{name}={value}" for name, value in fields.items())])


def run_key(config: Config, fingerprint: str, trained: bool = True) -> str:
    """A run's key: 16 hexadecimal digits, made from what decides the run's numbers.

    Args:
      config: configuration of the run.
      fingerprint: fingerprint of all training images of the data set.
      trained: False for a network before its first step.
    """
    fields = {k: v for k, v in to_fields(config).items() if k not in INDIFFERENT}
    if not trained:
        kept = ("seed", "modalities", "pretrained", "data.name", "data.trial", "data.image_size")
        fields = {k: v for k, v in fields.items() if k in kept or k.startswith(("model", "views"))}
    fields = {k: v for k, v in fields.items() if k not in _YOUNGER or v != _YOUNGER[k]}
    text = json.dumps([fields, fingerprint, trained], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """{key: record} of the runs in a results' folder; a line that was cut off is skipped."""
    file = folder / "runs.jsonl"
    found = read_json_lines(file) if file.is_file() else ()
    return {each["key"]: each for each in found if _is_record(each)}


def _is_record(value: Any) -> bool:
    """Whether a line says which run it is of, and what was measured."""
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        return False
    return all(isinstance(value.get(name, {}), dict) for name in ("last", "results"))


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run of a sweep.

    Attributes:
      cell: the cell that the run belongs to.
      config: configuration of the run.
      key: the run's key, see `run_key`.
      tested_on: fingerprint of the test images.
      record: what was measured, None before that.
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
                fingerprints[trial] = _fingerprints(config.data)
            trained_on, tested_on = fingerprints[trial]
            key = run_key(config, trained_on, CELLS[name].trained)
            record = records.get(key)
            if record is not None and not _is_measured_so(record, config, tested_on):
                record = None
            planned.append(Planned(CELLS[name], config, key, tested_on, record))
    return planned


def _fingerprints(source: SourceConfig) -> tuple[str, str]:
    """Of all training and of all test images; easy people have the names of hard ones."""
    plain = dataclasses.replace(source, validation_identities=0, validation_split=False)
    indices = read_training(plain, 0)[0], read_searched(plain, "test", 0)
    rendered = difficulty(Path(source.root)) if source.name == "synthetic" else None
    mark = f"-{rendered}" if rendered not in (None, "hard") else ""
    return indices[0].fingerprint + mark, indices[1].fingerprint + mark


def _is_measured_so(record: dict[str, Any], config: Config, tested_on: str) -> bool:
    """Whether a run was measured as `config` asks. The key covers only its training."""
    if record.get("tested_on") != tested_on:
        return False
    if record["fields"]["dtype"] != config.dtype:
        return False
    if record["fields"]["pretrained_fresh"] != list(config.pretrained_fresh):
        return False  # the key of an untrained network leaves these out
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


def cost(planned: Sequence[Planned], rate: float) -> list[dict[str, Any]]:
    """The runs still to train: steps, images and hours at `rate` images per second.

    Images are counted like in the log of `lupi train`: the visible and infrared ones that are read.
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
