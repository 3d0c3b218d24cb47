"""Which network a command is about, on which images, and in which processes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lupi_jax.errors import InputError

if TYPE_CHECKING:
    from lupi_jax.evaluation import Evaluation
    from lupi_jax.training import Run

CHECKPOINTS = "newest|best|STEP"


def add_network(parser: argparse.ArgumentParser) -> None:
    """`--workdir`, or `--config` and `--checkpoint`; and fields of the configuration."""
    parser.add_argument(
        "--workdir", type=Path, metavar="RUN", help="directory of the run, from `lupi train`"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="with --workdir: checkpoint of the run, newest, best or a step (newest); with "
        "--config: file of PyTorch weights",
    )
    parser.add_argument(
        "--config",
        metavar="FILE[:VARIANT]",
        help="instead of --workdir: configuration of the network that --checkpoint holds",
    )
    parser.set_defaults(takes_fields=True)


def add_run(parser: argparse.ArgumentParser) -> None:
    """`--workdir` and `--checkpoint`, for what a run of `lupi train` alone has."""
    parser.add_argument(
        "--workdir",
        type=Path,
        required=True,
        metavar="RUN",
        help="directory of the run, from `lupi train` (required)",
    )
    add_checkpoint(parser, "the run")
    parser.set_defaults(takes_fields=True, config=None)


def add_checkpoint(parser: argparse.ArgumentParser, of: str) -> None:
    """`--checkpoint` of a run, or of each of several."""
    parser.add_argument(
        "--checkpoint",
        metavar=CHECKPOINTS,
        help=f"checkpoint of {of}: the newest, the best or that of a step (newest)",
    )


def add_images(parser: argparse.ArgumentParser, default: str | None = "test") -> None:
    """`--split` and `--data-root`."""
    parser.add_argument(
        "--split",
        choices=("test", "val", "train"),
        default=default,
        help="part of the data set (test)",
    )
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="directory of the data set (where it was in training)",
    )


def add_untrained(parser: argparse.ArgumentParser) -> None:
    """`--untrained` and `--fetch`."""
    parser.add_argument(
        "--untrained", action="store_true", help="take the network before its first step"
    )
    add_fetch(parser)


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """`--fetch`."""
    parser.add_argument(
        "--fetch",
        action="store_true",
        help="download pretrained weights that the cache of the hub lacks",
    )


def add_trials(parser: argparse.ArgumentParser, what: str) -> None:
    """`--trials`, and what the command does with them."""
    parser.add_argument(
        "--trials",
        metavar="WHICH",
        help=f"splits of RegDB, as all, 3, 1,4 or 2..5: {what} (that of data.trial alone)",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """`--distributed`, `--coordinator`, `--processes` and `--process`."""
    group = parser.add_argument_group("several processes as one run (README)")
    group.add_argument(
        "--distributed",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether to join other processes; auto joins them under Slurm, Kubernetes, MPI, or "
        "on a TPU pod (auto)",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--processes", type=int, metavar="N", help="number of processes")
    group.add_argument("--process", type=int, metavar="I", help="number of this one, from 0")


def overrides_of(options: argparse.Namespace) -> dict[str, str]:
    """The configuration's fields that the command line sets, {dotted name: text}.

    Raises:
      InputError: an argument is no such thing.
    """
    from lupi_jax.config.file import parse_overrides

    overrides = parse_overrides(options.rest)
    if getattr(options, "data_root", None) is not None:
        overrides["data.root"] = options.data_root
    return overrides


def load(options: argparse.Namespace) -> "Run":
    """The network that --workdir, or --config and --checkpoint, ask for.

    Raises:
      InputError: there is none, or they ask for none or two.
    """
    from lupi_jax.config.file import load_config
    from lupi_jax.runtime.backend import start_backend
    from lupi_jax.training import load_untrained, load_weights

    start_backend()
    if (options.workdir is None) == (options.config is None):
        raise InputError(
            "which network? Give --workdir of a `lupi train` run, or --config and --checkpoint, a "
            "file of PyTorch weights"
        )
    if options.config is None:
        return load_from(options.workdir, options)
    config = load_config(options.config, overrides_of(options))
    if getattr(options, "untrained", False):
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


def load_from(workdir: Path, options: argparse.Namespace) -> "Run":
    """The network of the run in `workdir`, with the fields that the command line sets.

    Raises:
      InputError: there is none, or a field may not be set.
    """
    from lupi_jax.config.file import change_config
    from lupi_jax.training import MOVABLE, load_run

    overrides = overrides_of(options)
    untrained = getattr(options, "untrained", False)
    run = load_run(workdir, options.checkpoint or "newest", untrained)
    return run.under(change_config(run.config, overrides, MOVABLE))


def measure(run: "Run", split: str) -> "Evaluation":
    """Evaluate a network on a split of its data, and show how far that is.

    Raises:
      InputError: the data cannot be used, or the network was trained on them.
    """
    from lupi_jax.evaluation import evaluate
    from lupi_jax.runtime.terminal import showing

    with showing() as show:
        seen = run.seen or ()
        return evaluate(run.config, run.model, run.variables, split, seen, show)


def selection(run: "Run", checkpoint: str | None) -> str:
    """How the checkpoint that was asked for was chosen, as results say it."""
    if run.step is None:
        return "trained elsewhere: not known"
    if run.step == 0:
        return "untrained"
    if checkpoint != "best":
        return "the newest" if checkpoint in (None, "newest") else "by its step"
    data = run.config.data
    who = f"{data.validation_identities} training identities held out"
    if data.validation_split:
        who = "the data set's own validation identities"
    return f"best mAP, mean over the protocol's searches, on {who}"


def parse_trials(text: str) -> list[int]:
    """RegDB's splits in "all", "3", "1,4" or "2..5", ascending.

    Raises:
      InputError: it is no such thing.
    """
    from lupi_jax.data.sources.regdb import TRIALS

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
