"""Kill training at random moments, during saves as well, and see that nothing is lost.

    python experiments/faults.py --workdir runs/faults --kills 50

A short run on synthetic people is trained twice without disturbance and then again and again by the
command a user would type, whose processes get SIGKILL: at a moment drawn uniformly over the time
of a whole run, or, every second time, shortly after a checkpoint has begun to be written. The
same command goes on until the run has ended, and each run has to end with the parameters, running
statistics and optimiser state of the undisturbed one, bit for bit; with its figures in
`metrics.jsonl`, those of every step once; with its checkpoints and nothing beside them; and with
no checkpoint found damaged. With `--processes 2` a kill takes all processes or one of them, and
those that are left have to end by themselves.

What is done is not done again. Writes `experiments/results/faults.{json,md}`, or
`faults_<n>_processes.{json,md}`.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from lupi_jax.cli import main as lupi
from lupi_jax.config import Config
from lupi_jax.config.file import load_config, parse_overrides
from lupi_jax.errors import InputError
from lupi_jax.training.build import prepare_data
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.network import abstract, fresh_variables, make_model
from lupi_jax.training.optimizer import make_optimizer
from lupi_jax.training.parallel import everywhere
from lupi_jax.training.run import versions
from lupi_jax.training.step import TrainState

LUPI = "import sys, lupi_jax.cli as c; sys.exit(c.main())"
CONFIG = Path(__file__).parents[1] / "configs/folder.py"
FIELDS = {
    "steps": "24",
    "data.image_size": "32,32",
    "data.feed": "memmap",
    "batch.identities": "4",
    "log.checkpoint_every": "2",
    "log.keep": "1",  # nothing to fall back to but what was there before a save
}
FIXED = {"log.every": "1"}  # every step leaves a row, by which it is counted
RATES = ("steps_per_second", "images_per_second")
SAVE_SECONDS = 0.5  # about what a save takes
SURVIVAL_SECONDS = 150.0  # JAX takes a silent process for dead after 100


@dataclasses.dataclass
class Life:
    """From a start of the processes to their end.

    Attributes:
      run: its number.
      kind: how the moment to kill was chosen: "anywhere", "saving", or "none" for a life that is
        left to its end.
      victims: the processes killed; none where the run had ended before.
      seconds: from the start to the kill, or the end.
      steps: taken, as far as their figures were written.
      saving: whether the kill left a checkpoint half-written.
      statuses: of the processes, those killed being -9.
      survived: seconds from the kill to the end of the last process.
    """

    run: int
    kind: str
    victims: list[int]
    seconds: float
    steps: int
    saving: bool
    statuses: list[int]
    survived: float


class Sweep:
    """The runs below one directory, and what is known of them."""

    def __init__(self, options: argparse.Namespace, overrides: dict[str, str]) -> None:
        self.folder: Path = options.workdir.absolute()
        self.processes: int = options.processes
        self.seed: int = options.seed
        fields = {**FIELDS, **overrides, "data.root": str(self.folder / "people"), **FIXED}
        self.config: Config = load_config(options.config, fields)
        self.command = ["train", "--config", options.config]
        self.command += [f"--config.{name}={value}" for name, value in fields.items()]
        self._file = self.folder / "lives.json"
        known = json.loads(self._file.read_text()) if self._file.is_file() else None
        asked = {"command": self.command, "processes": self.processes, "seed": self.seed}
        if known and known["asked"] != asked:
            raise InputError(f"{self._file} is of another sweep: give another --workdir")
        self._asked = asked
        self.lives = [Life(**life) for life in known["lives"]] if known else []
        self.seconds: dict[str, float] = known["seconds"] if known else {}

    @property
    def kills(self) -> list[Life]:
        """Lives that were cut off."""
        return [life for life in self.lives if life.victims]

    def save(self) -> None:
        """Write down what is known."""
        known = {
            "asked": self._asked,
            "lives": [dataclasses.asdict(life) for life in self.lives],
            "seconds": self.seconds,
        }
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(known, indent=1) + "\n")
        os.replace(partial, self._file)

    def run(self, number: int) -> Path:
        """The directory of a run: its workdir `train` and a log of every process's life."""
        return self.folder / f"run-{number}"

    @contextlib.contextmanager
    def started(self, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
        """The processes of one life; none is left behind."""
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        life = len(list(folder.glob("*-0.log")))
        environment = {
            "JAX_PLATFORMS": "cpu",
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        several = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(self.processes)]
        children: list[subprocess.Popen[bytes]] = []
        try:
            for process in range(self.processes):
                arguments = [*self.command, "--workdir", str(folder / "train")]
                if self.processes > 1:
                    arguments += [*several, "--process", str(process)]
                with (folder / f"{life:03d}-{process}.log").open("wb") as log:
                    child = subprocess.Popen(
                        [sys.executable, "-c", LUPI, *arguments],
                        stdout=log,
                        stderr=log,
                        env=environment,
                        start_new_session=True,
                    )
                children.append(child)
            yield children
        finally:
            for child in children:
                _kill(child)

    def live(self, number: int, kind: str, rng: np.random.Generator) -> Life:
        """One life of a run, cut off as `kind` says."""
        folder = self.run(number)
        checkpoints = folder / "train" / "checkpoints"
        whole = self.seconds.get("again", 0.0)
        wait = {"anywhere": rng.uniform(0, whole), "saving": rng.uniform(0, SAVE_SECONDS)}
        saves = int(rng.integers(1, 4)) if kind == "saving" else 0
        victims = _draw_victims(rng, self.processes)
        begun, start, before = time.time(), time.monotonic(), _half_written(checkpoints)
        with self.started(folder) as children:

            def running() -> bool:
                return any(child.poll() is None for child in children)

            while saves and running():
                now = _half_written(checkpoints)
                saves -= bool(now.keys() - before.keys())
                before = now
                time.sleep(0.002)
            moment = time.monotonic() + wait.get(kind, float("inf"))
            while time.monotonic() < moment and running():
                time.sleep(0.002)
            killed = [i for i in victims if kind != "none" and children[i].poll() is None]
            for i in killed:
                _kill(children[i])
            end = time.monotonic()
            # One that an earlier kill has left is removed by the first save.
            saving = any(changed > begun for changed in _half_written(checkpoints).values())
            while running() and time.monotonic() < end + SURVIVAL_SECONDS:
                time.sleep(0.05)
            if running():
                raise RuntimeError(f"{folder}: a process outlived a killed one: see its log")
            survived = time.monotonic() - end
            statuses = [child.wait() for child in children]
        log = sorted(folder.glob("*-0.log"))[-1].read_text()
        if not killed and any(statuses):
            raise RuntimeError(f"{folder} ended with {statuses}: {log[-2000:]}")
        steps = _steps_in(log)
        seconds = round(end - start, 2)
        return Life(number, kind, killed, seconds, steps, saving, statuses, round(survived, 2))


def _steps_in(log: str) -> int:
    """Steps that a life says it has taken."""
    return len(re.findall(r"^step \d+/", log, re.MULTILINE))


def _draw_victims(rng: np.random.Generator, processes: int) -> list[int]:
    """All processes, or one of them."""
    every = list(range(processes))
    return every if rng.random() < 0.5 else [int(rng.choice(every))]


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _half_written(checkpoints: Path) -> dict[str, float]:
    """Checkpoints not complete, so not named by their step alone, and when they changed."""
    with contextlib.suppress(FileNotFoundError):
        found = [entry for entry in os.scandir(checkpoints) if not entry.name.isdecimal()]
        return {entry.name: entry.stat().st_mtime for entry in found}
    return {}


def last_state(config: Config, workdir: Path) -> dict[str, np.ndarray]:
    """{place: array} of a run's newest checkpoint: network, statistics, optimiser, step."""
    data = prepare_data(config)
    model = make_model(config, len(data.train.classes))
    tx = make_optimizer(config.optimizer, data.steps_per_epoch)

    def fresh() -> TrainState:
        return TrainState.create(fresh_variables(config, model), tx)

    with Checkpoints(workdir, read_only=True) as checkpoints:
        state = checkpoints.state(checkpoints.find("newest"), abstract(fresh, everywhere()))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def differences(config: Config, workdir: Path, undisturbed: Path) -> list[str]:
    """What a run that was killed shows otherwise than one that was not."""
    found = []
    mine, wanted = last_state(config, workdir), last_state(config, undisturbed)
    unequal = [k for k, x in wanted.items() if mine[k].tobytes() != x.tobytes()]
    if unequal or mine.keys() != wanted.keys():
        found.append(f"{len(unequal)} of {len(wanted)} arrays of the last checkpoint differ")

    def figures(folder: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in x.items() if k not in RATES} for x in read_metrics(folder)]

    if [row["step"] for row in figures(workdir)] != list(range(1, config.steps + 1)):
        found.append("metrics.jsonl does not hold every step once, in order")
    elif figures(workdir) != figures(undisturbed):
        found.append("metrics.jsonl holds other figures")
    left, right = (sorted(os.listdir(x / "checkpoints")) for x in (workdir, undisturbed))
    if left != right:
        found.append(f"checkpoints/ holds {', '.join(left)}, not {', '.join(right)}")
    if (workdir / "damaged").exists():
        found.append("a checkpoint was taken for damaged")
    return [f"{workdir}: {fault}" for fault in found]


def undisturbed(sweep: Sweep) -> Path:
    """Train without kills, twice: the first time compiles, the second says how long it takes."""
    people = sweep.folder / "people"
    small = ["--height", "48", "--width", "24", "--images-per-modality", "4"]
    if lupi(["make-synthetic", "--out", str(people), "--identities", "12", *small]):
        raise InputError(f"cannot make synthetic people in {people}")
    for name in ("undisturbed", "again"):
        if name in sweep.seconds:
            continue
        folder = sweep.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        with sweep.started(folder) as children:
            if any(child.wait() for child in children):
                raise RuntimeError(f"{folder} failed: {(folder / '000-0.log').read_text()}")
        sweep.seconds[name] = round(time.monotonic() - start, 2)
        sweep.save()
    return sweep.folder / "undisturbed" / "train"


def report(sweep: Sweep, options: argparse.Namespace, rest: list[str], arrays: int) -> str:
    """Markdown: what was done to the runs, and what came of it."""
    kills, runs = sweep.kills, 1 + max(life.run for life in sweep.lives)
    logs = [log.read_text() for i in range(runs) for log in sweep.run(i).glob("*-0.log")]
    repeated = sum(map(_steps_in, logs)) - runs * sweep.config.steps
    cells = {
        "kills": len(kills),
        "during a save": sum(life.saving for life in kills),
        "before a step was taken": sum(not life.steps for life in kills),
        "runs": runs,
        "lives": len(sweep.lives),
        "steps a run": sweep.config.steps,
        "steps repeated": repeated,
        "seconds": f"{sum(life.seconds + life.survived for life in sweep.lives):.0f}",
    }
    config = Path(options.config)
    shown = f"configs/{config.name}" if config.parent == CONFIG.parent else options.config
    name = "runs/faults"
    command = ["python", "experiments/faults.py", "--config", shown, *rest, "--workdir", name]
    command += ["--kills", str(options.kills), "--seed", str(options.seed)]
    command += ["--processes", str(sweep.processes)] if sweep.processes > 1 else []
    alone = [life for life in kills if len(life.victims) < sweep.processes]
    statuses = sorted({s for life in alone for s in life.statuses if s != -signal.SIGKILL})
    survivors = (
        f"\nOf {len(alone)} kills of one process the others ended by themselves after at most "
        f"{max(life.survived for life in alone):.0f} s, with status "
        f"{' or '.join(map(str, statuses))}.\n"
        if alone
        else ""
    )
    return f"""# Runs killed at random moments

    {shlex.join(command)}

{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}, \
{", ".join(f"{k} {v}" for k, v in versions().items())}.

| {" | ".join(cells)} |
{"|---" * len(cells)}|
| {" | ".join(map(str, cells.values()))} |

Nothing was lost: each of the {runs} runs ended with the {arrays} arrays of an undisturbed run's \
last checkpoint (parameters, running statistics, optimiser state), bit for bit, with every step's \
figures once and equal in `metrics.jsonl`, with the same checkpoints and nothing beside them, and \
with no checkpoint found damaged. A step is counted as repeated once its figures had been written; \
the one that was under way at a kill is not.
{survivors}"""


def main() -> int:
    """Kill what is left to be killed, compare, and write the table."""
    parser = argparse.ArgumentParser(description="Kill training at random moments.")
    parser.add_argument("--config", default=str(CONFIG), metavar="FILE[:VARIANT]")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the moments at which runs are killed (0)"
    )
    parser.add_argument("--processes", type=int, default=1)
    options, rest = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)  # Orbax narrates
    try:
        sweep = Sweep(options, parse_overrides(rest))
        wanted = undisturbed(sweep)
        problems = differences(sweep.config, sweep.folder / "again" / "train", wanted)
        number = max((life.run for life in sweep.lives), default=0)
        while not problems:
            left = options.kills - len(sweep.kills)
            life = sweep.lives[-1] if sweep.lives else None
            if life and not life.victims:  # it ended
                problems = differences(sweep.config, sweep.run(number) / "train", wanted)
                number += 1
                if left <= 0 or problems:
                    break
            kind = ("anywhere", "saving")[len(sweep.lives) % 2] if left > 0 else "none"
            rng = np.random.default_rng([sweep.seed, len(sweep.lives)])
            sweep.lives.append(sweep.live(number, kind, rng))
            sweep.save()
            print(sweep.lives[-1], file=sys.stderr)
    except (InputError, RuntimeError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    text = report(sweep, options, rest, len(last_state(sweep.config, wanted)))
    file = "faults" if sweep.processes == 1 else f"faults_{sweep.processes}_processes"
    path = Path(__file__).parent / "results" / file
    path.with_suffix(".md").write_text(text)
    result = {
        "kills": options.kills,
        "seed": sweep.seed,
        "processes": sweep.processes,
        "steps": sweep.config.steps,
        "undisturbed_seconds": sweep.seconds["again"],
        "lives": [dataclasses.asdict(life) for life in sweep.lives],
        "versions": versions(),
    }
    path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
