"""`lupi make-synthetic`: a data set of rendered people."""

import argparse
from pathlib import Path

import lupi_jax as lupi
from lupi_jax.cli.console import say
from lupi_jax.cli.source import add_workers, whole

SUMMARY = "write a data set of rendered people as real image files"
EXAMPLE = "lupi make-synthetic --out data/synthetic --identities 96 --difficulty easy"
NEEDS = ("synthetic",)
SAVED = "the pictures written so far are kept; run the same command to continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi make-synthetic`."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="directory to write (required)")
    add(
        "--layout",
        choices=("folder", "sysu", "regdb", "llcm"),
        default="folder",
        help="data set whose directories and lists to write (folder)",
    )
    add(
        "--like",
        type=Path,
        metavar="LISTS",
        help="directory of the published lists (SYSU-MM01's exp/, RegDB's or LLCM's idx/), to "
        "render a stand-in for the whole data set",
    )
    people = "number of people (96; with --like as in the lists)"
    add("--identities", type=whole, metavar="N", help=people)
    add("--seed", type=whole, default=0, help="seed of people and pictures (0)")
    add(
        "--difficulty",
        choices=("hard", "easy"),
        default="hard",
        help="difficulty of finding people again; easy keeps most of the brightness of cloth in "
        "infrared (hard)",
    )
    images = "pictures per person and modality (8; RegDB: 10)"
    add("--images-per-modality", type=whole, metavar="N", help=images)
    add("--height", type=whole, metavar="PIXELS", help="height of the pictures in pixels (144)")
    add("--width", type=whole, metavar="PIXELS", help="width of the pictures in pixels (72)")
    add_workers(parser, "processes that render")


def run(options: argparse.Namespace) -> None:
    """Write a data set of rendered people."""
    from lupi_jax.runtime.terminal import showing

    named = ("height", "width", "images_per_modality", "like")
    asked = {name: getattr(options, name) for name in named if getattr(options, name) is not None}
    with showing() as show:
        written = lupi.make_synthetic(
            options.out,
            options.layout,
            identities=options.identities,
            seed=options.seed,
            difficulty=options.difficulty,
            workers=options.workers,
            progress=show("pictures"),
            **asked,
        )
    say(f"{'wrote' if written else 'already there:'} {options.out}")
