"""Measure lupi_jax on one GPU, in at most eight minutes, and write gpu.md and gpu.json.

    python -m experiments.gpu
    python -m experiments.gpu --only peers variants        # parts that were left out
    python -m experiments.gpu --tiny --out /tmp/gpu        # try the command on a CPU

Every part runs in its own process with its own time limit. Each figure is printed and saved as
soon as it is known. TensorFlow is not needed. Only the part `peers` needs PyTorch. Figures that an
earlier run on the same device found stay in the files.
"""

import argparse
import datetime
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

from experiments.gpu.figures import Figure, Record, write
from experiments.gpu.page import page
from experiments.gpu.plan import BEGIN, PARTS, Part
from experiments.gpu.running import Heard, run_part
from experiments.gpu.setup import Setup

HERE = Path(__file__).parents[1] / "benchmarks"


class Run:
    """One run of the command: its clock and its findings."""

    def __init__(self, out: Path, scratch: Path, tiny: bool, minutes: float) -> None:
        self._out, self._scratch, self._tiny = out, scratch, tiny
        self._begun = time.perf_counter()
        self._end = self._begun + 60 * minutes
        self._more = max(1.0, minutes / 8)
        self.record = Record(out / "gpu.json")
        self._before = dict(self.record.facts)
        self.record.facts = {
            "command": shlex.join(["python", "-m", "experiments.gpu", *sys.argv[1:]]),
            "date": _now(),
            "cores": os.cpu_count(),
            "tiny": tiny,
        }

    def begin(self) -> bool:
        """Find out what this machine is, and make the images. Returns whether that went well.

        Drops parts that an earlier run found on another machine or with other sizes.
        """
        status, why = self._run("begin", BEGIN, self._keep_fact)
        if status != "done":
            self._print(f"{status}: {why}")
            return False
        same = ("device", "driver", "versions", "commit", "tiny")
        if any(self._before.get(key) != self.record.facts.get(key) for key in same):
            self.record.parts = {}
        return True

    def part(self, name: str) -> str:
        """Run a part, save each figure at once, and return the part's status."""
        started = time.perf_counter()
        found: dict[str, Any] = {
            "status": "cut off",
            "why": "the command ended first",
        }
        found |= {"date": _now(), "seconds": 0.0, "figures": []}
        self.record.parts[name] = found

        def heard(message: dict[str, Any]) -> None:
            found["figures"].append(message)
            found["seconds"] = time.perf_counter() - started
            self._print(f"{name}: {Figure.read(message)}")
            self._write()

        found["status"], found["why"] = self._run(name, PARTS[name], heard)
        found["seconds"] = time.perf_counter() - started
        if found["status"] != "done":
            self._print(f"{name}: {found['status']}: {found['why']}")
        self._write()
        return found["status"]

    def _run(self, name: str, part: Part, heard: Heard) -> tuple[str, str]:
        left = self._end - time.perf_counter()
        if left <= 0:
            return "out of time", "the command's minutes were over"
        seconds = min(self._more * part.seconds, left)
        setup = Setup(str(self._scratch), str(self.record.path), self._tiny, seconds)
        return run_part(part.function, setup, self._scratch / f"part-{name}.log", heard)

    def _keep_fact(self, message: dict[str, Any]) -> None:
        self.record.facts[message["fact"]] = message["value"]

    def _print(self, text: str) -> None:
        print(f"[{time.perf_counter() - self._begun:6.1f} s] {text}", flush=True)

    def _write(self) -> None:
        self.record.save()
        write(self._out / "gpu.md", page(self.record))


def _now() -> str:
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Measure, print and write; the exit status is 0 if every part was done."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
        help=f"parts to run (all of {', '.join(PARTS)})",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, default=8, help="minutes that the run may take (8)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="directory for gpu.md and gpu.json (experiments/benchmarks)",
    )
    parser.add_argument("--tiny", action="store_true", help="use tiny sizes, to try the command")
    options = parser.parse_args()
    if options.tiny and options.out is None:
        parser.error("--tiny needs --out: its figures are not results, so keep them apart")
    out = options.out or HERE
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the command measures one GPU
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="lupi-gpu-") as scratch:
        run = Run(out, Path(scratch), options.tiny, options.minutes)
        if not run.begin():
            return 2
        statuses = [run.part(name) for name in PARTS if name in options.only]
    return 0 if all(status == "done" for status in statuses) else 1


if __name__ == "__main__":
    raise SystemExit(main())
