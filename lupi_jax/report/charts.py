"""Charts as SVG inside a page, readable at a phone's width, on light and dark pages.

Each chart on a page has its own `name` of letters, digits and hyphens.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lupi_jax.errors import plural, shown
from lupi_jax.report.distances import PairCounts
from lupi_jax.report.intermediate import LEVELS, Greys
from lupi_jax.report.pictures import LINE_COLOURS, Panel, draw_lines

_TEXT, _RULE = "#010203", "#040506"  # placeholders for the page's own colours
_VARIABLES = {
    _TEXT: "currentColor",
    _RULE: "var(--rule)",
    "#0072b2": "var(--blue)",
    "#d55e00": "var(--red)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--pink)",
    "#e69f00": "var(--orange)",
}
_BLUE, _RED = "#0072B2", "#D55E00"

# Twelve colours of medium lightness for people. Numbers beside them tell people apart too.
PEOPLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#5B6BE0",
          "#8C6BB1", "#A0793D", "#7F8C1F", "#C0392B", "#3BA8A0", "#808080")  # fmt: skip
MARKS = ("o", "^", "s")
_GREYS, _GREY_STYLES = (_RED, _BLUE, "#009E73", _TEXT), ("-", "-", "--", ":")
_WIDTH = 8  # grey levels per bin
_SEARCH_MARKS = ("", "o", "s", "^", "D")
_BELOW = "outside lower center"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 12,
    "axes.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.markersize": 4,
    "text.color": _TEXT,
    "text.parse_math": False,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _RULE,
    "xtick.color": _RULE,
    "xtick.labelcolor": _TEXT,
    "ytick.color": _RULE,
    "ytick.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _RULE,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
}
_page_style = context(["default", _STYLE], after_reset=True)


@_page_style
def panel_chart(panel: Panel, name: str) -> str:
    """Chart of one panel of `training_panels`."""
    figure, axes = _axes()
    draw_lines(axes, panel, 1.8)
    axes.set_xlabel("step")
    ticks = MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(ticks)
    top = 1.1 * axes.dataLim.y1
    axes.set_ylim(min(0, axes.dataLim.y0), (min(top, 1.0) if panel.fractions else top) or None)
    if any(label for label, *_ in panel.lines):
        figure.legend(loc=_BELOW, ncols=2)
    ends = ", ".join(
        f"{shown(label) or panel.name} {values[-1]:.3g}" for label, _, values in panel.lines
    )
    return _svg(figure, name, f"{panel.name} over the steps of training; at its end {ends}")


@_page_style
def cmc_chart(curves: Sequence[tuple[str, str, NDArray]], name: str) -> str:
    """Chart of CMC curves in percent, from (search, feature, [ranks] fractions) per curve."""
    searches = list(dict.fromkeys(search for search, *_ in curves))
    features = list(dict.fromkeys(feature for _, feature, _ in curves))
    entries = len(searches) + len(features) if len(searches) > 1 else 1
    figure, axes = _axes(3.2 + 0.25 * entries)
    for search, feature, cmc in curves:
        colour = LINE_COLOURS[searches.index(search) % len(LINE_COLOURS)]
        style = ("-", "--")[features.index(feature) % 2]
        label = feature if len(searches) == 1 else "_"  # the legend leaves out "_"
        mark = _SEARCH_MARKS[searches.index(search) % len(_SEARCH_MARKS)]
        (line,) = axes.plot(np.arange(1, len(cmc) + 1), 100 * cmc, style, color=colour, lw=1.8)
        line.set(label=label, marker=mark, markevery=4)
    if len(searches) > 1:
        for search, colour, mark in zip(searches, cycle(LINE_COLOURS), cycle(_SEARCH_MARKS)):
            axes.plot([], [], color=colour, label=search, lw=1.8, marker=mark)
        for feature, style in zip(features, ("-", "--"), strict=False):
            axes.plot([], [], style, color=_TEXT, label=feature, lw=1.8)
    ranks = max(len(cmc) for *_, cmc in curves)
    axes.set(xlabel="rank", ylabel="found, percent", xlim=(1, max(ranks, 2)))
    axes.set_xticks([k for k in (1, 5, 10, 15, 20) if k <= ranks])
    highest = max(float(cmc.max()) for *_, cmc in curves)
    axes.set_ylim(0, min(100, 10 * max(1, math.ceil(10.5 * highest))))
    figure.legend(loc=_BELOW, ncols=len(features) if len(searches) == 1 else 1)
    ends = "; ".join(
        f"{search}, {feature}: rank 1 {100 * cmc[0]:.1f}, rank {len(cmc)} {100 * cmc[-1]:.1f}"
        for search, feature, cmc in curves
    )
    return _svg(figure, name, f"CMC curves, percent. {ends}")


@_page_style
def distance_chart(counts: PairCounts, name: str) -> str:
    """Histograms of distances, each in percent of its pairs; at least one pair is needed."""
    figure, axes = _axes()
    for values, label, colour, line, alpha in (
        (counts.same, "same identity", _BLUE, "-", 0.3),
        (counts.different, "different identities", _RED, "--", 0.15),
    ):
        if values.sum():
            shares = 100 * values / values.sum()
            axes.stairs(shares, counts.edges, fill=True, color=colour, alpha=alpha, lw=0)
            axes.stairs(shares, counts.edges, color=colour, ls=line, lw=1.6, label=label)
    filled = np.flatnonzero(counts.same + counts.different)
    low, high = counts.edges[max(filled[0] - 1, 0)], counts.edges[filled[-1] + 1]
    axes.set_xlim(float(low), float(high) + 0.02)
    axes.set(xlabel="cosine distance", ylabel="pairs, percent")
    figure.legend(loc=_BELOW, ncols=2)
    same, different = counts.means
    return _svg(
        figure,
        name,
        f"Histogram of distances: mean {same:.3f} for the same identity, {different:.3f} for "
        f"different identities, {100 * counts.overlap:.0f} percent overlap",
    )


@_page_style
def grey_chart(greys: Sequence[Greys], name: str) -> str:
    """Histograms of grey levels in percent of the pixels. The first is what the others aim at."""
    figure, axes = _axes()
    edges = np.append(LEVELS[::_WIDTH], LEVELS[-1] + 1)
    for kind, colour, style in zip(greys, _GREYS, _GREY_STYLES, strict=True):
        shares = 100 * np.add.reduceat(kind.counts, edges[:-1] - edges[0]) / kind.counts.sum()
        if kind is greys[0]:
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3, lw=0)
        axes.stairs(shares, edges, color=colour, ls=style, lw=1.6, label=kind.name)
    seen = LEVELS[np.sum([kind.counts for kind in greys], axis=0) > 0]
    axes.set_xlim(min(0, int(seen[0])), max(256, int(seen[-1]) + 1))
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.set(xlabel="grey level", ylabel="pixels, percent")
    figure.legend(loc=_BELOW, ncols=2)
    ends = ", ".join(f"{kind.name} {kind.distance:.1f}" for kind in greys[1:])
    text = f"Histogram of grey levels. Distance to {greys[0].name} in grey levels: {ends}"
    return _svg(figure, name, text)


@_page_style
def threshold_chart(levels: Sequence[Mapping[str, float]], marked: float, name: str) -> str:
    """Chart of false-non-match over false-match rates.

    Args:
      levels: one or more levels of `verify`.
      marked: false-match rate whose level is marked with its threshold, if `levels` has it.
      name: name of the chart.
    """
    figure, axes = _axes()
    rates = 100 * np.array([level["false_match_rate"] for level in levels])
    missed = 100 * np.array([level["false_non_match_rate"] for level in levels])
    axes.plot(rates, missed, "-o", color=_BLUE, lw=1.8)
    axes.set_xscale("log")
    axes.set_xlim(rates.min() / 1.3, rates.max() * 1.3)
    axes.set_ylim(0, 105)
    axes.set(xlabel="pairs of two people that match, percent", ylabel="pairs missed, percent")
    axes.xaxis.set_major_formatter("{x:g}")
    texts = []
    for rate, height, level in zip(rates, missed, levels, strict=True):
        text = f"distance {level['threshold']:.3f}"
        texts.append(f"{rate:g} percent {text}, {height:.1f} percent missed")
        if level["false_match_rate"] == marked:
            axes.plot(rate, height, "o", color=_RED, markersize=8)
            # The curve falls, so there is room below its left part and above its right part.
            right = rate**2 < rates.min() * rates.max()
            offset, side = ((8, 6), "left") if right else ((-8, -16), "right")
            unit = "offset points"
            axes.annotate(text, (rate, height), offset, textcoords=unit, color=_TEXT, ha=side)
    return _svg(figure, name, f"Pairs missed over pairs falsely matched: {'; '.join(texts)}")


@_page_style
def identity_chart(places: NDArray, identities: NDArray, modalities: NDArray, name: str) -> str:
    """Map of images at places [n, 2], with one colour per identity and one mark per modality.

    A line joins the centres of a person's modalities. The person's number is at the first centre.
    """
    figure, axes = _axes(height=5.6)
    kinds = np.unique(modalities)
    for identity, colour in zip(np.unique(identities), cycle(PEOPLE)):
        own = identities == identity
        centres = []
        for kind, mark in zip(kinds, MARKS, strict=False):
            points = places[own & (modalities == kind)]
            if len(points):
                centres.append(points.mean(0))
                filled = colour if mark == "o" else "none"
                axes.scatter(*points.T, s=22, marker=mark, facecolors=filled, edgecolors=colour)
        axes.plot(*np.stack(centres).T, color=colour, lw=1.5)
        axes.annotate(
            str(identity),
            centres[0],
            (3, 3),
            textcoords="offset points",
            weight="bold",
            color=_TEXT,
        )
    for kind, mark in zip(kinds, MARKS, strict=False):
        filled = _TEXT if mark == "o" else "none"
        axes.scatter([], [], marker=mark, facecolors=filled, edgecolors=_TEXT, label=str(kind))
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.legend(loc=_BELOW, ncols=len(kinds))
    people = len(np.unique(identities))
    shown_there = f"{plural(len(places), 'image')} of {plural(people, 'person', 'people')}"
    text = f"Map of {shown_there} by {' and '.join(map(str, kinds))}"
    return _svg(figure, name, text)


def _axes(height: float = 3.4) -> tuple[Figure, Axes]:
    """Axes 360 points wide, which a phone shows unscaled."""
    figure = Figure(figsize=(5, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an <svg> element with the page's width, font and colours."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    # Every figure numbers its ids from 1, but ids must differ within the page.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;]*; ", "", text)  # the page's font is used
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    (size,) = re.findall(r'viewBox="([^"]*)"', text)
    head = f'<svg class="chart" viewBox="{size}" role="img" aria-label="{escape(description)}">'
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1).strip()
