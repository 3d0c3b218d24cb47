"""A run's record, and the checks whether another configuration may resume or evaluate the run."""

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
from lupi_jax.training.own import PartsRecord, changed_parts

MOVABLE = changeable("evaluated")
"""Fields that may change when a run is evaluated, because they do not change its network."""

RESUMABLE = changeable("resumed")
"""Fields that may change when a run is resumed, because they do not change its numbers."""

JUDGING = tuple(n for n in MOVABLE if n.startswith("evaluation.") and n != "evaluation.trials")
"""Fields of `RESUMABLE` that may not change with a validation, which chooses by them."""


def versions() -> dict[str, str]:
    """{package: version} of the packages that a run's numbers depend on."""
    packages = ("lupi-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pillow")
    return {name: version(name) for name in packages}


def run_record(
    config: Config,
    training: Index,
    steps: int,
    steps_per_epoch: int,
    files: Sequence[File],
    parts: PartsRecord | None = None,
) -> dict[str, Any]:
    """Make the record of a run for its checkpoints, from plain values that survive JSON.

    Args:
      config: the run's configuration.
      training: the n training images. Their fingerprint tells this data set from others.
      steps: number of the run's last step.
      steps_per_epoch: length of an epoch, on which the schedule and the last step may depend.
      files: the files that the run reads: the n training images in their order, then the held-out
        images.
      parts: the user's own parts, as `parts_record` describes them.
    """
    return {
        **({"parts": parts} if parts else {}),
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
    """Whether identity numbers mean the same people in two `data` groups of a configuration.

    For a folder they do so only in the same directory.
    """
    if os.path.realpath(then["root"]) == os.path.realpath(now["root"]):
        return True
    return then["name"] == now["name"] and now["name"] in published.NAMES


def same_people(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two runs, by their `run_record`s, are known to train on the same identities.

    They are if they train on the same images, in whatever directory. Equal numbers prove nothing,
    because they may mean other people in another directory, or later in the same one.
    """
    return "content" in then and then["content"] == now["content"]


def check_same_run(saved: dict[str, Any], record: dict[str, Any], workdir: Path) -> None:
    """Refuse to resume a workdir with another run.

    Args:
      saved: the `run_record` in the checkpoint.
      record: the `run_record` of the new command.
      workdir: the directory of both.

    Raises:
      InputError: fields differ, or the lengths of an epoch do and the run counts epochs. The
        message names them.
    """
    then, now = parse_record(saved["config"]), parse_record(record["config"])
    free = set(RESUMABLE) - set(JUDGING if now.data.validates else ())
    differing = [name for name in differences(then, now) if name not in free]
    if saved["data"] != record["data"]:
        differing.append(f"the training images{_first_moved(saved, record)}")
    changed = changed_parts(saved.get("parts", {}), record.get("parts", {}))
    differing += [part for part in changed if not any(f" {name} = " in part for name in differing)]
    if differing:
        raise InputError(
            f"{workdir} holds a run that differs in {', '.join(differing)}: give the same values, "
            "or another --workdir"
        )
    before, after = saved["steps_per_epoch"], record["steps_per_epoch"]
    if before == after:
        return
    if now.optimizer.unit == "epochs":
        harmed = "learning rates"
        remedy = "finish it with the version and the data set it began with"
    elif now.epochs:
        harmed = "length"
        remedy = f"give --config.steps={saved['steps']} to keep the planned number of steps"
    else:
        return
    raise InputError(
        f"{workdir} holds a run with {plural(before, 'step')} per epoch, but an epoch now has "
        f"{plural(after, 'step')}, which would change its {harmed}: {remedy}, or train anew in "
        "another --workdir"
    )


def _first_moved(saved: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Say how many images are new or gone, and name the first; "" if unknown."""
    then, now = ({file[0] for file in each.get("files", [])} for each in (saved, record))
    moved = sorted(then ^ now) if then else []
    return f" ({len(moved)} are new or gone, the first {shown(moved[0])})" if moved else ""


def check_same_files(
    saved: Mapping[str, Any], record: Mapping[str, Any], root: Path, workers: int, workdir: Path
) -> None:
    """Refuse to resume with images that have changed since the run read them.

    The sizes are compared, and the checksums if a file's time differs, as in a copy.

    Args:
      saved: the `run_record` in the checkpoint. Older versions did not record the files.
      record: the `run_record` of the new command.
      root: the directory of the data set.
      workers: number of files to read at once.
      workdir: the directory of the run.

    Raises:
      InputError: images have changed. The message names the first and says how many.
    """
    here = {file[0] for file in record["files"]}
    files = [file for file in parse_files(saved.get("files", [])) if file.path in here]
    found = changed(root, files, workers)
    if not found and (files or saved.get("content") in (None, record["content"])):
        return
    # An older version recorded only one checksum of all sizes.
    what = f"{len(found)} of {len(files)}, the first {shown(found[0])}" if found else "their sizes"
    raise InputError(
        f"{workdir} holds a run whose images in {root} have changed since ({what}): bring "
        "them back, or train anew in another --workdir"
    )
