"""What the runs of `training` are compared by, and the page that says what came of them."""

import argparse
import os
import re
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from experiments.faults.results import machine
from experiments.faults.world import CONFIGS, RATES
from lupi_jax.config import Config
from lupi_jax.training.build import prepare_data
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.network import abstract, fresh_variables, make_model
from lupi_jax.training.optimizer import make_optimizer
from lupi_jax.training.parallel import everywhere
from lupi_jax.training.step import TrainState

if TYPE_CHECKING:
    from experiments.faults.training import Sweep


def steps_in(log: str) -> int:
    """Steps that a life says it has taken."""
    return len(re.findall(r"^step \d+/", log, re.MULTILINE))


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


def report(sweep: "Sweep", options: argparse.Namespace, arrays: int) -> str:
    """Markdown: what was done to the runs, and what came of it."""
    kills, runs = sweep.kills, 1 + max(life.run for life in sweep.lives)
    logs = [log.read_text() for i in range(runs) for log in sweep.run(i).glob("*-0.log")]
    repeated = sum(map(steps_in, logs)) - runs * sweep.config.steps
    cells = {
        "kills": len(kills),
        "during a save": sum(life.saving for life in kills),
        "before a step was taken": sum(not life.steps for life in kills),
        "runs": runs,
        "lives": len(sweep.lives),
        "steps per run": sweep.config.steps,
        "steps repeated": repeated,
        "seconds": f"{sum(life.seconds + life.survived for life in sweep.lives):.0f}",
    }
    config = Path(options.config)
    shown = f"configs/{config.name}" if config.parent == CONFIGS else options.config
    command = [
        "python",
        "-m",
        "experiments.faults",
        "training",
        "--config",
        shown,
        *options.rest,
        "--workdir",
        "runs/faults",
    ]
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

{machine()}

| {" | ".join(cells)} |
{"|---" * len(cells)}|
| {" | ".join(map(str, cells.values()))} |

Nothing was lost: each of the {runs} runs ended with the {arrays} arrays of an undisturbed run's \
last checkpoint (parameters, running statistics, optimiser state), bit for bit, with every step's \
figures once and equal in `metrics.jsonl`, with the same checkpoints and nothing beside them, and \
with no checkpoint found damaged. A step is counted as repeated once its figures had been written; \
the one that was under way at a kill is not.
{survivors}"""
