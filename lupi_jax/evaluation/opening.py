"""Runs as arguments of public functions: a directory, or a network that is loaded already."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupi_jax.config.file import change_config
from lupi_jax.errors import plural
from lupi_jax.runtime.files import expand

if TYPE_CHECKING:
    from lupi_jax.training import Run

Checkpoint = str | int
"""A checkpoint of a run: "newest", "best" (by validation mAP) or a step."""


def open_run(
    run: str | os.PathLike[str] | Run,
    checkpoint: Checkpoint | None = None,
    overrides: Mapping[str, Any] | None = None,
    untrained: bool = False,
    fetch: bool = False,
) -> Run:
    """Load a run from its directory, or take a loaded one, and change some of its fields.

    Args:
      run: directory of a run of `lupi train`; or a network that `lupi_jax.load_run`,
        `load_weights` or `load_untrained` has loaded.
      checkpoint: the checkpoint in that directory; None is "newest".
      overrides: fields to change, as in `lupi_jax.load_config`. Only those may change that do not
        change the network (`lupi_jax.training.MOVABLE`).
      untrained: whether to take the network before its first step instead.
      fetch: with `untrained`, whether to download pre-trained weights.

    Raises:
      InputError: the directory lacks this checkpoint, or fields are wrong or may not change.
      ValueError: `checkpoint` or `untrained` is given for a loaded network, or both are given.
    """
    from lupi_jax.training import MOVABLE, Run, load_run

    if checkpoint is not None and untrained:
        raise ValueError("checkpoint names a trained network: leave out checkpoint or untrained")
    if isinstance(run, Run):
        if checkpoint is not None or untrained:
            raise ValueError(
                "checkpoint and untrained apply only to a directory: this network is already "
                "loaded: leave them out"
            )
        opened = run
    else:
        opened = load_run(expand(run), checkpoint, untrained, fetch)
    if not overrides:
        return opened
    return opened.under(change_config(opened.config, overrides, MOVABLE))


def workdir_of(run: str | os.PathLike[str] | Run) -> Path | None:
    """The directory of a run, None for a loaded network."""
    return expand(run) if isinstance(run, str | os.PathLike) else None


def to_go(run: Run) -> str:
    """What the training of a run still has to do, in words; "" if it is finished or untrained."""
    if not run.unfinished or run.step == 0:
        return ""
    return f"training is not finished: {plural(run.unfinished, 'step')} to go"
