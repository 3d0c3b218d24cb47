"""`lupi search`: a gallery ranked for query images."""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from lupi_jax.cli.console import interrupted, print_table, require_picture, say
from lupi_jax.cli.network import load
from lupi_jax.data import Index, read_any_images
from lupi_jax.data.sources.folder import IMAGE_SUFFIXES
from lupi_jax.errors import InputError, some
from lupi_jax.evaluation import Features, embed_index, load_features
from lupi_jax.evaluation.features import holds_features
from lupi_jax.evaluation.search import nearest, ranking_row
from lupi_jax.modality import Modality
from lupi_jax.report.pictures import ranking_picture
from lupi_jax.runtime.progress import Show
from lupi_jax.runtime.terminal import showing
from lupi_jax.training import Run


@interrupted(lambda: "nothing was saved")
def search(options: argparse.Namespace) -> None:
    """Rank a gallery for query images that need not belong to a data set.

    Raises:
      InputError: the network, an image or the gallery cannot be used.
    """
    if options.top < 1:
        raise InputError(f"--top {options.top}: must be positive")
    require_picture(options.out)
    queries = _read(options.query, options.query_modality)
    # What can be wrong with the gallery is found before the network is loaded.
    gallery, images = None, None
    if holds_features(options.gallery):
        gallery = load_features(options.gallery)
        if not (gallery.index.modalities == options.gallery_modality).any():
            raise InputError(f"{options.gallery} holds no {options.gallery_modality} features")
    else:
        images = _read(options.gallery, options.gallery_modality)
    run = load(options)
    with showing() as show:
        query = _embed(run, queries, show)
        if gallery is None:
            assert images is not None
            gallery = _embed(run, images, show)
    if gallery.neck.shape[1] != query.neck.shape[1]:
        raise InputError(
            f"{options.gallery} holds features of length {gallery.neck.shape[1]}, this network "
            f"makes {query.neck.shape[1]}: export them anew"
        )
    rows, distances = _nearest(query, gallery, options)
    ranked = [r[np.isfinite(d)] for r, d in zip(rows, distances, strict=True)]
    found = [
        {
            "query": str(queries.root / queries.paths[i]),
            "rank": rank + 1,
            "distance": float(distances[i, rank]),
            "path": str(gallery.index.root / gallery.index.paths[row]),
        }
        for i in range(len(queries))
        for rank, row in enumerate(ranked[i])
    ]
    if options.json:
        print(json.dumps(found))
    else:
        print_table(
            f"{options.query_modality} -> {options.gallery_modality}",
            ("query", "rank", "distance", "image"),
            [(r["query"], r["rank"], f"{r['distance']:.4f}", r["path"]) for r in found],
        )
    if options.out:
        shown, size = range(min(len(queries), 10)), run.config.data.image_size
        ranking_picture(
            options.out,
            [ranking_row(query, i, gallery, ranked[i][:10], size) for i in shown],
        )
        of = f": the first {len(shown)} of {len(queries)} queries" if len(queries) > 10 else ""
        say(f"wrote {options.out}{of}")


def _read(path: Path, modality: str) -> Index:
    passed_over: list[Path] = []
    index = read_any_images(path, Modality(modality), passed_over.append)
    if passed_over:
        kinds = some(sorted({file.suffix.lower() or "no ending" for file in passed_over}))
        say(
            f"note: {path}: files passed over: {len(passed_over)} ({kinds}); images are "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    return index


def _embed(run: Run, images: Index, show: Show) -> Features:
    data = dataclasses.replace(run.config.data, prepared="")  # these images are of no data set
    config = dataclasses.replace(run.config, data=data)
    return embed_index(config, run.model, run.variables, images, show=show)


def _nearest(
    query: Features, gallery: Features, options: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` among the gallery's images of the modality asked for.

    Raises:
      InputError: a feature of the gallery is not of length 1.
    """
    there = gallery.index.modalities == options.gallery_modality
    count = int(there.sum())
    # Features that lie on disk are not copied to leave some out.
    excluded = (
        np.broadcast_to(~there, (len(query.index), len(there))) if count < len(there) else None
    )
    try:
        return nearest(query.neck, gallery.neck, min(options.top, count), excluded)
    except ValueError as error:  # `load_features` leaves the lengths to whatever reads them
        raise InputError(
            f"{options.gallery}: features must be finite and of length 1; export it anew"
        ) from error
