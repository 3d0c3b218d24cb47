"""Thresholds of a search: the distance up to which two images match, and where it comes from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lupi_jax.data.sources.files import read_bytes
from lupi_jax.errors import InputError
from lupi_jax.evaluation.origin import NETWORK
from lupi_jax.evaluation.verification import level_for
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.records import parse_json

if TYPE_CHECKING:
    from lupi_jax.evaluation.results import Results

RATE = 0.01
"""The false-match rate that a threshold is chosen for, unless another is given."""

_LARGEST = 2.0  # the largest cosine distance


class Threshold(NamedTuple):
    """A threshold, and where it comes from.

    Attributes:
      distance: the largest distance at which two images match, from 0 to 2.
      said: the pairs that the threshold was chosen by, in words; "" for a number that was given.
      origin: the network that gave the distances of those pairs; empty for a number.
      name: what was given, a file or "results"; "" for a number.
    """

    distance: float
    said: str = ""
    origin: Mapping[str, Any] = MappingProxyType({})
    name: str = ""


def make_threshold(
    given: float | str | os.PathLike[str] | Results | Threshold | None,
    query_modality: str,
    gallery_modality: str,
    rate: float | None = None,
) -> Threshold | None:
    """The threshold that was asked for; None for None.

    Args:
      given: a distance; or a JSON file that `lupi evaluate` wrote, or the `Results` of
        `lupi_jax.evaluate`, to choose the distance by the pairs in it.
      query_modality: modality of the queries.
      gallery_modality: modality of the gallery.
      rate: share of pairs of two people that may match, up to 0.1; None is `RATE`.

    Raises:
      InputError: `given` is neither a distance nor an evaluation with a distance for these
        modalities and this rate, or a rate is given without an evaluation.
    """
    chosen = given is not None and not isinstance(given, Real | Threshold)
    if rate is not None and not chosen:
        raise InputError("--false-match-rate applies only to --threshold FILE: leave it out")
    if given is None or isinstance(given, Threshold):
        return given
    if isinstance(given, Real):
        distance = float(given)
        if not 0 <= distance <= _LARGEST:
            raise InputError(f"--threshold {distance:g}: give a distance from 0 to 2")
        return Threshold(distance)
    name, record = "results", getattr(given, "record", None)
    if isinstance(given, str | os.PathLike):
        name, record = str(given), _read_record(expand(given))
    sides = str(query_modality), str(gallery_modality)
    return _chosen(record, name, sides, RATE if rate is None else rate)


def _chosen(result: Any, name: str, sides: tuple[str, str], rate: float) -> Threshold:
    """The threshold of an evaluation's record for two modalities and a false-match rate."""
    try:
        searches = [v for v in result["verification"] if (v["query"], v["gallery"]) == sides]
        if not searches:
            raise InputError(
                f"--threshold {name}: no pairs of {sides[0]} -> {sides[1]}: evaluate with "
                f"--config.evaluation.pairs=\"('{sides[0]}_to_{sides[1]}',)\""
            )
        found = searches[0]
        level = level_for(found["levels"], rate)
        pairs = int(found["impostor_pairs"])
        if level is None or not rate <= 0.1:
            least = f", at least {1 / pairs:.1g} with its {pairs} pairs" if pairs else ""
            raise InputError(f"--false-match-rate {rate:g}: {name} has rates up to 0.1{least}")
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
            f"--threshold {name}: no thresholds in this file: give a JSON file of one run that "
            "`lupi evaluate` of this version wrote"
        ) from error
    if not math.isfinite(distance):
        raise InputError(f"--threshold {name}: this file is damaged: evaluate the network again")
    return Threshold(distance, said, origin, name)


def _read_record(file: Path) -> Any:
    missing = f"--threshold {file}: neither a number nor a file: give a distance or an evaluation"
    content = read_bytes(file, missing)
    try:
        return parse_json(content, finite=False)
    except ValueError as error:
        raise InputError(
            f"--threshold {file}: {error}: give the file that `lupi evaluate` wrote"
        ) from error
