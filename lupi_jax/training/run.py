"""What a run says of itself, and which other configurations may go on with it or evaluate it."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lupi_jax.config import Config, changeable, differences, parse_record
from lupi_jax.data import Index
from lupi_jax.data.sources import published
from lupi_jax.errors import InputError, plural

MOVABLE = changeable("evaluated")
"""Fields that a run may be evaluated with other values of: they do not concern its network."""

RESUMABLE = changeable("resumed")
"""Fields that a run may be resumed with other values of: they do not change its numbers."""

JUDGING = tuple(n for n in MOVABLE if n.startswith("evaluation.") and n != "evaluation.trials")
"""Fields of `RESUMABLE` that a run with a validation keeps: the validation chooses by them."""


def versions() -> dict[str, str]:
    """{package: version} of what a run's numbers depend on."""
    packages = ("lupi-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pillow")
    return {name: version(name) for name in packages}


def run_record(config: Config, training: Index, steps: int, steps_per_epoch: int) -> dict[str, Any]:
    """What a checkpoint says of its run, plain values that survive JSON.

    Args:
      config: of the run.
      training: the images trained on; their fingerprint tells this data set from others.
      steps: where the run ends.
      steps_per_epoch: the length of an epoch, which the schedule and the end may depend on.
    """
    return {
        "config": dataclasses.asdict(config),
        "steps": steps,
        "steps_per_epoch": steps_per_epoch,
        "num_classes": len(training.classes),
        "identities": training.classes.tolist(),
        "data": training.fingerprint,
        "content": _content(training),
        "versions": versions(),
    }


def same_numbers(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether an identity's number means the same person in two `data` groups of a configuration.

    In a folder it does so in the same directory alone.
    """
    if os.path.realpath(then["root"]) == os.path.realpath(now["root"]):
        return True
    return then["name"] == now["name"] and now["name"] in published.NAMES


def same_people(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two runs, by their `run_record`s, are known to train on the same identities.

    They are where they train on the same images, wherever these lie. Equal numbers say nothing:
    other people may have them in another directory, and in the same one later.
    """
    return "content" in then and then["content"] == now["content"]


def _content(training: Index) -> str:
    """16 hexadecimal digits that change with any image's path, identity or size in bytes."""
    digest = hashlib.sha256(training.fingerprint.encode())
    for path in training.paths.tolist():
        digest.update(b"%d\n" % os.stat(training.root / path).st_size)
    return digest.hexdigest()[:16]


def check_same_run(saved: dict[str, Any], record: dict[str, Any], workdir: Path) -> None:
    """Refuse to go on in a workdir with what would be another run.

    Args:
      saved: the `run_record` in the checkpoint.
      record: the `run_record` of the run to come.
      workdir: where both live.

    Raises:
      InputError: names the fields that differ, or the two lengths of an epoch where the run
        counts epochs.
    """
    then, now = parse_record(saved["config"]), parse_record(record["config"])
    free = set(RESUMABLE) - set(JUDGING if now.data.validates else ())
    changed = [name for name in differences(then, now) if name not in free]
    if saved["data"] != record["data"]:
        changed.append("the training images")
    if changed:
        raise InputError(
            f"{workdir} holds a run with another configuration; differing: {', '.join(changed)}. "
            "Give the same values, or another --workdir"
        )
    before, after = saved["steps_per_epoch"], record["steps_per_epoch"]
    if before == after:
        return
    if now.optimizer.unit == "epochs":
        harmed = "learning rates"
        remedy = "Finish it with the version and the data set it began with"
    elif now.epochs:
        harmed = "length"
        remedy = f"Give --config.steps={saved['steps']} to keep the planned number of steps"
    else:
        return
    raise InputError(
        f"{workdir} holds a run with {plural(before, 'step')} in an epoch, but an epoch now has "
        f"{after}. Going on would change its {harmed}. {remedy}, or train anew in another --workdir"
    )
