"""Open-set figures: whether the person of a query is in the gallery at all.

Two images match if their distance is at most a threshold. A query is mated if the gallery has an
image of its person.

- The false-match rate is the share of pairs of two people that match. The false-non-match rate is
  the share of pairs of one person that do not match (ISO/IEC 19795-1).
- The false-alarm rate is the share of queries without a mate whose nearest image matches. The
  detection and identification rate at rank k is the share of mated queries whose first true match
  is among the k nearest images and matches (Phillips, Grother and Micheals, "Evaluation Methods in
  Face Recognition", Handbook of Face Recognition, 2011; Liao et al., "Open-set Person
  Re-identification", arXiv:1408.0872, 2014).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lupi_jax.data.index import JUNK


class Outcomes(NamedTuple):
    """The first true match and the nearest image of q queries.

    Attributes:
      rank: [q] int64, 1-based rank of the first true match, counted in images; 0 without a mate.
      match: [q] distance of that match; infinite without a mate.
      nearest: [q] distance of the nearest image; infinite if all images are excluded.
    """

    rank: NDArray[np.int64]
    match: NDArray
    nearest: NDArray


def calibrate_threshold(impostors: ArrayLike, rate: float, count: int | None = None) -> float:
    """The largest threshold at which at most a share `rate` of distances matches.

    Args:
      impostors: [n] real distances, finite, in any order. For a false-match rate give the distances
        of pairs of two people; for a false-alarm rate give the distances from queries without a
        mate to their nearest image.
      rate: the share, 0 < rate < 1.
      count: the number of distances in all, if `impostors` are only the smallest of them.

    Raises:
      ValueError: the rate is out of range, or smaller than 1 / n, which n distances cannot show; or
        `impostors` are too few of `count` distances.
    """
    distances = np.asarray(impostors)
    total = distances.size if count is None else count
    if not 0 < rate < 1:
        raise ValueError(f"a rate must be between 0 and 1: got {rate}")
    passing = math.floor(rate * total + 1e-9)  # 0.29 * 100 is a little less than 29
    if passing < 1:
        raise ValueError(f"{total} distances cannot show a rate below 1 / {total}: got {rate:g}")
    if passing >= distances.size:
        raise ValueError(f"{distances.size} of {total} distances do not show a rate of {rate:g}")
    first_beyond = np.partition(distances, passing)[passing]
    return float(np.nextafter(first_beyond, -np.inf, dtype=distances.dtype))


def verification_rates(
    genuine: ArrayLike, impostors: ArrayLike, thresholds: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False-match and false-non-match rates [t] at thresholds [t], each in [0, 1].

    The false-match rate is the share of pairs of two people whose distance is at most the
    threshold. The false-non-match rate is the share of pairs of one person whose distance is larger
    (ISO/IEC 19795-1).

    Args:
      genuine: [n] distances of pairs of one person, n >= 1.
      impostors: [m] distances of pairs of two people, m >= 1.
      thresholds: [t] distances.

    Raises:
      ValueError: `genuine` or `impostors` is empty.
    """
    own, others, at = (np.asarray(x) for x in (genuine, impostors, thresholds))
    if not (own.size and others.size):
        raise ValueError(f"rates need pairs of both kinds: got {own.size} and {others.size}")
    return _share_up_to(others, at), 1 - _share_up_to(own, at)


def query_outcomes(
    distances: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    excluded: ArrayLike | None = None,
) -> Outcomes:
    """The first true match and the nearest image of each query.

    Args:
      distances: [q, g] finite; equal distances keep the gallery's order.
      query_ids: [q] identities.
      gallery_ids: [g] identities; images of identity -1 (junk) are ignored.
      excluded: [q, g] bool; True if the gallery image does not exist for that query.
    """
    query, gallery = np.asarray(query_ids), np.asarray(gallery_ids)
    hidden = np.zeros((len(query), len(gallery)), bool) if excluded is None else excluded
    shown = np.where(hidden | (gallery == JUNK), np.inf, np.asarray(distances))
    own = np.where(query[:, None] == gallery, shown, np.inf)
    place = own.argmin(axis=1)[:, None]
    match = np.take_along_axis(own, place, axis=1)
    before = (shown < match) | ((shown == match) & (np.arange(len(gallery)) < place))
    rank = np.where(np.isfinite(match[:, 0]), 1 + before.sum(axis=1), 0)
    return Outcomes(rank, match[:, 0], shown.min(axis=1))


def open_set_rates(
    outcomes: Outcomes, thresholds: ArrayLike, rank: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Detection and identification rates [t], and false-alarm rates [t], at thresholds [t].

    The detection and identification rate is the share of mated queries whose first true match is
    among the `rank` nearest images and within the threshold. The false-alarm rate is the share of
    queries without a mate whose nearest image is within the threshold (Liao et al., "Open-set
    Person Re-identification", arXiv:1408.0872, 2014).

    Args:
      outcomes: outcomes of queries with a mate and without, at least one of each kind.
      thresholds: [t] distances.
      rank: largest rank that the first true match may have, at least 1.

    Raises:
      ValueError: all queries or none have a mate, or `rank` is below 1.
    """
    mated = outcomes.rank > 0
    if mated.all() or not mated.any():
        lacking = "without" if mated.all() else "with"
        raise ValueError(f"open-set rates need queries {lacking} a mate in the gallery")
    if rank < 1:
        raise ValueError(f"rank must be at least 1: got {rank}")
    found = np.where(outcomes.rank <= rank, outcomes.match, np.inf)[mated]
    at = np.asarray(thresholds)
    return _share_up_to(found, at), _share_up_to(outcomes.nearest[~mated], at)


def _share_up_to(distances: NDArray, thresholds: NDArray) -> NDArray[np.float64]:
    """The share of the distances that are at most each threshold."""
    return np.searchsorted(np.sort(distances), thresholds, "right") / distances.size
