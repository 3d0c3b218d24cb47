"""A run of twelve steps through the command line, what it leaves, and how to disturb it."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lupi_jax.training.logging import read_metrics

CONFIG = Path(__file__).parents[2] / "configs" / "synthetic.py"
STEPS = 12
KEPT = range(7, STEPS + 1)  # the checkpoints that are there in the end
LUPI = "import sys; from lupi_jax.cli import main; sys.exit(main())"


def train(people: Path, workdir: Path, **more: Any) -> list[str]:
    fields = {
        "steps": STEPS,
        "data.root": people,
        "data.image_size": "32,32",
        "data.feed": "memmap",
        "batch.identities": 4,
        "log.every": 1,
        "log.checkpoint_every": 1,
        "log.keep": len(KEPT),
    } | {name.replace("__", "."): value for name, value in more.items()}
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["train", "--config", str(CONFIG), "--workdir", str(workdir), *given]


def steps_saved(workdir: Path) -> set[int]:
    """The complete checkpoints."""
    names = [entry.name for entry in (workdir / "checkpoints").iterdir()]
    return {int(name) for name in names if name.isdecimal()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


ITEMS = ("variables", "optimizer")


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """All of a checkpoint's arrays, as Orbax alone reads them."""
    folder = workdir / "checkpoints" / str(step)
    items = {name: ocp.StandardCheckpointer().restore(folder / name) for name in ITEMS}
    leaves = jax.tree_util.tree_leaves_with_path(items)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same(workdir: Path, whole: Path) -> None:
    """The last checkpoints are equal bit for bit, and the figures of every step."""
    found, expected = arrays(workdir, STEPS), arrays(whole, STEPS)
    assert found.keys() == expected.keys()
    assert len(found) > 100
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name

    def figures(folder: Path) -> list[dict[str, Any]]:
        rates = ("steps_per_second", "images_per_second")
        return [{k: v for k, v in x.items() if k not in rates} for x in read_metrics(folder)]

    assert figures(workdir) == figures(whole)
    assert [row["step"] for row in figures(workdir)] == list(range(1, STEPS + 1))
    assert all(entry.name.isdecimal() for entry in (workdir / "checkpoints").iterdir())


def later(whole: Path, workdir: Path, step: int) -> Path:
    """A copy of a run as it was after `step`, its log going further."""
    shutil.copytree(whole, workdir)
    for other in steps_saved(workdir) - {step}:
        shutil.rmtree(workdir / "checkpoints" / str(other))
    return workdir


class Life:
    """`lupi train` in a process of its own, until a signal ends it."""

    def __init__(self, arguments: list[str], log: Path, program: str = LUPI) -> None:
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments], stdout=out, stderr=out
            )

    def __enter__(self) -> "Life":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def until(self, happened: Callable[[], object]) -> None:
        """Wait for something to happen before the process ends."""
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.002)

    def end(self, number: signal.Signals) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(120)

    @property
    def last_line(self) -> str:
        return self.log.read_text().splitlines()[-1]
