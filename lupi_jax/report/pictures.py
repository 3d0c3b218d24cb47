"""Pictures of results: ranking lists and training curves, drawn without pyplot.

Colours are Okabe and Ito's; whatever a colour says, a mark or a line style says as well.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lupi_jax.errors import shown
from lupi_jax.evaluation.search import RankingRow
from lupi_jax.runtime.files import expand, replacing

_GREEN, _RED, _GREY = "#009E73", "#D55E00", "#808080"
# Square line ends take a line width from every gap, so the gaps are given that much wider.
_FRAMES = {
    True: (_GREEN, "-", "✓ "),
    False: (_RED, (0, (7, 2.2)), "✗ "),  # long dashes
    None: (_GREY, (0, (0.1, 2)), ""),  # dots
}
LINE_COLOURS = ("#0072B2", _RED, _GREEN, "#CC79A7", "#E69F00")
_STYLES = ("-", "--", "-.", ":")
_LOSS = "loss/"
_VALIDATION = {"mean_ap": "mAP", "mean_inp": "mINP", "rank1": "rank-1", "rank10": "rank-10"}

_OWN: dict[Any, Any] = {"text.parse_math": False}  # a name may have a dollar sign
own_style = context(["default", _OWN], after_reset=True)
"""Decorates what draws: a user's matplotlibrc (LaTeX, other sizes and colours) is not for it."""

_DPI = 150
# Lengths of the image grids, in inches.
_CELL, _GAP, _MARGIN, _TEXT_LINE = 0.9, 0.12, 0.12, 0.15


@own_style
def ranking_picture(path: str | os.PathLike[str], rows: Sequence[RankingRow]) -> None:
    """Draw ranking lists: one row for each query, its results to the right, the closest first.

    Args:
        path: image file; its ending names the format (.png, .pdf, .svg). Folders are created.
        rows: at least one; ten rows of ten results are readable.

    Raises:
        ValueError: there are no rows, or an image is not [h, w, 3] uint8.
    """
    if not rows:
        raise ValueError("a ranking picture needs at least one row")
    height = _cell_height([image for row in rows for image in (row.query, *row.gallery)])
    lines = max(title.count("\n") + 1 for row in rows for title in (row.query_title, *row.titles))
    pitch = height + lines * _TEXT_LINE + _GAP
    first = _MARGIN + _CELL + 3 * _GAP  # the wider gap sets the query apart
    columns = max(len(row.gallery) for row in rows)
    figure = Figure(figsize=(first + columns * (_CELL + _GAP), len(rows) * pitch + _MARGIN))
    for i, row in enumerate(rows):
        bottom = _MARGIN + (len(rows) - 1 - i) * pitch
        axes = _show(figure, row.query, _MARGIN, bottom, height)
        axes.set_title(row.query_title, fontsize=8, fontweight="bold", pad=4, parse_math=False)
        for j, (image, title, correct) in enumerate(
            zip(row.gallery, row.titles, row.correct, strict=True)
        ):
            axes = _show(figure, image, first + j * (_CELL + _GAP), bottom, height)
            # NumPy's own booleans are equal to Python's, and so find the same entry.
            colour, style, mark = _FRAMES[correct]
            axes.spines[:].set(color=colour, linestyle=style, linewidth=3)
            axes.set_title(mark + title, fontsize=8, color=colour, pad=4, parse_math=False)
    _save(figure, path)


Line = tuple[str, Sequence[int], Sequence[float]]
"""(label, steps, values)"""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One chart of a run's figures; `fractions` says whether its values are in [0, 1]."""

    name: str
    lines: Sequence[Line]
    fractions: bool


def training_panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """A run's losses, accuracy, learning rate and validation figures over its steps, if it has any.

    Args:
        rows: lines of a run's `metrics.jsonl`. Those of split "train" may have any `loss/<term>`,
            `accuracy` and `rate`, those of split "validation" `mean_ap`, `mean_inp`, `rank1`,
            `rank10`.
    """
    keys = dict.fromkeys(key for row in rows if row.get("split") == "train" for key in row)
    terms = [key for key in keys if key.startswith(_LOSS)]
    terms.sort(key=lambda key: key != _LOSS + "total")  # the total leads
    panels = []
    for name, split, labels in (
        ("loss", "train", {key: key.removeprefix(_LOSS).replace("_", "-") for key in terms}),
        ("accuracy", "train", {"accuracy": ""}),
        ("learning rate", "train", {"rate": ""}),
        ("validation", "validation", _VALIDATION),
    ):
        lines = []
        for key, label in labels.items():
            lines += _lines(label, rows, split, key)
        if lines:
            panels.append(Panel(name, lines, name in ("accuracy", "validation")))
    return panels


def label_of(name: str) -> str:
    """A name as a legend shows it, which would leave out what begins with an underscore."""
    return f" {shown(name)}" if name.startswith("_") else shown(name)


def draw_lines(axes: Axes, panel: Panel, width: float, order: Sequence[str] = ()) -> None:
    """Draw the lines of a panel, `width` points wide; each label of `order` has one look."""
    labels = list(order) or [label for label, *_ in panel.lines]
    for label, steps, values in panel.lines:
        turn, colour = divmod(labels.index(label), len(LINE_COLOURS))
        axes.plot(
            steps,
            values,
            label=label_of(label),
            markersize=3,
            linewidth=width,
            color=LINE_COLOURS[colour],
            linestyle=_STYLES[(colour + turn) % len(_STYLES)],
            marker="o" if len(steps) <= 30 else "",  # a single point is visible by its mark alone
        )


@own_style
def training_curves(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw `training_panels` side by side, to a file as in `ranking_picture`.

    Raises:
        ValueError: there is nothing to draw.
    """
    panels = training_panels(rows)
    figure = _side_by_side(panels, 3.2, 1.5)
    for axes, panel in zip(figure.axes, panels, strict=True):
        if any(label for label, *_ in panel.lines):
            axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


@own_style
def compared_curves(
    path: str | os.PathLike[str], methods: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
) -> None:
    """Draw methods over each other, {name: lines of `metrics.jsonl` of each of its runs}.

    Raises:
        ValueError: there is nothing to draw.
    """
    panels = []  # of the losses, the identity loss alone means the same in all methods
    for title, split, key in (
        ("identity loss", "train", "loss/identity"),
        ("accuracy on the training batches", "train", "accuracy"),
        ("validation mAP", "validation", "mean_ap"),
    ):
        lines = []
        for name, runs in methods.items():
            for rows in runs:
                lines += _lines(name, rows, split, key)
        if lines:
            panels.append(Panel(title, lines, not key.startswith(_LOSS)))
    figure = _side_by_side(panels, 3.4, 1.2, list(methods))
    drawn: dict[Any, Line2D] = {}
    for axes in figure.axes:
        for line in axes.lines:
            drawn.setdefault(line.get_label(), line)
    figure.legend(
        drawn.values(),
        drawn.keys(),
        loc="outside lower center",
        ncols=len(panels),
        fontsize=8,
        frameon=False,
    )
    _save(figure, path)


def _lines(label: str, rows: Sequence[Mapping[str, Any]], split: str, key: str) -> list[Line]:
    """A figure's line, if it has any point."""
    own = [row for row in rows if row.get("split") == split and key in row]
    return [(label, [row["step"] for row in own], [row[key] for row in own])] if own else []


def _side_by_side(
    panels: Sequence[Panel], height: float, width: float, order: Sequence[str] = ()
) -> Figure:
    if not panels:
        raise ValueError("no training or validation figures to draw")
    figure = Figure(figsize=(4.2 * len(panels), height), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axes, panel in zip(grid, panels, strict=True):
        draw_lines(axes, panel, width, order)
        axes.set_title(panel.name, fontsize=10)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_ylim(bottom=min(0, axes.dataLim.y0), top=1 if panel.fractions else None)
        axes.grid(color="0.9", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _cell_height(images: Sequence[NDArray[np.uint8]]) -> float:
    """Height in inches at which the tallest of the images is as wide as a cell."""
    for image in images:
        # Matplotlib would clip floats to [0, 1] and draw them without a word.
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"images must be [h, w, 3] uint8: got {image.shape} {image.dtype}")
    return _CELL * max(image.shape[0] / image.shape[1] for image in images)


def _show(
    figure: Figure, image: NDArray[np.uint8], left: float, bottom: float, height: float
) -> Axes:
    """Add an image to a grid; places are in inches from the figure's lower left corner."""
    width, total = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / total, _CELL / width, height / total))
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    return axes


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with replacing(expand(path)) as part:
        figure.savefig(part, dpi=_DPI)
