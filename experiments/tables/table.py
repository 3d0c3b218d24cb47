"""A table of the paper: the figures of our runs next to the printed ones."""

import csv
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.tables.cells import CELLS
from experiments.tables.sweep import Sweep
from lupi_jax.evaluation.figures import FIGURES as HEADINGS
from lupi_jax.evaluation.metrics import mean_and_std
from lupi_jax.modality import Modality, stem_for
from lupi_jax.models import EmbedNet, initialize

PUBLISHED = Path(__file__).with_name("published")

Records = Mapping[str, Sequence[Mapping[str, Any]]]
FIGURES = {heading: name for name, heading in HEADINGS.items()}
SHORT = {"V": "visible", "I": "infrared", "G": "intermediate"}


MEMORY = "Memory (M)"
"""Heading of a network's size, in millions of parameters."""


def parameters(model: EmbedNet, trained_on: Collection[Modality]) -> int:
    """What the paper's Table 4 calls memory: the parameters that make features at test time.

    Counts the stems that visible and infrared images go through, and the trunk. The intermediate
    modality's stem, the BN neck and the classifier do not count.

    Args:
      model: the network.
      trained_on: the modalities that the network has stems for.
    """
    stems = {stem_for(m, trained_on) for m in (Modality.VISIBLE, Modality.INFRARED)}
    kept = tuple(m for m in Modality if m in stems)
    shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0), kept, (32, 32)))
    parts = {k: v for k, v in shapes["params"].items() if k not in ("neck", "classifier")}
    return sum(x.size for x in jax.tree.leaves(parts))


def _millions(fields: Mapping[str, Any]) -> float:
    """`parameters` of a record's configuration, in millions."""
    of_model = {k.removeprefix("model."): v for k, v in fields.items() if k.startswith("model.")}
    trained_on = [Modality(m) for m in fields["modalities"]]
    return parameters(EmbedNet(1, **of_model), trained_on) / 1e6


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of one search.

    Attributes:
      heading: the heading in the file of the paper's figures, such as "I->V mAP"; the last word is
        a key of `FIGURES`.
      pair: "<query>-><gallery>" in letters, V, I, G.
      search: name of the search on SYSU-MM01; other data sets have one search per pair.
    """

    heading: str
    pair: str = "I->V"
    search: str = "all-search, single-shot"

    @property
    def figure(self) -> str:
        """Key of an evaluation's rows."""
        return FIGURES[self.heading.split()[-1]]

    def value(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """This figure in percent, from the rows of an evaluation.

        Only the start of the search's name counts, because the end says what it leaves out within a
        modality. If no search has that name, the pair's first search with the same number of shots
        counts, or its only one.
        """
        query, gallery = (SHORT[side] for side in self.pair.split("->"))
        found = [
            row
            for row in rows
            if (row["query"], row["gallery"], row["feature"]) == (query, gallery, "neck")
        ]
        shot = self.search.rpartition(", ")[2]
        named = [row for row in found if row["search"].startswith(self.search)]
        as_many = [row for row in found if shot in row["search"]]
        return 100 * (named or as_many or found)[0][self.figure]


@dataclasses.dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
      number: number in the paper.
      title: what the table asks.
      columns: the table's figures.
      lines: {name of a line in the file of the paper's figures, or a name of ours: cell}.
      printed_on: data set of the paper's figures.
      notes: what a reader has to know, in Markdown.
      memory: whether the table also gives each network's size.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    lines: Mapping[str, str]
    printed_on: str = "SYSU-MM01"
    notes: str = ""
    memory: bool = False

    @property
    def headings(self) -> list[str]:
        """Headings of the columns."""
        return [*(column.heading for column in self.columns), *([MEMORY] if self.memory else [])]

    @property
    def script(self) -> str:
        """Name of the files with the results and with the paper's figures."""
        return f"table_{self.number}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells to train, each once."""
        return tuple(dict.fromkeys(self.lines.values()))

    def columns_on(self, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
        """The columns that have figures; a pair with one search gets each figure once."""
        searches = {row["search"] for row in rows}
        kept = {}
        for column in self.columns:
            search = column.search if column.search in searches else ""
            kept.setdefault((column.pair, column.figure, search), column)
        return list(kept.values())

    def printed(self) -> dict[str, dict[str, float | None]]:
        """{line: {heading: percent, or millions of parameters}} as printed in the paper."""
        with (PUBLISHED / f"{self.script}.csv").open(newline="") as file:
            first, *rows = csv.reader(file)
        return {
            row[0]: {h: float(v) if v else None for h, v in zip(first[1:], row[1:], strict=True)}
            for row in rows
        }


def rows_of(table: Table, records: Records) -> list[dict[str, Any]]:
    """The table as data: one row for each line and protocol, then the paper's row.

    Returns:
      Rows with "line", "cell" (None for the paper's), "source" ("here, <protocol>" or "paper,
      <data set>"), "networks" and "figures" {heading: {"mean", "std", "values"}}, in percent. "std"
      is the standard deviation over networks, None for one network. `MEMORY` has only "mean".
    """
    printed = table.printed()
    rows = []
    for line in dict.fromkeys([*printed, *table.lines]):
        cell = table.lines.get(line)
        group = list(records.get(cell, ())) if cell else []
        for protocol in group[0]["results"] if group else ():
            figures = {}
            for column in table.columns_on(group[0]["results"][protocol]):
                values = [column.value(record["results"][protocol]) for record in group]
                mean, std = mean_and_std(values)
                figures[column.heading] = {"mean": mean, "std": std, "values": values}
            if table.memory:
                figures[MEMORY] = {"mean": _millions(group[0]["fields"])}
            rows.append(
                {
                    "line": line,
                    "cell": cell,
                    "source": f"here, {protocol}",
                    "networks": len(group),
                    "figures": figures,
                }
            )
        if line in printed:
            figures = {h: {"mean": v} for h, v in printed[line].items()}
            source = f"paper, {table.printed_on}"
            rows.append({"line": line, "cell": None, "source": source, "figures": figures})
    return rows


def markdown(table: Table, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `rows_of` as a Markdown table."""
    headings = ["", "", *table.headings]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    before = None
    for row in rows:
        cells = [row["line"] if row["line"] != before else "", row["source"]]
        cells += [_text(heading, row["figures"].get(heading, {})) for heading in table.headings]
        lines.append("| " + " | ".join(cells) + " |")
        before = row["line"]
    return "\n".join(lines)


def _text(heading: str, figure: Mapping[str, Any]) -> str:
    if figure.get("mean") is None:
        return "-"
    if heading == MEMORY:
        return f"{figure['mean']:.4g}"
    spread = f" ± {figure['std']:.2f}" if figure.get("std") is not None else ""
    return f"{figure['mean']:.2f}{spread}"


def provenance(sweep: Sweep, command: str, records: Records) -> tuple[str, dict[str, Any]]:
    """What made the results, as Markdown and as data."""
    every = [record for group in records.values() for record in group]
    facts = {
        "command": command,
        sweep.what_repeats: len(sweep.repeats),
        "steps": sorted({r["step"] for r in every if r["step"]}),
        "image_size": every[0]["fields"]["data.image_size"],
        "batch": [every[0]["fields"][f"batch.{x}"] for x in ("identities", "images")],
        "backbone": every[0]["fields"]["model.backbone"],
        "commits": sorted({r["commit"] for r in every}),
        "devices": sorted({r["device"] for r in every}),
        "versions": {
            name: " and ".join(sorted({r["versions"][name] for r in every}))
            for name in every[0]["versions"]
        },
    }
    height, width = facts["image_size"]
    people, images = facts["batch"]
    known = {cell: CELLS[cell].what for cell in records}
    count = len(sweep.repeats)
    repeats = sweep.what_repeats if count > 1 else sweep.what_repeats[:-1]
    spread = f", mean ± standard deviation over {repeats}" if count > 1 else ""
    cell_lines = "\n".join(f"- `{name}`: {what}" for name, what in known.items())
    text = f"""    {command}

{count} {repeats}, {", ".join(map(str, facts["steps"]))} steps of \
{people} x {images} images per modality, {height} x {width} pixels, {facts["backbone"]}, commit \
{", ".join(facts["commits"])}, {", ".join(facts["devices"])}, \
{", ".join(f"{k} {v}" for k, v in facts["versions"].items())}. Figures are in \
percent{spread}, for the feature after the BN neck. Cells (`experiments/tables/cells.py`):

{cell_lines}
"""
    return text, facts
