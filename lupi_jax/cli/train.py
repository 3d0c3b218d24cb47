"""`lupi train`: train a network, or one network per split of RegDB."""

import argparse
from pathlib import Path

import lupi_jax as lupi
from lupi_jax.cli.console import say
from lupi_jax.cli.network import add_fetch, add_processes, add_trials, parse_trials
from lupi_jax.cli.source import not_negative
from lupi_jax.errors import InputError

SUMMARY = "train a network, or resume a run"
EXAMPLE = """lupi train --config configs/synthetic.py --workdir runs/demo --config.steps=600

--config.FIELD=VALUE sets a field of the configuration. It overrides the file, and the file
overrides the recipe. `lupi config FILE` lists all fields with values, defaults and choices."""
NEEDS = ("evaluation", "training")
SAVED = "what was saved is intact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi train`."""
    parser.usage = "lupi train --config FILE[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]"
    add = parser.add_argument
    config = "Python file of the configuration, and optionally one of its variants (required)"
    add("--config", required=True, metavar="FILE[:VARIANT]", help=config)
    workdir = "directory of the run, to create or to resume (required)"
    add("--workdir", type=Path, required=True, metavar="DIR", help=workdir)
    add_fetch(parser)
    add_trials(parser, "train one network per split, in DIR/trial-N")
    add(
        "--profile",
        type=not_negative,
        nargs="?",
        const=10,
        metavar="STEPS",
        help="print how long each phase takes, and write a trace of STEPS steps (10; 0 for no "
        "trace) to DIR/profile for TensorBoard",
    )
    add_processes(parser)
    parser.set_defaults(takes_fields=True)


def run(options: argparse.Namespace) -> None:
    """Train one network, or one network per split of RegDB."""
    from lupi_jax.runtime.backend import start_backend

    start_backend()
    if options.trials is not None and "data.trial" in options.overrides:
        raise InputError(
            "--trials and --config.data.trial both choose splits: give only one of them"
        )
    trials = None if options.trials is None else parse_trials(options.trials)
    config = lupi.load_config(options.config, options.overrides)
    fetch, profile = options.fetch, options.profile or 0
    if trials is None:
        lupi.train(config, options.workdir, fetch=fetch, profile=profile)
    else:
        lupi.train_trials(config, options.workdir, trials, fetch=fetch, profile=profile)
    said = "" if trials is None else f" --trials {options.trials}"
    say(f"trained; next: lupi evaluate --workdir {options.workdir}{said}")
