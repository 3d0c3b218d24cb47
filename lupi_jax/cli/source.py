"""Which data set a command is about, where it is about no network."""

import argparse
import os

import lupi_jax as lupi
from lupi_jax.errors import InputError


def add_source(parser: argparse.ArgumentParser) -> None:
    """`--data`, `--root`, `--index`, `--identity-zero` and `--workers`."""
    add, names = parser.add_argument, ("sysu", "regdb", "llcm", "folder", "synthetic")
    add("--data", required=True, choices=names, help="kind of the data set (required)")
    add("--root", required=True, help="directory of the data set (required)")
    add(
        "--index",
        default="",
        metavar="FILE",
        help="with --data folder: a CSV or Parquet table of the images with the columns path "
        "(below the root), identity, camera, modality (visible, infrared), split (train, val, "
        "test) and, if needed, role (query, gallery); `lupi index` writes one; without it "
        "directories and file names say all that",
    )
    add(
        "--identity-zero",
        choices=("auto", "person", "distractor"),
        default="auto",
        help="with --data folder: what identity 0 is, a person, or a distractor as in Market-1501; "
        "auto is a person, but an error where there is junk, -1 (auto)",
    )
    add_workers(parser, "images read")


def add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    """`--workers`, which says how many of `what` are done at once."""
    cores = os.cpu_count() or 1
    text = f"number of {what} at once (the number of CPUs: {cores})"
    parser.add_argument("--workers", type=_positive, default=cores, metavar="N", help=text)


def source_of(options: argparse.Namespace) -> "lupi.config.SourceConfig":
    """The data set that the arguments of `add_source` name."""
    if options.index and options.data != "folder":
        raise InputError("--index describes images of --data folder: leave it out")
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
    """An argument as a whole number of at least 0; argparse names another one."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return int(text)
