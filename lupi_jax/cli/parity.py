"""`lupi parity`, for developers: it needs `experiments/parity` beside this package."""

import argparse
import sys
from pathlib import Path

from lupi_jax.errors import InputError

SUMMARY = "compare with the released PyTorch code's numbers"
EXAMPLE = "lupi parity --case resnet18_base"
NEEDS = ("training",)
SAVED = "nothing was saved"

ROOT = Path(__file__).parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi parity`."""
    add, precisions = parser.add_argument, ("float64", "float32", "bfloat16")
    precision = "precision of the networks (float64); losses are compared in float32"
    add("--precision", choices=precisions, default="float64", help=precision)
    case = "name of a network to compare; may be repeated (all networks, losses and metrics)"
    add("--case", action="append", metavar="NAME", help=case)
    figures = "directory of the reference .npz files (experiments/parity/figures)"
    add("--figures", type=Path, metavar="DIR", help=figures)
    add = parser.add_mutually_exclusive_group().add_argument
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--markdown", action="store_true", help="print a Markdown table instead of a boxed one")


def run(options: argparse.Namespace) -> None:
    """Compare with the released code's numbers, which a checkout of the sources holds."""
    if not (ROOT / "experiments/parity").is_dir():
        raise InputError(
            "lupi parity: the reference figures are only in a source checkout: clone the "
            "repository, and run `python -m experiments.parity` there"
        )
    sys.path.insert(0, str(ROOT))
    from experiments.parity.__main__ import compare

    compare(options)
