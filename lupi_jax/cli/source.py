"""Which data set a command is about, where it is about no network."""

import argparse
import os
from typing import TYPE_CHECKING

from lupi_jax.errors import InputError

if TYPE_CHECKING:
    from lupi_jax.config import SourceConfig


def add_source(parser: argparse.ArgumentParser) -> None:
    """`--data`, `--root`, `--index` and `--workers`."""
    parser.add_argument(
        "--data",
        required=True,
        choices=("sysu", "regdb", "llcm", "folder", "synthetic"),
        help="kind of the data set (required)",
    )
    parser.add_argument("--root", required=True, help="directory of the data set (required)")
    parser.add_argument(
        "--index",
        default="",
        metavar="FILE",
        help="with --data folder: a CSV or Parquet table of the images with the columns path "
        "(below the root), identity, camera, modality (visible, infrared) and split (train, val, "
        "test); without it directories and file names say all that",
    )
    add_workers(parser, "images read")


def add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    """`--workers`, which says how many of `what` are done at once."""
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers",
        type=_positive,
        default=cores,
        metavar="N",
        help=f"number of {what} at once (the number of CPUs: {cores})",
    )


def source_of(options: argparse.Namespace) -> "SourceConfig":
    """The data set that the arguments of `add_source` name.

    Raises:
      InputError: `--index` goes with another data set.
    """
    from lupi_jax.config import SourceConfig

    if options.index and options.data != "folder":
        raise InputError("--index describes images of --data folder: leave it out")
    return SourceConfig(
        name=options.data, root=options.root, index=options.index, workers=options.workers
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)
