"""How the time of a step grows with image size, batch and backbone; and the time to start.

    python -m experiments.benchmarks.growth

Each case runs in its own process. Writes growth.md into this directory.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.benchmarks.turns import Times, take_turns
from experiments.benchmarks.work import Work
from lupi_jax.training.run import versions

CASES = (
    *(Work(size=size, backbone="resnet50") for size in ((96, 48), (144, 72), (288, 144))),
    *(Work(identities=n, size=(144, 72)) for n in (2, 8, 16)),
    *(Work(size=(144, 72), backbone=name) for name in ("thin", "resnet18", "resnet34")),
)


def start_up(command: list[str]) -> float:
    """Seconds of a command that only starts, the faster of two runs."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def row(work: Work, fresh: Times, kept: Times) -> str:
    """A case as a row of the table; `kept` is the run that found its program compiled."""
    seconds = statistics.median(fresh.turns)
    images = 3 * work.rows
    cells = [
        work.backbone,
        f"{work.size[0]} x {work.size[1]}",
        f"{images}",
        f"{fresh.facts['flops'] / 1e9:.0f}",
        f"{seconds:.2f}",
        f"{images / seconds:.1f}",
        f"{fresh.facts['flops'] / seconds / 1e9:.0f}",
        f"{fresh.facts['compile']:.1f}",
        f"{kept.facts['compile']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure every case and write the table."""
    parser = argparse.ArgumentParser(description="How the time of a step grows.")
    parser.add_argument("--rounds", type=int, default=3, help="steps that are timed (3)")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_suffix(".md"), help="file to write"
    )
    options = parser.parse_args()
    rows, device = [], ""
    for work in dict.fromkeys(CASES):
        print(work, file=sys.stderr)
        with tempfile.TemporaryDirectory() as programs:
            os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
            case = {"ours": ("experiments.benchmarks.ours.step", {"work": work, "steps": 1})}
            fresh = take_turns(case, options.rounds)["ours"]
            kept = take_turns(case, 0)["ours"]
        device = fresh.facts["device"]
        rows.append(row(work, fresh, kept))
        print(rows[-1], file=sys.stderr)
    python = [sys.executable, "-c"]
    starts = {
        "Python": start_up([*python, ""]),
        "`import jax`": start_up([*python, "import jax; jax.devices()"]),
        "`lupi --help`": start_up(
            [*python, "from lupi_jax.cli.program import make_parser; make_parser()"]
        ),
        "`import lupi_jax.training`": start_up([*python, "import lupi_jax.training"]),
    }
    table = "\n".join(rows)
    said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in starts.items())
    command = " ".join(["python -m experiments.benchmarks.growth", *sys.argv[1:]])
    options.out.write_text(f"""# How a training step grows

    {command}

{time.strftime("%Y-%m-%d")}, {platform.machine()}, {os.cpu_count()} cores, {device};
{", ".join(f"{k} {v}" for k, v in versions().items())}. Float32, three modalities, two images per
identity, with views. Medians of {options.rounds} steps, each after one step without timing.

| backbone | pixels | images per step | GFLOP | s per step | images/s | GFLOP/s | compiling, s | compiling with a filled cache, s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{table}

Seconds to start, before any computation: {said}.
""")  # noqa: E501
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
