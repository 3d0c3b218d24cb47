"""A hook that sends the log of a run to MLflow (`pip install mlflow`).

lupi train ... --config.log.hooks="('mlflow_hook:MlflowHook',)"
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import mlflow  # pyright: ignore[reportMissingImports]

import lupi_jax as lupi
from lupi_jax.config import to_fields


class MlflowHook(lupi.Hook):
    """Sends every row of the log. MLFLOW_TRACKING_URI chooses the server."""

    def __init__(self, config: lupi.Config, workdir: Path) -> None:
        self.fields, self.name = to_fields(config), workdir.name

    def __enter__(self) -> Self:
        if jax.process_index() == 0:
            mlflow.start_run(run_name=self.name)
            mlflow.log_params(self.fields)
        return self

    def logged(self, row: Mapping[str, Any]) -> None:
        """Send one row."""
        figures = {f"{row['split']}/{k}": v for k, v in row.items() if k not in ("step", "split")}
        mlflow.log_metrics(figures, step=row["step"])

    def __exit__(self, *_: object) -> None:
        if jax.process_index() == 0:
            mlflow.end_run()
