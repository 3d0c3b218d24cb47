"""A small world to break: rendered people, two runs, features, a prepared set; and all commands."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.faults import process
from lupi_jax.errors import InputError, some

CONFIGS = Path(__file__).parents[2] / "configs"

PEOPLE = "--identities 12 --height 48 --width 24 --images-per-modality 4 --workers 1"
TRAIN = (
    "train --config {configs}/synthetic.py --config.steps=4 --config.batch.identities=4 "
    "--config.batch.images=2 --config.data.image_size=32,32 --config.data.feed=memmap "
    "--config.log.every=1 --config.log.checkpoint_every=1 --config.log.keep=1"
)
WORLD = {
    "people": f"make-synthetic --out people {PEOPLE}",
    "sysu": f"make-synthetic --out sysu --layout sysu {PEOPLE}",
    "run": f"{TRAIN} --config.data.root=people --workdir run",
    "run-1": f"{TRAIN} --config.data.root=people --workdir run-1 --config.seed=1",
    "gallery": "export --workdir run --out gallery",
    "gallery.npz": "export --workdir run --out gallery.npz",
    "gallery.safetensors": "export --workdir run --out gallery.safetensors",
    "prepared": "prepare --data folder --root people --size 32x32 --out prepared",
}
"""What the world is made of, and by which commands, in this order."""

RATES = ("steps_per_second", "images_per_second")

Facts = dict[str, str]
"""{name below a directory: what tells whether it is the same}."""


def digests(folder: Path) -> Facts:
    """The SHA-256 of every file below a directory, hidden ones too."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def run_facts(folder: Path) -> Facts:
    """Of a trained run: its checkpoints by the digests they hold, its figures without rates."""
    facts = {}
    for name, digest in digests(folder).items():
        parts = Path(name).parts
        if parts[1:2] == ("checkpoints",) and parts[2].isdecimal():
            record = folder / Path(*parts[:3]) / "run" / "metadata"
            arrays = json.loads(record.read_text())["digests"] if record.is_file() else None
            facts["/".join(parts[:3])] = json.dumps(arrays)
        elif parts[1:] == ("metrics.jsonl",):
            facts[name] = json.dumps([_row(x) for x in (folder / name).read_text().splitlines()])
        elif parts[1:2] != ("tensorboard",):  # whose files are named by the time
            facts[name] = digest
    return facts


def _row(line: str) -> Any:
    """A row of figures without its rates; any other line unchanged."""
    try:
        return {name: value for name, value in json.loads(line).items() if name not in RATES}
    except ValueError:
        return line


@dataclasses.dataclass(frozen=True)
class Command:
    """One that writes, from a directory that holds the world.

    Attributes:
      words: the command line's words; the command writes into the directory `out`.
      marker: the file that tells a reader that all others are complete, if there is such a file.
      facts: how the written files are compared.
      grows: whether the command continues what it wrote before.
      ages: whether it replaces an old result.
    """

    words: str
    marker: str | None = None
    facts: Callable[[Path], Facts] = digests
    grows: bool = False
    ages: bool = True

    def line(self, more: str = "") -> list[str]:
        """Its words."""
        return f"{self.words} {more}".format(configs=CONFIGS).split()


COMMANDS: Mapping[str, Command] = {
    "train": Command(
        f"{TRAIN} --config.data.root=people --workdir out/run",
        facts=run_facts,
        grows=True,
        ages=False,
    ),
    "evaluate": Command("evaluate --workdir run --out out"),
    "export .npz": Command("export --workdir run --out out/features.npz"),
    "export .safetensors": Command("export --workdir run --out out/features.safetensors"),
    "export directory": Command("export --workdir run --out out/features", "features/features.npy"),
    "export network": Command(
        "export --workdir run --stablehlo out/network", "network/artefact.json"
    ),
    "search": Command(
        "search --workdir run --query people/test/infrared --gallery people/test/visible "
        "--out out/ranking.png"
    ),
    "search features": Command(
        "search --workdir run --query people/test/infrared --gallery gallery --out out/ranking.png"
    ),
    "compare": Command("compare run run-1 --out out/curves.png"),
    "report": Command("report --workdir run --out out/report.html"),
    "prepare": Command(
        "prepare --data folder --root people --size 32x32 --out out/prepared",
        "prepared/prepared.json",
        grows=True,
    ),
    "make-synthetic": Command(f"make-synthetic --out out/people {PEOPLE}", grows=True, ages=False),
}
"""Every command that writes, in each of its forms."""


def make_world(folder: Path) -> Path:
    """Make what is missing of the world in a directory, and get ready to start commands there.

    Raises:
      InputError: a command of `WORLD` fails.
    """
    world = folder / "world"
    world.mkdir(parents=True, exist_ok=True)
    process.prepare_forks(folder / "programs")
    for name, words in WORLD.items():
        if (world / f".{name}").exists():
            continue
        end = process.run(process.Start(words.format(configs=CONFIGS).split(), world))
        if end.status:
            raise InputError(f"cannot make {world / name}: {some(end.lines)}")
        (world / f".{name}").touch()  # it is whole
    return world
