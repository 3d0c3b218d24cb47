"""Features and a protocol to a table of figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import Index, read_index, read_permutations
from lupi_jax.evaluation.features import Features, embed_index, with_intermediate
from lupi_jax.evaluation.metrics import RetrievalMetrics, pairwise_distances, retrieval_metrics
from lupi_jax.evaluation.protocols import (
    SYSU_TEST_IMAGES,
    Pair,
    Task,
    all_images,
    is_sysu_test_set,
    llcm,
    sysu,
)
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet

RANKS = (1, 5, 10, 20)
FEATURES = ("neck", "pooled")


class Evaluation(NamedTuple):
    """What `evaluate` found.

    Attributes:
      features: of all images the tasks are about.
      tasks: what was measured.
      rows: the figures, as `evaluate_features` gives them.
      protocol: what they are measured by, as results name it.
    """

    features: Features
    tasks: tuple[Task, ...]
    rows: list[dict[str, Any]]
    protocol: str


def summarize(metrics: RetrievalMetrics) -> dict[str, float]:
    """{"rank1", "rank5", "rank10", "rank20", "mean_ap", "mean_inp"}, each in [0, 1]."""
    ranks = {f"rank{k}": float(metrics.cmc[k - 1]) for k in RANKS}
    return {**ranks, "mean_ap": metrics.mean_ap, "mean_inp": metrics.mean_inp}


def parse_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """(query, gallery) of each "<query>_to_<gallery>"."""
    sides = (name.split("_to_") for name in names)
    return tuple((Modality(query), Modality(gallery)) for query, gallery in sides)


def protocol_name(config: Config, index: Index, split: str = "test") -> str:
    """What the figures of a split are measured by, as results name it.

    Args:
      config: its `data` and `evaluation` are used.
      index: the whole split.
      split: "test" or "train".
    """
    trials = config.evaluation.trials
    match config.data.name if split == "test" else "":
        case "sysu":
            name = f"SYSU-MM01 {config.evaluation.protocol}, {trials} trials"
            whole = sum(SYSU_TEST_IMAGES.values())
            part = f", not its whole test set ({len(index)} of {whole} images)"
            return name if is_sysu_test_set(index) else name + part
        case "llcm":
            return f"LLCM, {trials} trials"
        case "regdb":
            return f"RegDB split {config.data.trial}, all images"
    return "all images"


def make_tasks(config: Config, index: Index, split: str = "test") -> tuple[Task, ...]:
    """The tasks of a split: the data set's own protocol on its test split, else all images.

    Args:
      config: its `data` and `evaluation` are used.
      index: images of all modalities asked for.
      split: "test" or "train".

    Raises:
      InputError: the images do not fit the protocol.
    """
    pairs, asked = parse_pairs(config.evaluation.pairs), config.evaluation
    if split == "test" and config.data.name == "sysu":
        official = asked.protocol == "official"
        permutations = read_permutations(config.data.root) if official else None
        return sysu(index, pairs, asked.protocol, asked.trials, permutations)
    if split == "test" and config.data.name == "llcm":
        return llcm(index, pairs, asked.trials)
    return all_images(index, pairs)


def evaluate_features(features: Features, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Every task with both features: one row each.

    Returns:
      Rows with "query", "gallery" (modalities), "search" (the task's name), "feature", "trials",
      "queries", "valid_queries", "gallery_images" and the means over trials of the figures of
      `summarize`; with several trials "std" as well, {figure: standard deviation}.
    """
    rows = []
    ids = features.index.identities
    for task in tasks:
        for name in FEATURES:
            values = getattr(features, name)
            trials = [
                retrieval_metrics(
                    pairwise_distances(values[trial.query], values[trial.gallery]),
                    ids[trial.query],
                    ids[trial.gallery],
                    trial.excluded,
                    trial.cmc,
                )
                for trial in task.trials
            ]
            figures = [summarize(metrics) for metrics in trials]
            row = {
                "query": str(task.query),
                "gallery": str(task.gallery),
                "search": task.name,
                "feature": name,
                "trials": len(trials),
                "queries": len(task.trials[0].query),
                "valid_queries": trials[0].valid_queries,
                "gallery_images": len(task.trials[0].gallery),
                **{key: float(np.mean([f[key] for f in figures])) for key in figures[0]},
            }
            if len(trials) > 1:
                row["std"] = {
                    key: float(np.std([f[key] for f in figures], ddof=1)) for key in figures[0]
                }
            rows.append(row)
    return rows


def _asked_for(config: Config, index: Index) -> Index:
    """The images that the configured pairs are about."""
    wanted = {m for pair in parse_pairs(config.evaluation.pairs) for m in pair}
    if Modality.INTERMEDIATE in wanted:
        index = with_intermediate(index)
    return index[np.isin(index.modalities, [str(m) for m in wanted])]


def _embed(config: Config, model: EmbedNet, variables: Any, index: Index) -> Features:
    data = config.data
    return embed_index(
        model,
        variables,
        index,
        data.image_size,
        data.workers,
        views=config.views,
        seed=config.seed,
    )


def evaluate(config: Config, model: EmbedNet, variables: Any, split: str = "test") -> Evaluation:
    """Embed a split of the run's data and measure it.

    Args:
      config: of the run; its `data` says where the images are, its `evaluation` what is measured.
      model: the network.
      variables: its parameters and running statistics.
      split: "test" or "train".

    Raises:
      InputError: the data cannot be read or evaluated.
    """
    whole = read_index(config.data, split)
    index = _asked_for(config, whole)
    tasks = make_tasks(config, index, split)  # what is wrong with them shows before the long part
    features = _embed(config, model, variables, index)
    rows = evaluate_features(features, tasks)
    return Evaluation(features, tasks, rows, protocol_name(config, whole, split))


def validate(config: Config, model: EmbedNet, variables: Any, index: Index) -> dict[str, float]:
    """Figures on held-out images, as the training loop asks for them.

    Returns:
      Mean over the configured pairs, for the neck's feature: "mean_ap" and "rank1".

    Raises:
      InputError: an image cannot be read, or a modality is missing.
    """
    index = _asked_for(config, index)
    tasks = all_images(index, parse_pairs(config.evaluation.pairs))
    rows = evaluate_features(_embed(config, model, variables, index), tasks)
    neck = [row for row in rows if row["feature"] == "neck"]
    return {name: float(np.mean([row[name] for row in neck])) for name in ("mean_ap", "rank1")}
