"""From a run to one page about it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lupi_jax.data.sources.manifest import difficulty
from lupi_jax.errors import plural, shown
from lupi_jax.evaluation import Evaluation, open_run
from lupi_jax.evaluation.opening import Checkpoint, workdir_of
from lupi_jax.evaluation.record import selection
from lupi_jax.evaluation.results import measure_run
from lupi_jax.report.page import device, make_page, require_libraries
from lupi_jax.runtime.files import expand, write_whole
from lupi_jax.runtime.progress import Show, silent
from lupi_jax.training import Run
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.run import versions
from lupi_jax.views import check_intermediate


@dataclasses.dataclass(frozen=True, eq=False)
class ReportPage:
    """A page about a run.

    Attributes:
      html: the page, which needs no other file.
      notes: lines about images that have changed since training.
    """

    html: str = dataclasses.field(repr=False)
    notes: tuple[str, ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all.

        Raises:
          OSError: the file cannot be written.
        """
        write_whole(expand(path), self.html)


def make_report(
    run: str | os.PathLike[str] | Run,
    split: str = "test",
    *,
    checkpoint: Checkpoint | None = None,
    overrides: Mapping[str, Any] | None = None,
    show: Show = silent,
) -> ReportPage:
    """Measure a run, and make one page about it: figures, curves, rankings, activation maps.

    It needs the extra `report`.

    Args:
      run: directory of a run of `lupi train`, or a loaded network, see `open_run`. Only a directory
        has the curves of the training.
      split: "test", "val" or "train".
      checkpoint: as in `evaluate`.
      overrides: as in `evaluate`.
      show: as in `evaluate`.

    Raises:
      InputError: a library is missing, or the run or the data cannot be read or evaluated.
      ValueError: `open_run` raises it.
    """
    require_libraries()
    opened, workdir = open_run(run, checkpoint, overrides), workdir_of(run)
    check_intermediate(opened.config.views, opened.config.data.image_size)
    found, notes = measure_run(opened, split, show)
    now = {"training": opened.record["versions"], "this page": versions()}
    facts = _facts(opened, found, workdir, split, checkpoint)
    curves = read_metrics(workdir) if workdir else []
    return ReportPage(make_page(opened, found, curves, facts, now), notes)


def _facts(
    run: Run, found: Evaluation, workdir: Path | None, split: str, checkpoint: Checkpoint | None
) -> dict[str, str]:
    """The facts above the page's figures."""
    config, index = run.config, found.features.index
    height, width = config.data.image_size
    steps = f"{run.step} of {run.record['steps']}; " if "steps" in run.record else ""
    trained = ""
    if run.step != 0:
        people = run.record["num_classes"]
        trained = f", trained on {', '.join(config.modalities)} images of {people} people"
    level = config.data.name == "synthetic" and difficulty(Path(config.data.root))
    rendered = f" (rendered, {level})" if level else ""
    return {
        "Run": shown(workdir.resolve().name if workdir else run.name),
        "Data": shown(f"{config.data.name} {config.data.root}"),
        "Split": f"{split}: {plural(len(index.classes), 'person', 'people')}{rendered}, "
        f"{plural(len(index), 'image')}",
        "Protocol": found.protocol,
        "Recipe": config.recipe + trained,
        "Network": f"{config.model.backbone}, {height} x {width} pixels",
        "Step": f"{steps}checkpoint: {selection(run, checkpoint, workdir)}",
        "Device": device(),
        "Images": f"fingerprint {index.fingerprint}",
    }
