"""`--threshold` of `lupi search`: the distance up to which two images match."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lupi_jax.cli.source import number
from lupi_jax.errors import InputError
from lupi_jax.runtime.records import parse_json

RATE = 0.01
"""The false-match rate that a threshold is chosen for, unless an option gives another."""

_LARGEST = 2.0  # the largest cosine distance


class Threshold(NamedTuple):
    """A threshold, and where it comes from.

    Attributes:
      distance: the largest distance at which two images match, from 0 to 2.
      said: the pairs that the threshold was chosen by, in words; "" for a number that was given.
      origin: the network that gave the distances of those pairs; empty for a number.
    """

    distance: float
    said: str
    origin: Mapping[str, Any]


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Add `--threshold` and `--false-match-rate`."""
    add = parser.add_argument
    add(
        "--threshold",
        metavar="DISTANCE|FILE",
        help="distance, 0 to 2, up to which images are marked as matches; or JSON file that `lupi "
        "evaluate` wrote for this network, to choose the distance by its pairs (no marks)",
    )
    text = f"with --threshold FILE: share of pairs of two people that may match, up to 0.1 ({RATE})"
    add("--false-match-rate", type=number, metavar="RATE", help=text)


def read_threshold(options: argparse.Namespace) -> Threshold | None:
    """The threshold that the options ask for, or None.

    Raises:
      InputError: `--threshold` is neither a distance nor an evaluation with a distance for the
        searched modalities and the rate.
    """
    text, rate = options.threshold, options.false_match_rate
    number = _number(text)
    if rate is not None and (text is None or number is not None):
        raise InputError("--false-match-rate applies only to --threshold FILE: leave it out")
    if text is None:
        return None
    if number is None:
        return _calibrated(Path(text), RATE if rate is None else rate, options)
    if not 0 <= number <= _LARGEST:
        raise InputError(f"--threshold {text}: give a distance from 0 to 2")
    return Threshold(number, "", {})


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _calibrated(file: Path, rate: float, options: argparse.Namespace) -> Threshold:
    from lupi_jax.evaluation.origin import NETWORK
    from lupi_jax.evaluation.verification import level_for

    sides = options.query_modality, options.gallery_modality
    result = _read_result(file)
    try:
        searches = [v for v in result["verification"] if (v["query"], v["gallery"]) == sides]
        if not searches:
            raise InputError(
                f"--threshold {file}: no pairs of {sides[0]} -> {sides[1]}: evaluate with "
                f"--config.evaluation.pairs=\"('{sides[0]}_to_{sides[1]}',)\""
            )
        found = searches[0]
        level = level_for(found["levels"], rate)
        pairs = int(found["impostor_pairs"])
        if level is None or not rate <= 0.1:
            least = f", at least {1 / pairs:.1g} with its {pairs} pairs" if pairs else ""
            raise InputError(f"--false-match-rate {rate:g}: {file} has rates up to 0.1{least}")
        distance, missed = float(level["threshold"]), float(level["false_non_match_rate"])
        said = (
            f"{sides[0]} -> {sides[1]}, {found['search']}, split {result['split']}: "
            f"{100 * level['false_match_rate']:g} % of {pairs} pairs of two people match, and "
            f"{100 * missed:.1f} % of {int(found['genuine_pairs'])} pairs of one person do not"
        )
        origin = {
            NETWORK: result[NETWORK],
            "checkpoint": result["step"] and f"step {result['step']}",
        }
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"--threshold {file}: no thresholds in this file: give a JSON file of one run that "
            "`lupi evaluate` of this version wrote"
        ) from error
    if not math.isfinite(distance):
        raise InputError(f"--threshold {file}: this file is damaged: evaluate the network again")
    return Threshold(distance, said, origin)


def _read_result(file: Path) -> Any:
    from lupi_jax.data.sources.files import read_bytes

    missing = f"--threshold {file}: neither a number nor a file: give a distance or an evaluation"
    content = read_bytes(file, missing)
    try:
        return parse_json(content, finite=False)
    except ValueError as error:
        raise InputError(
            f"--threshold {file}: {error}: give the file that `lupi evaluate` wrote"
        ) from error
