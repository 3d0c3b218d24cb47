"""Features and a protocol to a table of figures."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.config import Config
from lupi_jax.data import Index, read_permutations, read_searched
from lupi_jax.data.sources import published
from lupi_jax.data.sources.manifest import is_generated
from lupi_jax.errors import InputError, some
from lupi_jax.evaluation.features import Features, embed_index, with_intermediate
from lupi_jax.evaluation.metrics.protocols import (
    Pair,
    SameModality,
    Task,
    Trial,
    all_images,
    is_sysu_test_set,
    llcm,
    sysu,
)
from lupi_jax.evaluation.metrics.reranking import k_reciprocal_distances
from lupi_jax.evaluation.metrics.retrieval import (
    BLOCK_ELEMENTS,
    RetrievalMetrics,
    feature_metrics,
    pairwise_distances,
    retrieval_metrics,
)
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.phases import phase
from lupi_jax.runtime.progress import Show, silent

RANKS = (1, 5, 10, 20)
FEATURES = ("neck", "pooled")

FIGURES = {
    **{f"rank{k}": f"R{k}" for k in RANKS},
    "mean_ap": "mAP",
    "mean_inp": "mINP",
}
"""What a table calls each figure of `summarize`, in its order."""

DISTANCES = {"none": pairwise_distances, "k_reciprocal": k_reciprocal_distances}
"""How queries and gallery are compared, by `evaluation.reranking`."""

RERANKED_IMAGES = 20_000
"""More queries and gallery images together would not fit a usual machine's memory."""

SEARCHED_SPLITS = ("test", "val")
"""Splits a data set's own protocol is for: of people who are not trained on."""


class Measured(NamedTuple):
    """One task with one feature.

    Attributes:
      task: who queries whom.
      feature: "neck" or "pooled".
      trials: the metrics of each of the task's trials.
    """

    task: Task
    feature: str
    trials: list[RetrievalMetrics]

    @property
    def queries(self) -> np.ndarray:
        """[q] rows of the queries, the same in all trials."""
        return self.task.trials[0].query

    @property
    def average_precision(self) -> np.ndarray:
        """[q] of each query, the mean over trials; NaN without a true match. For `compare`."""
        return np.mean([metrics.average_precision for metrics in self.trials], axis=0)


class Evaluation(NamedTuple):
    """What `evaluate` found.

    Attributes:
      features: of all images the tasks are about.
      tasks: what was measured.
      rows: the figures, as `evaluate_features` gives them.
      protocol: what they are measured by, as results name it.
      seeds: of the galleries of its trials, or their rows in the data set's permutations; none
        where nothing is drawn.
      measured: what each of `rows` is the summary of.
    """

    features: Features
    tasks: tuple[Task, ...]
    rows: list[dict[str, Any]]
    protocol: str
    seeds: list[int]
    measured: list[Measured]


def summarize(metrics: RetrievalMetrics) -> dict[str, float]:
    """{"rank1", "rank5", "rank10", "rank20", "mean_ap", "mean_inp"}, each in [0, 1]."""
    ranks = {f"rank{k}": float(metrics.cmc[k - 1]) for k in RANKS}
    return {**ranks, "mean_ap": metrics.mean_ap, "mean_inp": metrics.mean_inp}


def figure_text(row: dict[str, Any], name: str) -> str:
    """A figure of a row of `evaluate_features` in percent, with its spread where there is one."""
    spread = f" ± {100 * row['std'][name]:.2f}" if "std" in row else ""
    return f"{100 * row[name]:.2f}{spread}"


def parse_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """(query, gallery) of each "<query>_to_<gallery>"."""
    sides = (name.split("_to_") for name in names)
    return tuple((Modality(query), Modality(gallery)) for query, gallery in sides)


def protocol_name(config: Config, index: Index, split: str = "test") -> str:
    """What the figures of a split are measured by, as results name it.

    It also says where the images are not the published test set: other identities, fewer images,
    or rendered people in their place.

    Args:
      config: its `data` and `evaluation` are used.
      index: the whole split.
      split: "test", "val" or "train".
    """
    data, trials = config.data, config.evaluation.trials
    name, whole = "all images", True
    match data.name if split in SEARCHED_SPLITS else "":
        case "sysu":
            name = f"SYSU-MM01 {config.evaluation.protocol}, {trials} trials"
            whole = is_sysu_test_set(index)
        case "llcm":
            name = f"LLCM, {trials} trials"
            whole = len(index.classes) == published.LLCM_IDENTITIES["test"]
        case "regdb":
            name = f"RegDB split {data.trial}, all images"
            people = published.REGDB_IDENTITIES // 2
            whole = len(index.classes) == people and all(
                index.count(m) == people * published.REGDB_IMAGES
                for m in (Modality.VISIBLE, Modality.INFRARED)
            )
    if split == "val":
        name += ", validation identities"
    elif not whole:
        name += f", not its whole test set ({len(index.classes)} people, {len(index)} images)"
    if data.name in ("sysu", "regdb", "llcm") and is_generated(Path(data.root)):
        name += ", rendered people"
    if config.evaluation.reranking != "none":
        name += ", with k-reciprocal re-ranking"
    return name


def same_modality_rule(config: Config) -> SameModality:
    """What a query ignores within a modality: as asked, else as is usual for the data set."""
    asked = config.evaluation.same_modality
    if asked != "auto":
        return asked
    return "camera" if config.data.name == "sysu" else "identity_and_camera"


def make_tasks(config: Config, index: Index, split: str = "test") -> tuple[Task, ...]:
    """The tasks of a split: the data set's own protocol but for training images, else all images.

    Args:
      config: its `data` and `evaluation` are used.
      index: images of all modalities asked for.
      split: "test", "val" or "train".

    Raises:
      InputError: the images do not fit the protocol.
    """
    pairs, asked = parse_pairs(config.evaluation.pairs), config.evaluation
    own, rule = split in SEARCHED_SPLITS, same_modality_rule(config)
    if own and config.data.name == "sysu":
        official = asked.protocol == "official"
        permutations = read_permutations(config.data.root) if official else None
        return sysu(index, pairs, asked.protocol, asked.trials, permutations, rule)
    if own and config.data.name == "llcm":
        return llcm(index, pairs, asked.trials, rule)
    return all_images(index, pairs, rule)


def evaluate_features(
    features: Features,
    tasks: Sequence[Task],
    reranking: str = "none",
    names: Sequence[str] = FEATURES,
    show: Show = silent,
) -> list[dict[str, Any]]:
    """Every task with both features: one row each.

    Args:
      features: of all images of the tasks.
      tasks: who queries whom.
      reranking: "none" or "k_reciprocal", which re-ranks each trial's queries and gallery.
      names: the features compared, out of "neck" and "pooled".
      show: shows how many of the rows are there.

    Returns:
      Rows with "query", "gallery" (modalities), "search" (the task's name), "feature", "trials",
      "queries", "valid_queries", "gallery_images" and the means over trials of the figures of
      `summarize`; with several trials "std" as well, {figure: standard deviation}.
    """
    return [_row(m, reranking) for m in measure_tasks(features, tasks, reranking, names, show)]


def measure_tasks(
    features: Features,
    tasks: Sequence[Task],
    reranking: str = "none",
    names: Sequence[str] = FEATURES,
    show: Show = silent,
) -> list[Measured]:
    """What `evaluate_features` summarises, a row each: curves and the figures of every query."""
    measured, total = [], len(tasks) * len(names)
    advance = show("searches")
    ids = features.index.identities
    for task in tasks:
        for name in names:
            trials = _measure(getattr(features, name), ids, task, reranking)
            measured.append(Measured(task, name, trials))
            advance(len(measured), total)
    return measured


def _row(measured: Measured, reranking: str) -> dict[str, Any]:
    """A row of `evaluate_features`."""
    task, name, trials = measured
    figures = [summarize(metrics) for metrics in trials]
    row = {
        "query": str(task.query),
        "gallery": str(task.gallery),
        "search": task.name,
        "feature": name,
        "reranking": reranking,
        "trials": len(trials),
        "queries": len(task.trials[0].query),
        "valid_queries": trials[0].valid_queries,
        "gallery_images": len(task.trials[0].gallery),
        **{key: float(np.mean([f[key] for f in figures])) for key in figures[0]},
    }
    if len(trials) > 1:
        row["std"] = {key: float(np.std([f[key] for f in figures], ddof=1)) for key in figures[0]}
    return row


def _measure(
    values: np.ndarray, ids: np.ndarray, task: Task, reranking: str
) -> list[RetrievalMetrics]:
    """The metrics of each trial of a task.

    Args:
      values: [n, d] one feature of all images.
      ids: [n] their identities.
      task: who queries whom.
      reranking: a key of `DISTANCES`.
    """

    def metrics(trial: Trial, distances: np.ndarray) -> RetrievalMetrics:
        identities = ids[trial.query], ids[trial.gallery]
        return retrieval_metrics(distances, *identities, trial.excluded, trial.cmc)

    trials = task.trials
    if reranking != "none":
        compare = DISTANCES[reranking]
        return [metrics(t, compare(values[t.query], values[t.gallery])) for t in trials]
    # The galleries of a task are draws from the same images: one product serves all of them.
    query, shown = trials[0].query, np.unique(np.concatenate([t.gallery for t in trials]))
    shared = all(np.array_equal(t.query, query) for t in trials)
    if shared and len(query) * len(shown) <= BLOCK_ELEMENTS:
        whole = pairwise_distances(values[query], values[shown])
        return [metrics(t, whole.take(np.searchsorted(shown, t.gallery), axis=1)) for t in trials]
    return [
        feature_metrics(
            values[t.query],
            values,
            ids[t.query],
            ids[t.gallery],
            None if t.groups is None else t.groups[t.query],
            None if t.groups is None else t.groups[t.gallery],
            t.cmc,
            gallery_rows=t.gallery,
        )
        for t in trials
    ]


def average_runs(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over networks of what `evaluate_features` gives of each.

    Args:
      runs: the rows of each network, the same tasks in the same order.

    Returns:
      Rows of the same form: "trials" the number of networks, counts and figures their means, and
      with several networks "std".
    """
    averaged = []
    for rows in zip(*runs, strict=True):
        same = ("query", "gallery", "search", "feature", "reranking")
        row: dict[str, Any] = {name: rows[0][name] for name in same}
        if any(other[name] != row[name] for other in rows for name in same):
            raise ValueError("only runs of the same tasks have a mean")
        row["trials"] = len(rows)
        for name in ("queries", "valid_queries", "gallery_images"):
            row[name] = round(float(np.mean([other[name] for other in rows])))
        figures = [name for name in rows[0] if name not in row and name != "std"]
        values = {name: [other[name] for other in rows] for name in figures}
        row |= {name: float(np.mean(v)) for name, v in values.items()}
        if len(rows) > 1:
            row["std"] = {name: float(np.std(v, ddof=1)) for name, v in values.items()}
        averaged.append(row)
    return averaged


def _asked_for(config: Config, index: Index) -> Index:
    """The images that the configured pairs are about."""
    wanted = {m for pair in parse_pairs(config.evaluation.pairs) for m in pair}
    if Modality.INTERMEDIATE in wanted:
        index = with_intermediate(index)
    return index[np.isin(index.modalities, [str(m) for m in wanted])]


def _embed(
    config: Config, model: EmbedNet, variables: Any, index: Index, show: Show = silent
) -> Features:
    data = config.data
    return embed_index(
        model,
        variables,
        index,
        data.image_size,
        data.workers,
        views=config.views,
        seed=config.seed,
        prepared=data.prepared,
        show=show,
    )


def require_unseen(config: Config, index: Index, split: str, trained_on: Collection[int]) -> None:
    """Check that nobody of a split was trained on.

    Raises:
      InputError: names those who were.
    """
    shared = np.intersect1d(index.classes, np.array(list(trained_on), int)).tolist()
    if not shared:
        return
    which, mend = f"the split {split!r}", "evaluate it on other people"
    if config.data.name == "regdb":
        which = f"split {config.data.trial} of RegDB"
        mend = "evaluate it on its own split (data.trial)"
    elif split == "val":
        mend = "train with data.validation_split to have them held out"
    raise InputError(
        f"this network was trained on {len(shared)} of the {len(index.classes)} people {which} is "
        f"about ({some(shared)}): {mend}"
    )


def evaluate(
    config: Config,
    model: EmbedNet,
    variables: Any,
    split: str = "test",
    trained_on: Collection[int] = (),
    show: Show = silent,
) -> Evaluation:
    """Embed a split of the run's data and measure it.

    Args:
      config: of the run; its `data` says where the images are, its `evaluation` what is measured.
      model: the network.
      variables: its parameters and running statistics.
      split: "test", "val" or "train".
      trained_on: identities the network has seen; nothing is measured on them but by asking for
        the split "train".
      show: shows how many images are embedded, and how many figures' rows are measured.

    Raises:
      InputError: the data cannot be read or evaluated, or were trained on.
    """
    with phase("reading the index"):
        whole = read_searched(config.data, split, config.seed)
    if split != "train":
        require_unseen(config, whole, split, trained_on)
    index = _asked_for(config, whole)
    tasks = make_tasks(config, index, split)  # what is wrong with them shows before the long part
    largest = max(len(t.query) + len(t.gallery) for task in tasks for t in task.trials)
    if config.evaluation.reranking != "none" and largest > RERANKED_IMAGES:
        raise InputError(
            f"re-ranking compares all of {largest} images with each other, "
            f"{8 * largest**2 / 2**30:.0f} GiB: leave evaluation.reranking out"
        )
    with phase("embedding the images"):
        features = _embed(config, model, variables, index, show)
    with phase("measuring"):
        measured = measure_tasks(features, tasks, config.evaluation.reranking, show=show)
    rows = [_row(each, config.evaluation.reranking) for each in measured]
    drawn = split in SEARCHED_SPLITS and config.data.name in ("sysu", "llcm")
    seeds = list(range(config.evaluation.trials)) if drawn else []
    return Evaluation(features, tasks, rows, protocol_name(config, whole, split), seeds, measured)


def make_validation(config: Config, index: Index) -> Callable[[EmbedNet, Any], dict[str, float]]:
    """How the training loop judges a network on held-out images.

    By the data set's own protocol, with one gallery where it draws them.

    Args:
      config: of the run.
      index: the held-out images.

    Returns:
      (model, variables) -> means over the protocol's tasks, for the neck's feature: "mean_ap" and
      "rank1".

    Raises:
      InputError: the images do not fit the protocol; later, an image cannot be read.
    """
    images = _asked_for(config, index)
    once = dataclasses.replace(config.evaluation, trials=1)
    tasks = make_tasks(dataclasses.replace(config, evaluation=once), images, "val")

    def validate(model: EmbedNet, variables: Any) -> dict[str, float]:
        features = _embed(config, model, variables, images)
        rows = evaluate_features(features, tasks, config.evaluation.reranking, ("neck",))
        return {name: float(np.mean([row[name] for row in rows])) for name in ("mean_ap", "rank1")}

    return validate
