"""SYSU-MM01 at full size, with synthetic people in place of the real images.

    python experiments/full_size.py --exp SYSU-MM01/exp --workdir runs/full_size

Makes the stand-in from the data set's own lists (45,863 files), checks it, prepares it, trains for
a short time, and evaluates the network untrained and trained. Each is the command that a user would
type, with the time and the peak memory of its process. Writes
`experiments/results/sysu_standin/full_size.{json,md}`, and features for `sysu_protocols.py`.
Finished commands do not run again.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lupi_jax.training.run import versions

CONFIG = Path(__file__).parents[1] / "configs/folder.py"


def commands(exp: Path, work: Path, steps: int) -> dict[str, list[str]]:
    """{name: arguments of `lupi`}, in the order of the commands."""
    data, run = str(work / "data"), ["--workdir", str(work / "run")]
    source = ["--data", "sysu", "--root", data]
    fields = {
        "data.name": "sysu",
        "data.root": data,
        "data.prepared": str(work / "prepared"),
        "data.image_size": "64,32",
        "data.feed": "memmap",
        "evaluation.pairs": "('infrared_to_visible',)",
        "steps": str(steps),
    }
    like, small = ["--layout", "sysu", "--like", str(exp)], ["--height", "64", "--width", "32"]
    return {
        "make-synthetic": ["make-synthetic", *like, "--out", data, *small],
        "check-data": ["check-data", *source],
        "prepare": ["prepare", *source, "--size", "64x32", "--out", str(work / "prepared")],
        "prepare, again": ["prepare", *source, "--size", "64x32", "--out", str(work / "prepared")],
        "train": ["train", "--config", f"{CONFIG}:released", *run]
        + [f"--config.{name}={value}" for name, value in fields.items()],
        "evaluate, untrained": ["evaluate", *run, "--untrained"],
        "evaluate, trained": ["evaluate", *run],
        "export, untrained": ["export", *run, "--untrained", "--out", str(work / "untrained.npz")],
        "export, trained": ["export", *run, "--out", str(work / "trained.npz")],
    }


def measured(arguments: list[str]) -> dict[str, Any]:
    """Run one command, and return its status, seconds, peak resident memory (MiB) and output."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys, lupi_jax.cli as c; sys.exit(c.main())", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": round(time.monotonic() - start, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "output": output,
    }


def main() -> int:
    """Run the commands that are missing, and write the table."""
    parser = argparse.ArgumentParser(description="Run SYSU-MM01 at full size with stand-ins.")
    parser.add_argument("--exp", type=Path, required=True, help="directory exp/ of SYSU-MM01")
    parser.add_argument("--workdir", type=Path, required=True, help="directory for all files")
    parser.add_argument("--steps", type=int, default=400, help="training steps (400)")
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    done_file = options.workdir / "full_size.json"
    done = json.loads(done_file.read_text()) if done_file.is_file() else {}
    for name, arguments in commands(options.exp, options.workdir, options.steps).items():
        if done.get(name, {}).get("arguments") == arguments:
            continue
        print(f"{name}: lupi {shlex.join(arguments)}", file=sys.stderr)
        found = measured(arguments)
        if found["status"]:
            print(f"full_size: {name} failed with {found['status']}", file=sys.stderr)
            return found["status"]
        done[name] = {"arguments": arguments, **found}
        done_file.write_text(json.dumps(done, indent=1) + "\n")
    folder = Path(__file__).parent / "results" / "sysu_standin"
    folder.mkdir(parents=True, exist_ok=True)
    done = {name: done[name] for name in commands(options.exp, options.workdir, options.steps)}
    text = report(done, options.steps).replace(str(options.workdir), "WORK")
    (folder / "full_size.md").write_text(text)
    shown = {k: {name: v[name] for name in ("seconds", "peak_mib")} for k, v in done.items()}
    result = {"steps": options.steps, "commands": shown, "versions": versions()}
    (folder / "full_size.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)
    return 0


def report(done: dict[str, Any], steps: int) -> str:
    """The report in Markdown: time, memory and output of each command."""
    lines = [f"| {k} | {v['seconds']:.1f} | {v['peak_mib']} |" for k, v in done.items()]
    listed = commands(Path("SYSU-MM01/exp"), Path("WORK"), steps)
    typed = "\n".join(
        f"    lupi {shlex.join(arguments).replace(str(CONFIG), 'configs/folder.py')}"
        for arguments in listed.values()
    )
    shown = "\n".join(
        f"## {name}\n\n```\n{found['output'].rstrip()}\n```\n"
        for name, found in done.items()
        if found["output"].strip()
    )
    return f"""# SYSU-MM01 at full size, with synthetic people

    python experiments/full_size.py --exp SYSU-MM01/exp --workdir WORK --steps {steps}

{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}, \
{", ".join(f"{k} {v}" for k, v in versions().items())}. Images of 64 x 32 pixels, the small \
network of configs/folder.py. The figures come from rendered people. They show that every command \
works at this size and how long it takes, and say nothing about the real data set.

| command | seconds | peak memory of the process, MiB |
|---|---|---|
{chr(10).join(lines)}

{typed}

{shown}"""


if __name__ == "__main__":
    raise SystemExit(main())
