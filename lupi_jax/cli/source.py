"""Options that choose a data set, for commands without a network."""

import argparse
import os

import lupi_jax as lupi
from lupi_jax.errors import InputError


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, `--root`, `--index`, `--identity-zero` and `--workers`."""
    add, names = parser.add_argument, ("sysu", "regdb", "llcm", "folder", "synthetic")
    add("--data", required=True, choices=names, help="kind of the data set (required)")
    add("--root", required=True, help="directory of the data set (required)")
    add(
        "--index",
        default="",
        metavar="FILE",
        help="with --data folder: CSV or Parquet table of the images, such as `lupi index` writes, "
        "with the columns path (below the root), identity, camera, modality (visible, infrared), "
        "split (train, val, test) and, if needed, role (query, gallery); without --index, "
        "directories and file names say all this",
    )
    add(
        "--identity-zero",
        choices=("auto", "person", "distractor"),
        default="auto",
        help="with --data folder: meaning of identity 0, a person, or a distractor as in "
        "Market-1501; auto takes it for a person, but stops if there is junk (identity -1) (auto)",
    )
    add_workers(parser, "images read")


def add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--workers`, the number of `what` at once."""
    cores = os.cpu_count() or 1
    text = f"number of {what} at once (the number of CPUs: {cores})"
    parser.add_argument("--workers", type=_positive, default=cores, metavar="N", help=text)


def source_of(options: argparse.Namespace) -> "lupi.config.SourceConfig":
    """The data set that the options of `add_source` name."""
    if options.index and options.data != "folder":
        raise InputError("--index applies only to --data folder: leave out --index")
    if options.identity_zero != "auto" and options.data != "folder":
        raise InputError("--identity-zero applies only to --data folder: leave it out")
    return lupi.config.SourceConfig(
        name=options.data,
        root=options.root,
        index=options.index,
        identity_zero=options.identity_zero,
        workers=options.workers,
    )


def _positive(text: str) -> int:
    return _whole(text, 1)


def not_negative(text: str) -> int:
    """An argument as a whole number of at least 0; argparse reports any other text."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return int(text)
