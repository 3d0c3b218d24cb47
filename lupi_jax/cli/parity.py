"""`lupi parity`: for developers, whose sources have `experiments/parity` beside this package."""

import argparse
import sys
from pathlib import Path

from lupi_jax.errors import InputError

SUMMARY = "compare with the released PyTorch code's numbers"
EXAMPLE = "lupi parity --case resnet18_base"
NEEDS = ("training",)

ROOT = Path(__file__).parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is compared, and how the errors are printed."""
    parser.add_argument(
        "--precision",
        choices=("float64", "float32", "bfloat16"),
        default="float64",
        help="precision of the networks (float64); losses are compared in float32",
    )
    parser.add_argument(
        "--case",
        action="append",
        metavar="NAME",
        help="network to compare; may be repeated (all networks, losses and metrics)",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="directory of other golden .npz files (experiments/parity/figures)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument(
        "--markdown", action="store_true", help="print a Markdown table instead of one in boxes"
    )


def run(options: argparse.Namespace) -> None:
    """Compare this implementation with the released code's numbers.

    Raises:
      InputError: the sources are not there, or a figure.
      MismatchError: a number is further from theirs than it may be.
    """
    if not (ROOT / "experiments/parity").is_dir():
        raise InputError(
            "lupi parity needs figures that are with the sources alone: clone them, and run "
            "`python -m experiments.parity` there"
        )
    sys.path.insert(0, str(ROOT))
    from experiments.parity.__main__ import compare

    compare(options)
