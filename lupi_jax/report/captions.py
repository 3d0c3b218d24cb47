"""The frames, marks and texts of the results in ranking pictures."""

from collections.abc import Collection, Iterable
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from lupi_jax.evaluation.ranking import RankingRow

BLUE, GREEN, RED, _GREY = "#0072B2", "#009E73", "#D55E00", "#808080"
# Square line ends shorten every gap by a line width, so the gaps are set that much wider.
_FRAMES = {
    True: (GREEN, "-", "✓"),
    False: (RED, (0, (7, 2.2)), "✗"),  # long dashes
    None: (_GREY, (0, (0.1, 2)), ""),  # dots
}
_MATCH = (BLUE, "-", "≈")
"""Frame of a result whose identity is unknown and whose distance is within the threshold."""
_SIZES = (5.5, 8)  # smallest and usual size of the text under an image, in points


def look_of(row: RankingRow, place: int) -> tuple[str, Any, str]:
    """Colour, line style and mark of a result."""
    # NumPy's booleans equal Python's, so they find the same entry.
    colour, style, mark = _FRAMES[correct := row.correct[place]]
    if row.matched is not None and row.matched[place]:
        return _MATCH if correct is None else (colour, style, mark + "≈")
    return colour, style, mark


def captions_of(row: RankingRow) -> list[str]:
    """The texts under the query and under each result, whose mark leads its text.

    Raises:
      ValueError: the row has more or fewer titles than results.
    """
    marks = ["", *(look_of(row, place)[2] for place in range(len(row.correct)))]
    texts = (row.query_title, *row.titles)
    return [f"{m} {t}".strip().replace(" · ", "\n") for m, t in zip(marks, texts, strict=True)]


def text_size(texts: Iterable[str], bold: Collection[str], room: float) -> float:
    """The size in points, from `_SIZES`, at which every line of `texts` fits in `room`.

    Args:
      texts: texts of one or more lines.
      bold: texts to be drawn in bold.
      room: width in inches.
    """
    smallest, usual = _SIZES
    widest = 0.0
    for text in texts:
        font = FontProperties(weight="bold" if text in bold else "normal")
        for line in filter(str.strip, text.split("\n")):
            widest = max(widest, TextPath((0, 0), line, usual, prop=font).get_extents().width)
    return max(smallest, usual * min(1, 72 * room / widest)) if widest else usual
