"""`lupi make-synthetic`: a data set of rendered people."""

import argparse
from pathlib import Path

from lupi_jax.cli.console import say
from lupi_jax.cli.interrupts import interrupted
from lupi_jax.cli.source import add_workers

SUMMARY = "write a data set of rendered people as real image files"
EXAMPLE = "lupi make-synthetic --out data/synthetic --layout folder --identities 96 --seed 0"
NEEDS = ("synthetic",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is rendered, and where to."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="directory to write (required)"
    )
    parser.add_argument(
        "--layout",
        choices=("folder", "sysu", "regdb", "llcm"),
        default="folder",
        help="the data set whose directories and lists are written (folder)",
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="LISTS",
        help="directory of the published lists (SYSU-MM01's exp/, RegDB's or LLCM's idx/): render "
        "a stand-in for the whole data set",
    )
    parser.add_argument(
        "--identities", type=int, metavar="N", help="number of people (96; with --like the lists')"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of people and pictures (0)")
    parser.add_argument(
        "--images-per-modality",
        type=int,
        metavar="N",
        help="pictures of each person in each modality (8; RegDB: 10)",
    )
    parser.add_argument(
        "--height", type=int, metavar="PIXELS", help="height of the pictures in pixels (144)"
    )
    parser.add_argument(
        "--width", type=int, metavar="PIXELS", help="width of the pictures in pixels (72)"
    )
    add_workers(parser, "processes that render")


def run(options: argparse.Namespace) -> None:
    """Write a data set of rendered people.

    Raises:
      InputError: a number is out of range, or the directory holds something else.
    """
    from lupi_jax.runtime.terminal import showing
    from lupi_jax.synthetic import LAYOUTS

    named = ("height", "width", "images_per_modality", "like")
    asked = {name: getattr(options, name) for name in named}
    saved = (
        f"the pictures written so far in {options.out} are kept: the same command goes on from "
        "there"
    )
    with interrupted(saved), showing() as show:
        written = LAYOUTS[options.layout](
            options.out,
            identities=options.identities,
            seed=options.seed,
            workers=options.workers,
            progress=show("pictures"),
            **{name: value for name, value in asked.items() if value is not None},
        )
    say(f"{'wrote' if written else 'already there:'} {options.out}")
