"""Measure lupi_jax and plain PyTorch ("the peer") in turns.

    make bench                                # a CPU: minutes
    python -m experiments.benchmarks --rows 32 --dtype bfloat16 --steps 20    # a GPU

Writes RESULTS.md and results.json into this directory. Without PyTorch it measures lupi_jax alone.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from experiments.benchmarks import ours
from experiments.benchmarks.turns import Times, in_own_process, take_turns
from experiments.benchmarks.work import Work

HERE = Path(__file__).parent
ABOUT = """The peer (`peer.py`) is the same network, losses, optimiser and augmentation in eager
PyTorch, float32. The peer's step gets augmented float images. Our step makes its views from
uint8. The peer's end-to-end training augments in one worker per core. Before each turn either
side does the same work once without timing.
"""
SAME = """
Before the measurements both sides computed the step from the same weights and images in float64
({command}). Loss and gradients differ by {difference:.0e} at most, relative to the largest value of
each array.
"""
MORE = """
[README.md](README.md) says what bounds these rates and what was tried, [growth.md](growth.md) how
the cost grows with size, and [evaluation.md](evaluation.md) how fast evaluation is.
"""
KINDS = {
    "step": "training step",
    "end_to_end": "training, images to new weights",
    "extraction": "feature extraction",
    "views": "three augmented views from uint8",
}


def measure(kind: str, work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """One kind of work by both sides: their seconds, and images per turn."""
    if kind == "views":
        work = dataclasses.replace(work, identities=8, images=4)  # the paper's batch
    arguments: dict[str, Any] = {"work": work}
    images = 3 * work.rows
    if kind in ("step", "end_to_end"):
        arguments["steps"] = options.steps
        images *= options.steps
    elif kind == "extraction":
        arguments["count"] = images = options.extract
    sides = ["ours"] + (["peer"] if importlib.util.find_spec("torch") else [])
    contestants = {side: (f"experiments.benchmarks.{side}.{kind}", arguments) for side in sides}
    times = take_turns(contestants, options.rounds)
    return {
        "kind": kind,
        "work": dataclasses.asdict(work),
        "images": images,
        "steps": arguments.get("steps", 1),
        "times": {side: found._asdict() for side, found in times.items()},
    }


def row(found: dict[str, Any]) -> list[str]:
    """A measurement as a row of the table."""
    work, images = Work(**found["work"]), found["images"]
    times = {side: Times(**t) for side, t in found["times"].items()}
    mine = times["ours"]

    def rate(side: str) -> str:
        seconds = times[side].turns
        low, high = images / max(seconds), images / min(seconds)
        return f"{images / statistics.median(seconds):.1f} ({low:.1f} to {high:.1f})"

    ratio = "-"
    if "peer" in times:
        ratios = [b / a for a, b in zip(mine.turns, times["peer"].turns, strict=True)]
        ratio = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"
    height, width = work.size
    batch = {"extraction": f"{images} images", "views": f"{work.rows} x 3 views"}.get(
        found["kind"], f"{work.identities} x {work.images} x 3 images"
    )
    return [
        KINDS[found["kind"]],
        f"{work.backbone}, {batch}, {height} x {width}, {work.dtype}",
        rate("ours"),
        rate("peer") if "peer" in times else "-",
        ratio,
        f"{mine.first - statistics.median(mine.turns):.1f}",
    ]


def describe_limits(results: list[dict[str, Any]], limits: dict[str, float]) -> str:
    """The best rates of this machine, and how far the step is from them."""
    lines = [
        f"The best rates of this machine, {results[0]['work']['dtype']} in JAX: "
        f"{limits['flops'] / 1e9:.0f} GFLOP/s (product of two 4096 x 4096 matrices), "
        f"{limits['bytes'] / 1e9:.1f} GB/s (read and write of 512 MB)."
    ]
    for found in results:
        facts = found["times"]["ours"]["facts"]
        if "flops" not in facts:
            continue
        seconds = statistics.median(found["times"]["ours"]["turns"]) / found["steps"]
        reached = facts["flops"] / seconds
        lines.append(
            f"A {KINDS[found['kind']]} is {facts['flops'] / 1e9:.0f} GFLOP and "
            f"{facts['bytes'] / 1e9:.1f} GB by XLA's count, in {seconds:.2f} s: "
            f"{reached / 1e9:.0f} GFLOP/s, {reached / limits['flops']:.0%} of the product's rate, "
            f"and {facts['bytes'] / seconds / 1e9:.1f} GB/s, "
            f"{facts['bytes'] / seconds / limits['bytes']:.0%} of the copy's. Compiling it took "
            f"{facts['compile']:.0f} s."
        )
    return "\n\n".join(lines)


def page(
    results: list[dict[str, Any]], limits: dict[str, float], command: str, difference: float | None
) -> str:
    """The text of RESULTS.md."""
    heading = ["what", "shapes, our dtype", "ours, images/s", "the peer, images/s",
               "ratio (median, lowest to highest of a round)",
               "extra seconds of the first turn"]  # fmt: skip
    rows = [heading, ["---"] * len(heading), *map(row, results)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    facts: dict[str, Any] = {}
    for found in results:
        for side, times in found["times"].items():
            facts[side] = times["facts"]
    said = "; ".join(
        f"{side} on {f['device']} ({', '.join(f'{k} {v}' for k, v in f['versions'].items())})"
        for side, f in facts.items()
    )
    rounds = len(results[0]["times"]["ours"]["turns"])
    same = "" if difference is None else SAME.format(command="same.py", difference=difference)
    return f"""# Ours against plain PyTorch

    {command}

{time.strftime("%Y-%m-%d")}, {platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}; {said}.
Each side runs in its own process, in {rounds} rounds of turns. Rates are medians, with the slowest
and the fastest turn in brackets.

{table}

{describe_limits(results, limits)}

{ABOUT}{same}{MORE}"""


def main() -> int:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=list(KINDS), help="what to measure (all)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of turns (5)")
    parser.add_argument(
        "--rows", type=int, default=8, help="images per modality, two per identity (8)"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, default=(288, 144), help="height and width (288 144)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="our dtype (float32)"
    )
    parser.add_argument("--steps", type=int, default=1, help="steps per turn (1)")
    parser.add_argument("--extract", type=int, default=64, help="images per extraction (64)")
    parser.add_argument("--out", type=Path, default=HERE, help="directory for the results")
    options = parser.parse_args()
    if options.rows < 4 or options.rows % 2:
        parser.error(
            f"--rows {options.rows}: give an even number, at least 4 (two images per identity)"
        )
    difference = None
    if importlib.util.find_spec("torch"):
        from experiments.benchmarks import same

        difference = in_own_process(same.difference)
        if difference > 1e-6:
            raise RuntimeError(f"the peer's loss or gradients differ from ours by {difference:.1e}")
    work = Work(options.rows // 2, 2, tuple(options.size), dtype=options.dtype)
    results = []
    for kind in options.only:
        print(f"{kind}: {work}", file=sys.stderr)
        results.append(measure(kind, work, options))
        print(" | ".join(row(results[-1])), file=sys.stderr)
    limits = in_own_process(ours.limits, work.dtype)
    command = f"python -m experiments.benchmarks {' '.join(sys.argv[1:])}".strip()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "RESULTS.md").write_text(page(results, limits, command, difference))
    found = {
        "command": command,
        "difference": difference,
        "limits": limits,
        "results": results,
    }
    (options.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
