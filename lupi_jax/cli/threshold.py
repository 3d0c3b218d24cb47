"""`--threshold` of `lupi search`: the distance up to which two images match."""

import argparse
import contextlib
from typing import TYPE_CHECKING

from lupi_jax.cli.source import number

if TYPE_CHECKING:
    from lupi_jax.evaluation.thresholds import Threshold


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Add `--threshold` and `--false-match-rate`."""
    add = parser.add_argument
    add(
        "--threshold",
        metavar="DISTANCE|FILE",
        help="distance, 0 to 2, up to which images are marked as matches; or JSON file that `lupi "
        "evaluate` wrote for this network, to choose the distance by its pairs (no marks)",
    )
    text = "with --threshold FILE: share of pairs of two people that may match, up to 0.1 (0.01)"
    add("--false-match-rate", type=number, metavar="RATE", help=text)


def read_threshold(options: argparse.Namespace) -> "Threshold | None":
    """The threshold that the options ask for, or None, see `make_threshold`."""
    from lupi_jax.evaluation.thresholds import make_threshold

    given = options.threshold
    with contextlib.suppress(ValueError):  # the name of a file
        given = None if given is None else float(given)
    sides = options.query_modality, options.gallery_modality
    return make_threshold(given, *sides, options.false_match_rate)
