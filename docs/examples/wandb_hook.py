"""A hook that sends the log of a run to Weights & Biases (`pip install wandb`).

lupi train ... --config.log.hooks="('wandb_hook:WandbHook',)"
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import wandb  # pyright: ignore[reportMissingImports]

import lupi_jax as lupi
from lupi_jax.config import to_fields


class WandbHook(lupi.Hook):
    """Sends every row of the log. WANDB_PROJECT and WANDB_MODE choose project and mode."""

    def __init__(self, config: lupi.Config, workdir: Path) -> None:
        self.settings = {"config": to_fields(config), "dir": workdir, "name": workdir.name}

    def __enter__(self) -> Self:
        if jax.process_index() == 0:
            wandb.init(**self.settings)
        return self

    def logged(self, row: Mapping[str, Any]) -> None:
        """Send one row."""
        figures = {f"{row['split']}/{k}": v for k, v in row.items() if k not in ("step", "split")}
        wandb.log(figures, step=row["step"])

    def __exit__(self, *_: object) -> None:
        if jax.process_index() == 0:
            wandb.finish()
