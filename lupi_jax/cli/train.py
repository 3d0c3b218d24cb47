"""`lupi train`."""

import argparse

from lupi_jax.cli.console import say
from lupi_jax.cli.network import overrides_of, parse_trials
from lupi_jax.config.file import load_config
from lupi_jax.errors import InputError
from lupi_jax.evaluation import make_validation
from lupi_jax.runtime.backend import start_backend
from lupi_jax.training import train as run_training


def train(options: argparse.Namespace) -> None:
    """Train one network, or one for each of several of RegDB's splits.

    Raises:
      InputError: as `lupi_jax.training.train`, or the splits are of no use here.
    """
    start_backend()
    overrides = overrides_of(options)
    if options.trials is None:
        config = load_config(options.config, overrides)
        run_training(config, options.workdir, make_validation, options.fetch, options.profile or 0)
        say(f"trained; next: lupi evaluate --workdir {options.workdir}")
        return
    if "data.trial" in overrides:
        raise InputError("--trials and --config.data.trial both say which splits: give one of them")
    trials = parse_trials(options.trials)
    configs = {
        trial: load_config(options.config, {**overrides, "data.trial": str(trial)})
        for trial in trials
    }
    if any(config.data.name != "regdb" for config in configs.values()):
        raise InputError("--trials are RegDB's splits: leave it out for another data set")
    for trial, config in configs.items():
        say(f"split {trial} of RegDB:")
        workdir = options.workdir / f"trial-{trial}"
        run_training(config, workdir, make_validation, options.fetch, options.profile or 0)
    say(f"trained; next: lupi evaluate --workdir {options.workdir} --trials {options.trials}")
