"""From a network and a split to a table of figures, for users and for the training loop."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import Index, read_searched
from lupi_jax.errors import InputError
from lupi_jax.evaluation.embedding import embed_index
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.figures import Measured, evaluate_features, measure_tasks, row_of
from lupi_jax.evaluation.metrics import Task
from lupi_jax.evaluation.searched import (
    SEARCHED_SPLITS,
    images_asked_for,
    make_tasks,
    protocol_name,
    require_unseen,
)
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.phases import phase
from lupi_jax.runtime.progress import Show, silent

RERANKED_IMAGES = 20_000  # more would not fit into a usual machine's memory


class Evaluation(NamedTuple):
    """What `evaluate_network` found.

    Attributes:
      features: features of all images in the tasks.
      tasks: the measured tasks.
      rows: the figures, as `evaluate_features` gives them.
      protocol: name of the protocol in results.
      seeds: seeds of the trials' galleries, or their rows in the data set's permutations; empty if
        nothing is drawn.
      measured: the metrics that each of `rows` summarises.
    """

    features: Features
    tasks: tuple[Task, ...]
    rows: list[dict[str, Any]]
    protocol: str
    seeds: list[int]
    measured: list[Measured]


def evaluate_network(
    config: Config,
    model: EmbedNet,
    variables: Any,
    split: str = "test",
    trained_on: Collection[int] = (),
    show: Show = silent,
) -> Evaluation:
    """Embed a split of a network's data and measure the features.

    `lupi_jax.evaluate` takes a run, and also gives the record that `lupi evaluate` writes.

    Args:
      config: the configuration; `data` says where the images are, `evaluation` what is measured.
      model: the network.
      variables: the network's parameters and running statistics.
      split: "test", "val" or "train".
      trained_on: identities that the network was trained on; only the split "train" may have them.
      show: shows how many images are embedded, and how many rows of figures are measured.

    Raises:
      InputError: the data cannot be read or evaluated, or the network was trained on them.
    """
    with phase("reading the index"):
        whole = read_searched(config.data, split, config.seed)
    if split != "train":
        require_unseen(config, whole, split, trained_on)
    index = images_asked_for(config, whole)
    tasks = make_tasks(config, index, split)  # faults in the tasks show before the long part
    reranking = config.evaluation.reranking
    largest = max(len(t.query) + len(t.gallery) for task in tasks for t in task.trials)
    if reranking != "none" and largest > RERANKED_IMAGES:
        raise InputError(
            f"evaluation.reranking={reranking}: re-ranking compares each of {largest} images with "
            f"each other, which takes {8 * largest**2 / 2**30:.0f} GiB: set it to none"
        )
    with phase("embedding the images"):
        features = embed_index(config, model, variables, index, show=show)
    with phase("measuring"):
        measured = measure_tasks(features, tasks, reranking, show=show)
    rows = [row_of(each, reranking) for each in measured]
    drawn = split in SEARCHED_SPLITS and config.data.name in ("sysu", "llcm")
    seeds = list(range(config.evaluation.trials)) if drawn else []
    name = protocol_name(config, whole, split)
    return Evaluation(features, tasks, rows, name, seeds, measured)


def make_validation(config: Config, index: Index) -> Callable[[EmbedNet, Any], dict[str, float]]:
    """Make the function by which the training loop judges a network on held-out images.

    Each task has one gallery.

    Args:
      config: the run's configuration.
      index: the held-out images.

    Returns:
      A function (model, variables) -> {"mean_ap", "rank1"}, which gives means over the tasks for
      the feature after the neck, in [0, 1].

    Raises:
      InputError: the images do not fit the protocol; later, an image cannot be read.
    """
    images = images_asked_for(config, index)
    once = dataclasses.replace(config.evaluation, trials=1)
    tasks = make_tasks(dataclasses.replace(config, evaluation=once), images, "val")

    def validate(model: EmbedNet, variables: Any) -> dict[str, float]:
        features = embed_index(config, model, variables, images)
        rows = evaluate_features(features, tasks, config.evaluation.reranking, ("neck",))
        return {name: float(np.mean([row[name] for row in rows])) for name in ("mean_ap", "rank1")}

    return validate
