"""From the directory of a run to one page about it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lupi_jax.data.sources.manifest import difficulty
from lupi_jax.errors import plural, shown
from lupi_jax.evaluation import Evaluation, open_run
from lupi_jax.evaluation.opening import Checkpoint
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
    workdir: str | os.PathLike[str],
    split: str = "test",
    *,
    checkpoint: Checkpoint | None = None,
    overrides: Mapping[str, Any] | None = None,
    show: Show = silent,
) -> ReportPage:
    """Measure a run, and make one page about it: figures, curves, rankings, activation maps.

    It needs the extra `report`.

    Args:
      workdir: directory of a run of `lupi train`.
      split: "test", "val" or "train".
      checkpoint: as in `evaluate`.
      overrides: as in `evaluate`.
      show: as in `evaluate`.

    Raises:
      InputError: a library is missing, or the run or the data cannot be read or evaluated.
    """
    require_libraries()
    workdir = expand(workdir)
    run = open_run(workdir, checkpoint, overrides)
    check_intermediate(run.config.views, run.config.data.image_size)
    found, notes = measure_run(run, split, show)
    now = {"training": run.record["versions"], "this page": versions()}
    facts = _facts(run, found, workdir, split, checkpoint)
    return ReportPage(make_page(run, found, read_metrics(workdir), facts, now), notes)


def _facts(
    run: Run, found: Evaluation, workdir: Path, split: str, checkpoint: Checkpoint | None
) -> dict[str, str]:
    """The facts above the page's figures."""
    config, index = run.config, found.features.index
    height, width = config.data.image_size
    chosen = selection(run, checkpoint)
    level = config.data.name == "synthetic" and difficulty(Path(config.data.root))
    rendered = f" (rendered, {level})" if level else ""
    return {
        "Run": shown(workdir.resolve().name),
        "Data": shown(f"{config.data.name} {config.data.root}"),
        "Split": f"{split}: {plural(len(index.classes), 'person', 'people')}{rendered}, "
        f"{plural(len(index), 'image')}",
        "Protocol": found.protocol,
        "Recipe": f"{config.recipe}, trained on {', '.join(config.modalities)} images of "
        f"{run.record['num_classes']} people",
        "Network": f"{config.model.backbone}, {height} x {width} pixels",
        "Step": f"{run.step} of {run.record['steps']}; checkpoint: {chosen}",
        "Device": device(),
        "Images": f"fingerprint {index.fingerprint}",
    }
