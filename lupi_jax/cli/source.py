"""Options that choose a data set, for commands without a network."""

import argparse
import os
import re

import lupi_jax as lupi
from lupi_jax.errors import InputError, shorten

_WHOLE = re.compile(r"-?[0-9]{1,18}")


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
    parser.add_argument("--workers", type=positive, default=cores, metavar="N", help=text)


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


def positive(text: str) -> int:
    """An argument as a whole number of at least 1; argparse reports any other text."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """An argument as a whole number of at least 0; argparse reports any other text."""
    return _at_least(0, text)


def whole(text: str) -> int:
    """An argument as a whole number; argparse reports any other text."""
    if not _WHOLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{shorten(text, 40)} is not a whole number")
    return int(text)


def number(text: str) -> float:
    """An argument as a number; argparse reports any other text."""
    try:
        if len(text) < 40:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{shorten(text, 40)} is not a number")


def _at_least(least: int, text: str) -> int:
    if not _WHOLE.fullmatch(text) or int(text) < least:
        what = f"{shorten(text, 40)} is not a whole number of at least {least}"
        raise argparse.ArgumentTypeError(what)
    return int(text)
