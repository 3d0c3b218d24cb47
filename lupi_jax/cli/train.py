"""`lupi train`: a network, or one for each of several of RegDB's splits."""

import argparse
from pathlib import Path

from lupi_jax.cli.console import say
from lupi_jax.cli.network import add_fetch, add_processes, add_trials, overrides_of, parse_trials
from lupi_jax.errors import InputError

SUMMARY = "train a network, or go on with a run"
EXAMPLE = "lupi train --config configs/synthetic.py --workdir runs/demo --config.steps=600"
NEEDS = ("evaluation", "training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is trained, where to, and in which processes."""
    parser.usage = "lupi train --config FILE[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]"
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:VARIANT]",
        help="configuration, a Python file, and one of its variants (required)",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory of the run, to make or to go on with (required)",
    )
    add_fetch(parser)
    add_trials(parser, "one network for each split, in DIR/trial-N")
    parser.add_argument(
        "--profile",
        type=_not_negative,
        nargs="?",
        const=10,
        metavar="STEPS",
        help="print how long each phase takes, and trace STEPS steps (10; 0 for no trace) to "
        "DIR/profile for TensorBoard",
    )
    add_processes(parser)
    parser.set_defaults(takes_fields=True)
    without_fields = parser.format_help

    def format_help() -> str:
        from lupi_jax.config import help_text  # the help of other commands need not wait for it

        return f"{without_fields()}\n{help_text()}\n"

    parser.format_help = format_help


def run(options: argparse.Namespace) -> None:
    """Train one network, or one for each of several of RegDB's splits.

    Raises:
      InputError: as `lupi_jax.training.train`, or the splits are of no use here.
    """
    from lupi_jax.config.file import load_config
    from lupi_jax.evaluation import make_validation
    from lupi_jax.runtime.backend import start_backend
    from lupi_jax.training import train

    start_backend()
    overrides = overrides_of(options)
    evaluate = f"lupi evaluate --workdir {options.workdir}"
    if options.trials is None:
        configs = {options.workdir: load_config(options.config, overrides)}
    else:
        if "data.trial" in overrides:
            raise InputError(
                "--trials and --config.data.trial both say which splits: give one of them"
            )
        configs = {
            options.workdir / f"trial-{trial}": load_config(
                options.config, {**overrides, "data.trial": str(trial)}
            )
            for trial in parse_trials(options.trials)
        }
        if any(config.data.name != "regdb" for config in configs.values()):
            raise InputError("--trials are RegDB's splits: leave it out for another data set")
        evaluate += f" --trials {options.trials}"
    for workdir, config in configs.items():
        if options.trials is not None:
            say(f"split {config.data.trial} of RegDB:")
        train(config, workdir, make_validation, options.fetch, options.profile or 0)
    say(f"trained; next: {evaluate}")


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: give a whole number, 0 or more")
    return int(text)
