"""Which network a command is about."""

import argparse

from lupi_jax.config.file import change_config, load_config, parse_overrides
from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.errors import InputError
from lupi_jax.runtime.backend import start_backend
from lupi_jax.training import MOVABLE, Run, load_run, load_untrained, load_weights


def overrides_of(options: argparse.Namespace) -> dict[str, str]:
    """The configuration's fields that the command line sets, {dotted name: text}.

    Raises:
      InputError: an argument is no such thing.
    """
    overrides = parse_overrides(options.rest)
    if getattr(options, "data_root", None) is not None:
        overrides["data.root"] = options.data_root
    return overrides


def load(options: argparse.Namespace, untrained: bool = False) -> Run:
    """The network that --workdir, or --config and --checkpoint, ask for.

    Raises:
      InputError: there is none, or they ask for none or two.
    """
    start_backend()
    overrides = overrides_of(options)
    if (options.workdir is None) == (options.config is None):
        raise InputError(
            "which network? Give --workdir of a `lupi train` run, or --config and --checkpoint, a "
            "file of PyTorch weights"
        )
    if options.config is None:
        run = load_run(options.workdir, options.checkpoint or "newest", untrained)
        return run.under(change_config(run.config, overrides, MOVABLE))
    config = load_config(options.config, overrides)
    if untrained:
        if options.checkpoint:
            raise InputError("--checkpoint is a trained network: leave out --untrained, or it")
        return load_untrained(config, options.fetch)
    if options.checkpoint is None:
        either = ", or --untrained" if hasattr(options, "untrained") else ""
        raise InputError(
            f"--config needs --checkpoint, a file of PyTorch weights{either}; a run of "
            "`lupi train` is given by --workdir alone"
        )
    return load_weights(config, options.checkpoint)


def parse_trials(text: str) -> list[int]:
    """RegDB's splits in "all", "3", "1,4" or "2..5", ascending.

    Raises:
      InputError: it is no such thing.
    """
    trials: set[int] = set()
    for part in ("1..10" if text == "all" else text).split(","):
        low, dots, high = part.partition("..")
        high = high if dots else low
        if not (low.isdecimal() and high.isdecimal()):
            raise InputError(f"--trials {text}: give all, 3, 1,4 or 2..5")
        if not TRIALS[0] <= int(low) <= int(high) <= TRIALS[-1]:
            raise InputError(f"--trials {text}: RegDB has the splits {TRIALS[0]} to {TRIALS[-1]}")
        trials.update(range(int(low), int(high) + 1))
    return sorted(trials)
