"""Train a network from a configuration and images, and keep it on disk."""

from lupi_jax.training.hooks import Hook, Moment
from lupi_jax.training.loading import Run, load, load_run, load_untrained, load_weights
from lupi_jax.training.loop import train
from lupi_jax.training.run import MOVABLE
from lupi_jax.training.trials import train_trials

__all__ = [
    "MOVABLE",
    "Hook",
    "Moment",
    "Run",
    "load",
    "load_run",
    "load_untrained",
    "load_weights",
    "train",
    "train_trials",
]
