"""From a network, queries and a gallery to ranked images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lupi_jax.errors import InputError, shown
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.opening import Checkpoint, open_run, workdir_of
from lupi_jax.evaluation.origin import describe_origin, origin_of, same_origin
from lupi_jax.evaluation.ranking import nearest
from lupi_jax.evaluation.readable import Readable, doubt, embed_readable
from lupi_jax.evaluation.sides import Images, Side, read_gallery, read_query
from lupi_jax.evaluation.thresholds import Threshold, make_threshold
from lupi_jax.modality import Modality
from lupi_jax.runtime.progress import Show, silent

if TYPE_CHECKING:
    from lupi_jax.evaluation.results import Results
    from lupi_jax.training import Run


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResults:
    """What `search` found: for each of q queries the k nearest gallery images, nearest first.

    Attributes:
      queries: [q] str, paths of the queries.
      paths: [q, k] str, paths of the gallery images.
      distances: [q, k] float32, cosine distances, from 0 to 2.
      identities: [q, k] int32, identities of the gallery images; -1 if unknown.
      matches: [q, k] bool, whether an image is within the threshold; None without a threshold.
      threshold: the threshold, or None.
      left_out: one line per image that could not be read and was left out.
      notes: lines about what was passed over, and about images that may have another modality, and
        about a network of one modality.
      query: features of the queries.
      gallery: features of the gallery. A stored gallery also has images that are not searched.
      rows: [q, k] row numbers of the images in `gallery`.
      modalities: the modality of the queries and of the gallery.
      image_size: (height, width) in pixels of the network's images.
    """

    queries: np.ndarray
    paths: np.ndarray
    distances: np.ndarray
    identities: np.ndarray
    matches: np.ndarray | None
    threshold: Threshold | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    query: Features = dataclasses.field(repr=False)
    gallery: Features = dataclasses.field(repr=False)
    rows: np.ndarray = dataclasses.field(repr=False)
    modalities: tuple[Modality, Modality]
    image_size: tuple[int, int]

    @property
    def unmatched(self) -> int:
        """Number of queries without a match; 0 without a threshold."""
        return 0 if self.matches is None else int((~self.matches.any(axis=1)).sum())

    def records(self) -> list[dict[str, Any]]:
        """One dictionary per query and rank, as `lupi search --json` prints them."""
        return [
            {
                "query": shown(query),
                "rank": rank + 1,
                "distance": float(self.distances[i, rank]),
                "path": shown(path),
                **({} if self.matches is None else {"match": bool(self.matches[i, rank])}),
            }
            for i, query in enumerate(self.queries)
            for rank, path in enumerate(self.paths[i])
        ]


def search(
    run: str | os.PathLike[str] | Run,
    query: Images,
    gallery: Images | Features,
    *,
    query_modality: Modality | str = Modality.INFRARED,
    gallery_modality: Modality | str = Modality.VISIBLE,
    top: int = 10,
    threshold: float | str | os.PathLike[str] | Results | Threshold | None = None,
    false_match_rate: float | None = None,
    any_network: bool = False,
    checkpoint: Checkpoint | None = None,
    overrides: Mapping[str, Any] | None = None,
    show: Show = silent,
) -> SearchResults:
    """Rank a gallery for query images that need not belong to a data set.

    For example `lupi_jax.search("runs/demo", "some.jpg", "folder").paths[0]`.

    Args:
      run: directory of a run of `lupi train`, or a loaded network, see `open_run`.
      query: a query image, a directory of images, or a sequence of paths of images.
      gallery: the same for the gallery; or features, in memory or as `lupi export` stored them.
      query_modality: "visible" or "infrared".
      gallery_modality: "visible" or "infrared".
      top: number of images to list per query, at least 1.
      threshold: distance up to which two images match; or an evaluation of this network, to choose
        the distance by its pairs, see `make_threshold`.
      false_match_rate: share of pairs of two people that may match, if the distance is chosen.
      any_network: whether to use features or a threshold that another network made.
      checkpoint: the checkpoint in the directory; None is "newest".
      overrides: fields to change, as in `evaluate`.
      show: shows how many images are embedded.

    Returns:
      The ranked images. Images that cannot be read are left out and named in `left_out`.

    Raises:
      InputError: the run, the threshold or the gallery cannot be used, no query can be read, or
        another network made the features or the threshold.
      OSError: a directory cannot be read.
      ValueError: `top` is not a whole number of at least 1, a modality has another name, or
        `open_run` raises it.
    """
    limit = make_threshold(threshold, query_modality, gallery_modality, false_match_rate)
    # Faults of the images show before the network is loaded.
    sides = read_query(query, query_modality), read_gallery(gallery, gallery_modality)
    opened = open_run(run, checkpoint, overrides)
    workdir = workdir_of(run)
    return search_sides(opened, *sides, top, limit, workdir and str(workdir), any_network, show)


def search_sides(
    run: Run,
    query: Side,
    gallery: Side,
    top: int,
    threshold: Threshold | None,
    workdir: str | None = None,
    any_network: bool = False,
    show: Show = silent,
) -> SearchResults:
    """`search` for a loaded network and sides; the run's directory is only for messages."""
    notes = [*query.notes, *gallery.notes, *_of_one_modality(run, (query, gallery))]
    own = {
        **origin_of(run.model, run.variables, run.config.data.image_size),
        **{"run": workdir, "checkpoint": run.name},
    }
    if gallery.features is not None:
        notes += _check_origin(gallery.name, gallery.features, run.model.features, own, any_network)
    if threshold and not any_network and same_origin(threshold.origin, own) is False:
        what = f"--threshold {threshold.name}"
        raise _of_another(what, threshold.origin, own, "calibrate it again")
    found: list[Features] = []
    left_out: list[str] = []
    for side in (query, gallery):
        if side.features is not None:
            found.append(side.features)
            continue
        embedded = _embed(run, side, show)
        found.append(embedded.features)
        left_out += embedded.faults
        notes += _doubts(side, embedded.spreads)
    rows, distances = _rank(found[0], found[1], gallery, top)
    return SearchResults(
        queries=_paths(found[0], np.arange(len(found[0].index))),
        paths=np.array([_paths(found[1], own) for own in rows]),
        distances=distances,
        identities=found[1].index.identities[rows],
        matches=None if threshold is None else distances <= threshold.distance,
        threshold=threshold,
        left_out=tuple(left_out),
        notes=tuple(notes),
        query=found[0],
        gallery=found[1],
        rows=rows,
        modalities=(query.modality, gallery.modality),
        image_size=run.config.data.image_size,
    )


def _embed(run: Run, side: Side, show: Show) -> Readable:
    data = dataclasses.replace(run.config.data, prepared="")  # prepared images would be others
    config = dataclasses.replace(run.config, data=data)
    return embed_readable(config, run.model, run.variables, side.index, show=show)


def _rank(
    query: Features, gallery: Features, side: Side, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [q, k] of the gallery and their distances [q, k], nearest first."""
    there = (gallery.index.modalities == side.modality) & gallery.index.in_gallery
    # A mask, because leaving rows out would copy features that are memory-mapped.
    excluded = np.broadcast_to(~there, (len(query.index), len(there)))
    if top < 1:
        raise ValueError(f"top must be a whole number of at least 1: got {top}")
    try:
        return nearest(query.neck, gallery.neck, min(top, int(there.sum())), excluded)
    except ValueError as error:  # `load_features` does not check lengths in a directory
        raise InputError(
            f"{side.name}: features must be finite and of length 1: export them again"
        ) from error


def _paths(features: Features, rows: np.ndarray) -> np.ndarray:
    """[n] paths of the images of n rows; a large gallery has more than are asked for."""
    index = features.index
    return np.array([str(index.root / path) for path in index.paths[rows]])


def _of_one_modality(run: Run, sides: Sequence[Side]) -> list[str]:
    """A note if the network was trained on one modality, and a side has images of another."""
    trained = run.config.modalities
    others = sorted({str(side.modality) for side in sides} - {*trained})
    if len(trained) > 1 or not others:
        return []
    only = next(iter(trained))
    return [
        f"this network knows only {only} images, and takes {' and '.join(others)} images as if "
        f"they were {only}"
    ]


def _doubts(side: Side, spreads: np.ndarray) -> list[str]:
    """A note if the images of a side do not look like its modality."""
    what, other = doubt(spreads, side.modality)
    if not what:
        return []
    return [
        f"{side.name}: {what}, but go through the {side.modality} stem: if they are {other}, give "
        f"--{side.role}-modality {other}"
    ]


def _check_origin(
    name: str, gallery: Features, length: int, own: Mapping[str, Any], any_network: bool
) -> list[str]:
    """Refuse gallery features that the network's cannot be compared with, or give a note."""
    if gallery.neck.shape[1] != length:
        raise InputError(
            f"{name}: these features have length {gallery.neck.shape[1]}, but this network makes "
            f"{length}: export them again with this network"
        )
    same = same_origin(gallery.origin, own)
    if same is None:
        return [
            f"{name}: it is not known which network made these features (an older version exported "
            "them): rankings are right only if it was this network"
        ]
    if same:
        return []
    if any_network:
        return [f"{name}: another network made these features: distances mean little"]
    raise _of_another(name, gallery.origin, own, "export it again")


def _of_another(
    what: str, origin: Mapping[str, Any], own: Mapping[str, Any], advice: str
) -> InputError:
    return InputError(
        f"{what}: made by {describe_origin(origin)}, but the network asked for is "
        f"{describe_origin(own)}: {advice} with this network, or add --any-network"
    )
