"""Kill one run at random moments, during saves as well, and see that nothing is lost.

A short run on synthetic people is trained twice without disturbance. Then the command that a user
would type runs again and again, and its processes get SIGKILL. Half of the kills come at a moment
drawn uniformly over the time of a whole run, the others shortly after a checkpoint has begun to be
written. The same command runs until the run has ended. Each run must end with the parameters,
running statistics and optimiser state of the undisturbed run, bit for bit, with every step's
figures once in `metrics.jsonl`, with its checkpoints and no other files, and without a damaged
checkpoint. With `--processes 2` a kill takes all processes or one of them, and the others must end
by themselves.

What is done is not done again. Writes `faults_training.{json,md}`, or
`faults_<n>_processes.{json,md}`.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

from experiments.faults.results import write_results
from experiments.faults.training_report import differences, last_state, report, steps_in
from experiments.faults.world import CONFIGS
from lupi_jax.cli import main as lupi
from lupi_jax.config import Config
from lupi_jax.config.file import load_config, parse_overrides
from lupi_jax.errors import InputError

LUPI = "import sys, lupi_jax.cli as c; sys.exit(c.main())"
CONFIG = CONFIGS / "folder.py"
FIELDS = {
    "steps": "24",
    "data.image_size": "32,32",
    "data.feed": "memmap",
    "batch.identities": "4",
    "log.checkpoint_every": "2",
    "log.keep": "1",  # nothing to fall back to but what was there before a save
}
FIXED = {"log.every": "1"}  # every step leaves a row, by which it is counted
SAVE_SECONDS = 0.5  # about what a save takes
SURVIVAL_SECONDS = 150.0  # JAX takes a silent process for dead after 100


@dataclasses.dataclass
class Life:
    """From a start of the processes to their end.

    Attributes:
      run: the run's number.
      kind: how the moment of the kill was chosen, "anywhere" or "saving"; "none" if the life was
        left to its end.
      victims: the killed processes; empty if the run had ended before.
      seconds: from the start to the kill, or the end.
      steps: number of steps whose figures were written.
      saving: whether the kill left a checkpoint half-written.
      statuses: exit statuses of the processes, -9 if killed.
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
        steps = steps_in(log)
        seconds = round(end - start, 2)
        return Life(number, kind, killed, seconds, steps, saving, statuses, round(survived, 2))


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `training`."""
    add = parser.add_argument
    add("--config", default=str(CONFIG), metavar="FILE[:VARIANT]", help="its configuration")
    add("--kills", type=int, default=50, help="kills in all (50)")
    add("--seed", type=int, default=0, help="seed of the moments at which runs are killed (0)")
    add("--processes", type=int, default=1, help="processes of each run (1)")


def kill_runs(sweep: Sweep, kills: int, wanted: Path) -> list[str]:
    """Kill what is left to be killed; what the runs that ended show otherwise than `wanted`."""
    problems = differences(sweep.config, sweep.folder / "again" / "train", wanted)
    number = max((life.run for life in sweep.lives), default=0)
    while not problems:
        left = kills - len(sweep.kills)
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
    return problems


def main(options: argparse.Namespace) -> int:
    """Kill what is left to be killed, compare, and write the table."""
    logging.set_verbosity(logging.ERROR)  # Orbax narrates
    try:
        sweep = Sweep(options, parse_overrides(options.rest))
        wanted = undisturbed(sweep)
        problems = kill_runs(sweep, options.kills, wanted)
    except (InputError, RuntimeError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    text = report(sweep, options, len(last_state(sweep.config, wanted)))
    result = {
        "kills": options.kills,
        "seed": sweep.seed,
        "processes": sweep.processes,
        "steps": sweep.config.steps,
        "undisturbed_seconds": sweep.seconds["again"],
        "lives": [dataclasses.asdict(life) for life in sweep.lives],
    }
    file = "faults_training" if sweep.processes == 1 else f"faults_{sweep.processes}_processes"
    write_results(options.results, file, result, text)
    return 0
