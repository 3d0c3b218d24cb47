"""What a run says of itself, and which other configurations may go on with it or evaluate it."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lupi_jax.config import Config, changeable, differences, parse_record
from lupi_jax.data import Index
from lupi_jax.data.contents import File, changed, parse_files, summary
from lupi_jax.data.sources import published
from lupi_jax.errors import InputError, plural, shown

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


def run_record(
    config: Config, training: Index, steps: int, steps_per_epoch: int, files: Sequence[File]
) -> dict[str, Any]:
    """What a checkpoint says of its run, plain values that survive JSON.

    Args:
      config: of the run.
      training: n images trained on; their fingerprint tells this data set from others.
      steps: where the run ends.
      steps_per_epoch: the length of an epoch, which the schedule and the end may depend on.
      files: what the run reads: those n, in their order, and after them those held out.
    """
    return {
        "config": dataclasses.asdict(config),
        "steps": steps,
        "steps_per_epoch": steps_per_epoch,
        "num_classes": len(training.classes),
        "identities": training.classes.tolist(),
        "data": training.fingerprint,
        "content": summary(training, files[: len(training)]),
        "files": [list(file) for file in files],
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
    differing = [name for name in differences(then, now) if name not in free]
    if saved["data"] != record["data"]:
        differing.append(f"the training images{_first_moved(saved, record)}")
    if differing:
        raise InputError(
            f"{workdir} holds a run with another configuration; differing: {', '.join(differing)}. "
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


def _first_moved(saved: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """How many images are new or gone, and the first; "" where that is not known."""
    then, now = ({file[0] for file in each.get("files", [])} for each in (saved, record))
    moved = sorted(then ^ now) if then else []
    return f" ({len(moved)} are new or gone, the first {shown(moved[0])})" if moved else ""


def check_same_files(
    saved: Mapping[str, Any], record: Mapping[str, Any], root: Path, workers: int, workdir: Path
) -> None:
    """Refuse to go on with images that have changed since a run read them.

    Sizes are compared, and checksums where the time of a file is another, as in a copy.

    Args:
      saved: the `run_record` in the checkpoint; of an older version it says nothing of files.
      record: the `run_record` of the run to come.
      root: the directory of the data set.
      workers: files read at once.
      workdir: where both live.

    Raises:
      InputError: names the first that has changed, and says how many have.
    """
    here = {file[0] for file in record["files"]}
    files = [file for file in parse_files(saved.get("files", [])) if file.path in here]
    found = changed(root, files, workers)
    if not found and (files or saved.get("content") in (None, record["content"])):
        return
    # An older version wrote down nothing but one checksum of all their sizes.
    what = f"{len(found)} of {len(files)}, the first {shown(found[0])}" if found else "their sizes"
    raise InputError(
        f"{workdir} holds a run whose images in {root} have changed since: {what}. Bring them "
        "back, or train anew in another --workdir"
    )
