"""Ranks of true matches, found by counting the images before each; no gallery is ever sorted whole.

Counts add up, so distances may come in tiles.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Each thread works on a few arrays of at most this many distances, a few megabytes.
_CHUNK_ELEMENTS = 2**19

Tile = tuple[NDArray[np.int64], NDArray]
"""Positions [t] in the gallery, ascending, and the distances [q, t] of all queries to them."""

Hidden = Callable[[slice, NDArray[np.int64]], NDArray[np.bool_]]
"""(queries [b], positions [t]) -> [b, t], True if the image does not exist for the query."""


def match_figures(
    query_ids: NDArray,
    gallery_ids: NDArray,
    tiles: Iterable[Tile],
    hidden: Hidden | None = None,
    cmc: Literal["identity", "image"] = "identity",
) -> NDArray[np.float64]:
    """Average precision, inverse negative penalty and rank of the first true match of each query.

    Args:
        query_ids: [q] identities.
        gallery_ids: [g] identities.
        tiles: floating-point distances. Together the tiles contain every gallery image once; the
            first contains all true matches of all queries. Equal distances keep the gallery's
            order.
        hidden: says which gallery images do not exist for which query; None hides nothing.
        cmc: whether the rank of the first match counts "image"s or, each once, identities
            ("identity").

    Returns:
        [3, q]; NaN for a query without a true match.

    Raises:
        ValueError: a distance is NaN.
    """
    matches = _Matches(_match_positions(query_ids, gallery_ids), gallery_ids, cmc == "identity")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for columns, tile in tiles:
            step = max(1, _CHUNK_ELEMENTS // len(columns))
            chunks = [slice(i, i + step) for i in range(0, len(query_ids), step)]
            list(threads.map(partial(matches.count, columns, tile, hidden), chunks))
            matches.found = True
    return matches.figures()


class _Matches:
    """The true matches of q queries, at most p each, and the images counted before them so far."""

    def __init__(self, positions: NDArray[np.int64], gallery_ids: NDArray, identities: bool):
        self.positions = positions  # in the gallery; -1 if a query has fewer than p
        self.distances = np.full(positions.shape, np.nan)
        self.before = np.zeros(positions.shape, np.int64)
        # Whether an identity has an image before the first match; used only if `identities`.
        names, self.number = np.unique(gallery_ids, return_inverse=True)
        self.seen = np.zeros((len(positions), len(names) if identities else 0), bool)
        self.found = False  # whether the first tile has given the matches' distances

    def count(
        self, columns: NDArray[np.int64], tile: NDArray, hidden: Hidden | None, rows: slice
    ) -> None:
        """Add the counts of one tile's images, for some of the queries."""
        block = tile[rows]
        if np.isnan(block.min()):
            raise ValueError("distances contain NaN")
        if hidden is not None:
            # NaN sorts behind every distance, even infinite ones, and equals no distance.
            block = np.where(hidden(rows, columns), block.dtype.type(np.nan), block)
        if not self.found:
            self.distances[rows], self.positions[rows] = _in_order(
                block, columns, self.positions[rows]
            )
        values, positions = self.distances[rows].astype(block.dtype), self.positions[rows]
        before, tied = _count_before(block, columns, values, positions, not self.found)
        self.before[rows] += before
        if self.seen.shape[1]:
            earlier = block < values[:, :1]
            equal = block[tied] == values[tied, :1]
            earlier[tied] |= equal & (columns < positions[tied, :1])
            row, column = np.divmod(np.flatnonzero(earlier), len(columns))
            self.seen[rows][row, self.number[columns[column]]] = True

    def figures(self) -> NDArray[np.float64]:
        """The result of `match_figures`, once every tile is counted."""
        there = ~np.isnan(self.distances)
        total = there.sum(axis=1)
        rank = self.before + 1
        precision = np.where(there, there.cumsum(axis=1) / rank, 0)
        # A running sum, so that its last bit does not depend on other queries or on the padding.
        precision = precision.cumsum(axis=1)[:, -1]
        last = rank[np.arange(len(rank)), np.maximum(total - 1, 0)]
        first = self.seen.sum(axis=1) + 1 if self.seen.shape[1] else rank[:, 0]
        with np.errstate(invalid="ignore"):  # 0 / 0 without a match, masked on the next line
            figures = np.stack([precision / total, total / last, first])
        return np.where(total > 0, figures, np.nan)


def _match_positions(query_ids: NDArray, gallery_ids: NDArray) -> NDArray[np.int64]:
    """[q, p] positions of each query's identity in the gallery, ascending, filled up with -1."""
    order = np.argsort(gallery_ids, kind="stable")
    start, stop = (np.searchsorted(gallery_ids, query_ids, s, order) for s in ("left", "right"))
    width = max(1, int((stop - start).max()))
    place = start[:, None] + np.arange(width)
    return np.where(place < stop[:, None], order[np.minimum(place, len(order) - 1)], -1)


def _in_order(
    block: NDArray, columns: NDArray[np.int64], positions: NDArray[np.int64]
) -> tuple[NDArray, NDArray[np.int64]]:
    """Distances [b, p] of the matches in order, NaN if there are fewer, and their positions."""
    place = np.searchsorted(columns, positions)
    values = np.where(positions < 0, np.nan, np.take_along_axis(block, place, axis=1))
    order = np.argsort(values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(positions, order, axis=1)


def _count_before(
    block: NDArray,
    columns: NDArray[np.int64],
    values: NDArray,
    positions: NDArray[np.int64],
    own: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of images before each (value, position), [b, p], and the rows with equal distances."""
    ordered = np.sort(
        block, axis=1
    )  # sorting distances is several times faster than sorting positions
    before = _bisect(ordered, values)
    last = block.shape[1] - 1
    after_own = np.take_along_axis(ordered, np.minimum(before + own, last), axis=1)
    equal = (after_own == values) & (before + own <= last)
    tied = np.flatnonzero(equal.any(axis=1))
    for row in tied:
        for value in np.unique(values[row, equal[row]]):
            alike = columns[np.flatnonzero(block[row] == value)]
            those = values[row] == value
            before[row, those] += np.searchsorted(alike, positions[row, those])
    return before, tied


def _bisect(rows: NDArray, values: NDArray) -> NDArray[np.int64]:
    """`np.searchsorted` of each row of values [b, p] in its own ascending row [b, w]."""
    width = rows.shape[1]
    flat = rows.ravel()
    start = (np.arange(len(rows)) * width)[:, None] - 1
    found = np.zeros(values.shape, np.int64)
    step = 1 << (width.bit_length() - 1)
    while step:
        tried = found + step
        smaller = flat[start + np.minimum(tried, width)] < values
        found = np.where(smaller & (tried <= width), tried, found)
        step >>= 1
    return found
