"""Pictures of results, ranking lists and training curves, drawn without pyplot.

Colours are Okabe and Ito's. A mark or a line style repeats what each colour says.
"""

import dataclasses
import os
import textwrap
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
from lupi_jax.evaluation.ranking import RankingRow
from lupi_jax.report.captions import BLUE, GREEN, RED, captions_of, look_of, text_size
from lupi_jax.runtime.files import expand, replacing

LINE_COLOURS = (BLUE, RED, GREEN, "#CC79A7", "#E69F00")
_STYLES = ("-", "--", "-.", ":")
_LOSS = "loss/"
_MIX = {"mix/red": "R", "mix/green": "G", "mix/blue": "B", "mix/offset": "offset"}
_VALIDATION = {"mean_ap": "mAP", "mean_inp": "mINP", "rank1": "rank-1", "rank10": "rank-10"}

_OWN: dict[Any, Any] = {"text.parse_math": False}  # a name may have a dollar sign
own_style = context(["default", _OWN], after_reset=True)
"""Decorator of drawing functions that keeps out a user's matplotlibrc (LaTeX, sizes, colours)."""

_DPI = 150
# Lengths of the image grids, in inches.
_CELL, _GAP, _MARGIN, _TEXT_LINE = 0.9, 0.12, 0.12, 0.15
_LETTERS = 17  # letters of the smallest text per inch


@own_style
def ranking_picture(
    path: str | os.PathLike[str], rows: Sequence[RankingRow], title: str = ""
) -> None:
    """Draw ranking lists, one row per query, with its results to the right, the closest first.

    Args:
        path: image file; the ending gives the format (.png, .pdf, .svg). Folders are created.
        rows: one or more rows; ten rows of ten results are readable.
        title: the search in a few words. The meaning of the marks is added.

    Raises:
        ValueError: `rows` is empty, or an image is not [h, w, 3] uint8.
    """
    if not rows:
        raise ValueError("a ranking picture needs at least one row")
    height = _cell_height([image for row in rows for image in (row.query, *row.gallery)])
    captions = [captions_of(row) for row in rows]
    texts = [text for own in captions for text in own]
    under = (max(text.count("\n") for text in texts) + 1) * _TEXT_LINE + _GAP / 2
    size = text_size(texts, {own[0] for own in captions}, _CELL + _GAP / 2)
    pitch = height + under + _GAP
    first = _MARGIN + _CELL + 3 * _GAP  # the wider gap sets the query apart
    columns = max(len(row.gallery) for row in rows)
    width = first + columns * (_CELL + _GAP)
    head = _heading(rows, title, int(_LETTERS * (width - 2 * _MARGIN)))
    above = (len(head) + 1) * _TEXT_LINE
    figure = Figure(figsize=(width, len(rows) * pitch + above + _MARGIN))
    for number, line in enumerate(head):
        weight = "bold" if title and number == 0 else "normal"
        place = 1 - (_MARGIN + number * _TEXT_LINE) / figure.get_figheight()
        words: dict[str, Any] = {"fontsize": 8, "fontweight": weight, "parse_math": False}
        figure.text(_MARGIN / width, place, line, va="top", **words)
    for i, row in enumerate(rows):
        bottom = under + _GAP + (len(rows) - 1 - i) * pitch
        axes = _show(figure, row.query, _MARGIN, bottom, height)
        name, *names = captions[i]
        _name(axes, name, fontsize=size, weight="bold")
        for j, (image, name) in enumerate(zip(row.gallery, names, strict=True)):
            axes = _show(figure, image, first + j * (_CELL + _GAP), bottom, height)
            colour, style, _ = look_of(row, j)
            axes.spines[:].set(color=colour, linestyle=style, linewidth=3)
            _name(axes, name, fontsize=size, color=colour)
    _save(figure, path)


def _heading(rows: Sequence[RankingRow], title: str, letters: int) -> list[str]:
    """The lines above ranking lists, at most `letters` long: title, and how to read the lists."""
    verdicts = {correct for row in rows for correct in row.correct}
    text = "Left: the query. Right: its nearest gallery images, the nearest first."
    if verdicts - {None}:
        text += (
            " ✓ and a solid frame: the query's person. ✗ and a dashed frame: another person. "
            "ID: the person's number; cam: the camera."
        )
    if None in verdicts:
        text += " Dotted frame: identity not known."
    if any(row.matched for row in rows):
        text += " ≈: within the threshold"
        text += ", in a solid blue frame." if None in verdicts else "."
    letters = max(letters, 20)
    return [*textwrap.wrap(shown(title), letters), *textwrap.wrap(text, letters)]


def _name(axes: Axes, text: str, **style: Any) -> None:
    """Write a text under an image."""
    axes.set_xlabel(text, labelpad=4, **style)
    axes.xaxis.label.set_parse_math(False)


Line = tuple[str, Sequence[int], Sequence[float]]
"""(label, steps, values)"""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One chart of a run's figures; `fractions` says whether values are in [0, 1].

    The labels in `order` keep the look that belongs to their place there.
    """

    name: str
    lines: Sequence[Line]
    fractions: bool
    order: Sequence[str] = ()


def training_panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Panels of a run's losses, accuracy, learning rate and validation figures over its steps.

    A panel without values is left out.

    Args:
        rows: lines of a run's `metrics.jsonl`. Lines of split "train" may have any `loss/<term>`,
            `accuracy` and `rate`; lines of split "validation" may have `mean_ap`, `mean_inp`,
            `rank1` and `rank10`.
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


def mix_panel(rows: Sequence[Mapping[str, Any]]) -> Panel | None:
    """The panel of the mean weights of a learnt mix; None if `metrics.jsonl` lacks them."""
    lines = [line for key, label in _MIX.items() for line in _lines(label, rows, "train", key)]
    return Panel("mean weight", lines, False, ("B", "R", "G", "offset")) if lines else None


def label_of(name: str) -> str:
    """A name for a legend, which would leave out a name that begins with an underscore."""
    return f" {shown(name)}" if name.startswith("_") else shown(name)


def draw_lines(axes: Axes, panel: Panel, width: float, order: Sequence[str] = ()) -> None:
    """Draw the lines of a panel, `width` points wide; each label in `order` keeps its look."""
    labels = list(order or panel.order) or [label for label, *_ in panel.lines]
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
            marker="o" if len(steps) <= 30 else "",  # a single point needs a mark to be visible
        )


@own_style
def training_curves(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw `training_panels` side by side into a file, as `ranking_picture` does.

    Raises:
        ValueError: `rows` have no figures to draw.
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
    """Draw the curves of several methods in common panels.

    Args:
        path: image file, as in `ranking_picture`.
        methods: {name: lines of `metrics.jsonl` per run of the method}.

    Raises:
        ValueError: the runs have no figures to draw.
    """
    panels = []  # only the identity loss means the same in all methods
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
    """The line of a figure; empty without points."""
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
    """Height in inches of a cell that fits the tallest image."""
    for image in images:
        # Matplotlib would silently clip floats to [0, 1].
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"images must be [h, w, 3] uint8: got {image.shape} {image.dtype}")
    return _CELL * max(image.shape[0] / image.shape[1] for image in images)


def _show(
    figure: Figure, image: NDArray[np.uint8], left: float, bottom: float, height: float
) -> Axes:
    """Add an image to a grid; lengths are in inches from the figure's lower left corner."""
    width, total = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / total, _CELL / width, height / total))
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    return axes


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with replacing(expand(path)) as part:
        figure.savefig(part, dpi=_DPI)
