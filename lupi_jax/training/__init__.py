"""From a configuration and images to a trained network on disk."""

from lupi_jax.training.loop import train
from lupi_jax.training.run import Run, load, load_run

__all__ = ["Run", "load", "load_run", "train"]
