"""One page about a run, put together from its parts."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import jax
import numpy as np

from lupi_jax.data import Index, make_reader
from lupi_jax.errors import InputError
from lupi_jax.evaluation import Evaluation, Features
from lupi_jax.evaluation.embedding import stems_of
from lupi_jax.evaluation.figures import FIGURES, Measured, figure_text, measure_tasks
from lupi_jax.evaluation.metrics import Task
from lupi_jax.evaluation.ranking import ranking_rows
from lupi_jax.evaluation.verification import verify
from lupi_jax.modality import Modality, stem_for
from lupi_jax.report import charts
from lupi_jax.report.activation import activation_shares, heat
from lupi_jax.report.choices import choose_images, choose_queries
from lupi_jax.report.distances import PairCounts, count_pairs, lay_out
from lupi_jax.report.intermediate import Learnt, draws, learnt_mix
from lupi_jax.report.pictures import RankingRow, mix_panel, training_panels
from lupi_jax.report.settings import settings_of
from lupi_jax.report.thumbnails import Thumbnail, thumbnail
from lupi_jax.training import Run

TOP = 10  # number of gallery images beside a query
MAPPED = 4  # number of images per modality with an activation map
MARKED = 0.01  # the false-match rate whose threshold a chart names
TABLED = (0.1, 0.01, 0.001, 0.0001)  # the false-match rates in the table


def require_libraries() -> None:
    """Raise InputError if a library that only a report needs is not installed."""
    try:
        import jinja2  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"a report needs {error.name}, which is not installed: pip install 'lupi-jax[report]'"
        ) from error


def make_page(
    run: Run,
    found: Evaluation,
    curves: Sequence[Mapping[str, Any]],
    facts: Mapping[str, str],
    versions: Mapping[str, Mapping[str, str]],
) -> str:
    """Make the page of a run as HTML that needs no other file.

    The same arguments give the same page.

    Args:
      run: the run.
      found: the result of `evaluate` for the run.
      curves: lines of the run's `metrics.jsonl`.
      facts: facts for the head of the page, {heading: text}.
      versions: versions of packages, {"training" or "this page": {package: version}}.

    Raises:
      InputError: an image cannot be read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lupi_jax.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    panels, index = training_panels(curves), found.features.index
    learns = run.generator is not None
    return environment.get_template("template.html.j2").render(
        facts=dict(facts),
        notes=_notes(run, found),
        figures=FIGURES,
        rows=found.rows,
        figure_text=figure_text,
        panels=[(p.name, charts.panel_chart(p, f"training-{_slug(p.name)}")) for p in panels],
        cmc=_cmc_charts(found.measured),
        rankings=_rankings(run, found),
        distances=_distances(found.features),
        thresholds=_thresholds(found),
        tabled=TABLED,
        map=_map(found.features, run.config.seed),
        activations=_activations(run, index),
        draws=[] if learns else draws(run, index),
        learns=learns,
        learnt=_learnt(run, index, curves) if learns else None,
        kind=run.config.views.intermediate,
        recipe=run.config.recipe,
        settings=settings_of(run.config),
        versions=versions,
        packages=sorted({name for each in versions.values() for name in each}),
    )


def device() -> str:
    """The devices of this process, as a page names them."""
    devices = jax.local_devices()
    return f"{len(devices)} x {devices[0].device_kind}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _notes(run: Run, found: Evaluation) -> list[str]:
    notes = []
    if run.unfinished:
        notes.append(
            f"Training is not finished: {run.unfinished} of {run.record['steps']} steps to go."
        )
    learnt = np.isin(found.features.index.classes, run.seen or ()).sum()
    if learnt:
        notes.append(
            f"{learnt} of these people were in training, so the figures do not hold for new people."
        )
    if found.rows[0]["reranking"] != "none":
        notes.append(
            "Figures and CMC curves are re-ranked. The ranking lists below are by distance alone."
        )
    return notes


def _direction(measured: Measured) -> str:
    return f"{measured.task.query} → {measured.task.gallery}"


def _cmc_charts(measured: Sequence[Measured]) -> list[tuple[str, str]]:
    """(direction, chart) per direction."""
    curves: dict[str, list[tuple[str, str, np.ndarray]]] = {}
    for each in measured:
        mean = np.mean([metrics.cmc for metrics in each.trials], axis=0)
        curves.setdefault(_direction(each), []).append((each.task.name, each.feature, mean))
    return [
        (direction, charts.cmc_chart(lines, f"cmc-{number}"))
        for number, (direction, lines) in enumerate(curves.items())
    ]


def _rankings(run: Run, found: Evaluation) -> list[tuple[str, str, dict[str, list[Any]]]]:
    """(direction, search, {group: lists}) per direction, for its first search and gallery."""
    first: dict[str, Measured] = {}
    for each in found.measured:
        if each.feature == "neck":
            first.setdefault(_direction(each), each)
    if found.rows[0]["reranking"] != "none":
        tasks = [dataclasses.replace(m.task, trials=m.task.trials[:1]) for m in first.values()]
        plain = measure_tasks(found.features, tasks, names=("neck",))
        first = {_direction(each): each for each in plain}
    result = []
    for direction, each in first.items():
        trial, precision = each.task.trials[0], each.trials[0].average_precision
        identities = found.features.index.identities[trial.query]
        chosen = choose_queries(precision, identities, run.config.seed)
        lists = {}
        size = run.config.data.image_size
        for group, queries in chosen.items():
            rows = ranking_rows(found.features, trial, size, queries, TOP)
            if rows:
                pairs = zip(rows, precision[queries], strict=True)
                lists[group] = [_list(row, float(value)) for row, value in pairs]
        result.append((direction, each.task.name, lists))
    return result


_VERDICTS = {True: "right", False: "wrong", None: "identity unknown"}


def _list(row: RankingRow, precision: float) -> dict[str, Any]:
    results = []
    for rank, (image, title, correct) in enumerate(
        zip(row.gallery, row.titles, row.correct, strict=True), 1
    ):
        alt = f"rank {rank}: {title}, {_VERDICTS[correct]}"
        results.append((thumbnail(image, alt), title, correct))
    return {
        "query": thumbnail(row.query, f"query: {row.query_title}"),
        "title": row.query_title,
        "precision": precision,
        "results": results,
    }


def _distances(features: Features) -> list[tuple[str, PairCounts, str]]:
    """(name, counts, chart) for every two modalities, and for each modality with itself."""
    features = features[features.index.is_person]
    index = features.index
    sides = {m: features[index.modalities == m] for m in Modality if index.count(m)}
    result = []
    for a, b in combinations_with_replacement(sides, 2):
        left = sides[a].neck, sides[a].index.identities
        right = (sides[b].neck, sides[b].index.identities) if a != b else ()
        counts = count_pairs(*left, *right)
        if counts.same.sum() + counts.different.sum():
            name = f"within {a}" if a == b else f"{a} to {b}"
            chart = charts.distance_chart(counts, f"distances-{_slug(name)}")
            result.append((name, counts, chart))
    return result


def _thresholds(found: Evaluation) -> list[tuple[str, dict[str, Any], str]]:
    """(direction, result of `verify`, chart) per direction, for its first search."""
    first: dict[str, Task] = {}
    for task in found.tasks:
        first.setdefault(f"{task.query} → {task.gallery}", task)
    result = []
    for direction, task in first.items():
        verified = verify(found.features, task)
        if verified["levels"]:
            name = f"thresholds-{_slug(direction)}"
            chart = charts.threshold_chart(verified["levels"], MARKED, name)
            result.append((direction, verified, chart))
    return result


def _map(features: Features, seed: int) -> tuple[str, int, int] | None:
    """(chart, number of images, number of people); None if they are too few for a map."""
    rows = choose_images(features.index, seed)
    if len(rows) < 4:
        return None
    places = lay_out(features.neck[rows], seed)
    shown = features.index[rows]
    chart = charts.identity_chart(places, shown.identities, shown.modalities, "identity-map")
    return chart, len(rows), len(shown.classes)


def _activations(
    run: Run, index: Index
) -> list[tuple[str, list[tuple[Thumbnail, Thumbnail, str, float]], float]] | None:
    """(modality, [(image, map, title, largest share)], even share); the same people in each.

    None if the network's feature does not come from a map.
    """
    data = run.config.data
    rows = choose_images(index, run.config.seed, MAPPED, 1)
    result = []
    for modality in (Modality.VISIBLE, Modality.INFRARED):
        own = rows[index.modalities[rows] == modality]
        if not len(own):
            continue
        own = own[np.argsort(index.identities[own], kind="stable")]
        read = make_reader(index, data.image_size, data.prepared)
        images = np.stack([read(int(row)) for row in own])
        stem = stem_for(modality, stems_of(run.variables))
        assert stem is not None  # otherwise the evaluation would have failed
        shares = activation_shares(run.model, run.variables, images, stem)
        if shares is None:
            return None
        shown = []
        for image, share, row in zip(images, np.asarray(shares), own, strict=True):
            title = f"ID {index.identities[row]} · cam {index.cameras[row]}"
            alt = f"{modality} image, {title}"
            mapped = thumbnail(heat(image, share), f"activation map of the {alt}")
            shown.append((thumbnail(image, alt), mapped, title, float(share.max())))
        result.append((str(modality), shown, 1 / shares[0].size))
    return result


def _learnt(
    run: Run, index: Index, curves: Sequence[Mapping[str, Any]]
) -> tuple[Learnt, list[tuple[str, str]]] | None:
    """What the page shows of a learnt mix, and (name, chart) per chart; None without images."""
    learnt = learnt_mix(run, index)
    if learnt is None:
        return None
    drawn = [("Grey levels", charts.grey_chart(learnt.greys, "greys"))]
    if panel := mix_panel(curves):
        drawn.append(("Mean weights of the mix", charts.panel_chart(panel, "mix")))
    return learnt, drawn
