"""Train one network per split of RegDB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lupi_jax.config import Config, parse_config, to_fields
from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.errors import InputError
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.terminal import say
from lupi_jax.training.hooks import Hook
from lupi_jax.training.loop import train


def train_trials(
    config: Config,
    workdir: str | Path,
    trials: Sequence[int] = TRIALS,
    *,
    fetch: bool = False,
    profile: int = 0,
    loss: Callable[..., Any] | None = None,
    hooks: Sequence[Hook] = (),
) -> list[Path]:
    """Train, or resume training, one network per split of RegDB, one after the other.

    `lupi_jax.evaluate_trials(workdir)` measures them.

    Args:
      config: the configuration of all networks. Its `data.trial` does not matter.
      workdir: directory that gets a run `trial-N` for each split N.
      trials: the splits, from 1 to 10.
      fetch: as in `train`.
      profile: as in `train`.
      loss: as in `train`.
      hooks: as in `train`. Every run gets the same objects.

    Returns:
      The directories of the runs.

    Raises:
      InputError: the data set is not RegDB, no split or an unknown one is given, or `train` raises
        it.
      ValueError: `train` raises it.
      DivergedError: `train` raises it.
      StoppedError: `train` raises it. The same call goes on with that split.
    """
    if config.data.name != "regdb":
        raise InputError("--trials applies only to RegDB: leave it out for another data set")
    if not trials:
        raise InputError("no split is given: name at least one of RegDB's, from 1 to 10")
    fields = to_fields(config)
    configs = [parse_config(fields, {"data.trial": trial}) for trial in trials]
    places = [expand(workdir) / f"trial-{trial}" for trial in trials]
    for one, place in zip(configs, places, strict=True):
        say(f"split {one.data.trial} of RegDB:")
        train(one, place, fetch=fetch, profile=profile, loss=loss, hooks=hooks)
    return places
