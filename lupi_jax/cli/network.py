"""Options that choose a network, its images and its processes, and how to load the network."""

import argparse
import re
from pathlib import Path

import lupi_jax as lupi
from lupi_jax.cli.source import whole
from lupi_jax.errors import InputError


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add `--workdir`, `--config` and `--checkpoint`, and fields of the configuration."""
    add = parser.add_argument
    add("--workdir", type=Path, metavar="RUN", help="directory of the run, from `lupi train`")
    add(
        "--checkpoint",
        metavar="WHICH",
        help="with --workdir: checkpoint of the run, which is newest, best or a step number "
        "(newest); with --config: file of PyTorch weights",
    )
    add(
        "--config",
        metavar="FILE[:VARIANT]",
        help="instead of --workdir: configuration of the network in --checkpoint",
    )
    parser.set_defaults(takes_fields=True)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint` to a command that takes only runs of `lupi train`."""
    parser.add_argument(
        "--checkpoint",
        metavar="newest|best|STEP",
        help="checkpoint of a run: newest, best or a step number (newest)",
    )
    parser.set_defaults(takes_fields=True)


def add_images(parser: argparse.ArgumentParser, default: str | None = "test") -> None:
    """Add `--split` and `--data-root`."""
    add, splits = parser.add_argument, ("test", "val", "train")
    add("--split", choices=splits, default=default, help="part of the data set (test)")
    add("--data-root", metavar="DIR", help="directory of the data set (as in training)")


def add_untrained(parser: argparse.ArgumentParser) -> None:
    """Add `--untrained` and `--fetch`."""
    text = "use the network as it was before its first step"
    parser.add_argument("--untrained", action="store_true", help=text)
    add_fetch(parser, "with --untrained: ")


def add_fetch(parser: argparse.ArgumentParser, when: str = "") -> None:
    """Add `--fetch`; `when` says when it applies."""
    text = f"{when}download pretrained weights that are not in the Hugging Face cache"
    parser.add_argument("--fetch", action="store_true", help=text)


def add_trials(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--trials`; `what` says what the command does with each."""
    text = f"splits of RegDB, such as all, 3, 1,4 or 2..5; {what} (the split in data.trial)"
    parser.add_argument("--trials", metavar="WHICH", help=text)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add `--distributed`, `--coordinator`, `--processes` and `--process`."""
    add = parser.add_argument_group(
        "several processes as one run (docs/guides/clusters.md)"
    ).add_argument
    add(
        "--distributed",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether to join other processes; auto joins them under Slurm, Kubernetes or MPI, "
        "and on a TPU pod (auto)",
    )
    add("--coordinator", metavar="HOST:PORT", help="address of process 0 (found by auto)")
    add("--processes", type=whole, metavar="N", help="number of processes (found by auto)")
    add("--process", type=whole, metavar="I", help="number of this process, from 0 (found by auto)")


def load(options: argparse.Namespace) -> "lupi.training.Run":
    """Load the network that --workdir, or --config with --checkpoint, names."""
    from lupi_jax.config.file import load_config
    from lupi_jax.runtime.backend import start_backend

    start_backend()
    require_one_network(options)
    if options.config is None:
        return load_from(options.workdir, options)
    config = load_config(options.config, options.overrides)
    if options.untrained:
        return lupi.training.load_untrained(config, options.fetch)
    if options.checkpoint is None:
        raise InputError(
            "--config needs --checkpoint, a file of PyTorch weights, or --untrained if the command "
            "has that option; for a run of `lupi train` give only --workdir"
        )
    return lupi.training.load_weights(config, options.checkpoint)


def require_one_network(options: argparse.Namespace) -> None:
    """Refuse options that name two networks, or not one.

    Raises:
      InputError: both or neither of --workdir and --config are given, --checkpoint is given
        together with --untrained, or --fetch without it.
    """
    if (options.workdir is None) == (options.config is None):
        raise InputError(
            "which network? Give --workdir, a run of `lupi train`, or --config with --checkpoint, "
            "a file of PyTorch weights"
        )
    if options.untrained and options.checkpoint:
        raise InputError(
            "--checkpoint names a trained network: leave out --checkpoint or --untrained"
        )
    if options.fetch and not options.untrained:
        raise InputError("--fetch applies only to --untrained: leave out --fetch")


def load_from(workdir: Path, options: argparse.Namespace) -> "lupi.training.Run":
    """Load the network of the run in `workdir`, with the fields that the command line sets."""
    return lupi.evaluation.open_run(
        workdir, options.checkpoint, options.overrides, options.untrained, options.fetch
    )


def parse_trials(text: str) -> list[int]:
    """RegDB's splits named by "all", "3", "1,4" or "2..5", ascending."""
    from lupi_jax.data.sources.regdb import TRIALS

    trials: set[int] = set()
    for part in ("1..10" if text == "all" else text).split(","):
        ends = re.fullmatch(r"(\d{1,2})(?:\.\.(\d{1,2}))?", part)
        low, high = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, 0)
        if not TRIALS[0] <= low <= high <= TRIALS[-1]:
            raise InputError(
                f"--trials {text}: give all, or numbers from 1 to 10, such as 3, 1,4 or 2..5"
            )
        trials.update(range(low, high + 1))
    return sorted(trials)
