"""A hook that prints each row of the log.

lupi train ... --config.log.hooks="('print_rows:PrintRows',)"
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lupi_jax as lupi


class PrintRows(lupi.Hook):
    """Prints the step and the loss, or the validation figures."""

    def __init__(self, config: lupi.Config, workdir: Path) -> None:
        self.workdir = workdir

    def logged(self, row: Mapping[str, Any]) -> None:
        """Print one row."""
        figures = {name: value for name, value in row.items() if name not in ("step", "split")}
        print(self.workdir.name, row["split"], row["step"], figures, flush=True)
