"""`lupi export` and `lupi search`: features to a file, and a gallery ranked by them."""

import argparse
import json

from lupi_jax.commands.console import print_table, say
from lupi_jax.commands.network import load
from lupi_jax.data import read_any_images, read_index
from lupi_jax.errors import InputError
from lupi_jax.evaluation import embed_index, load_features
from lupi_jax.evaluation.ranking import nearest, ranking_row
from lupi_jax.hosts import is_first
from lupi_jax.modality import Modality
from lupi_jax.pictures import ranking_picture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


def export(options: argparse.Namespace) -> None:
    """Write the features of a split to an `.npz`.

    Raises:
      InputError: the network or the data cannot be used, or the file is none.
    """
    if options.out.suffix != ".npz":
        raise InputError(f"--out {options.out}: features are written to a .npz file")
    run = load(options, options.untrained)
    data = run.config.data
    index = read_index(data, options.split)
    features = embed_index(
        run.model, run.variables, index, data.image_size, data.workers, prepared=data.prepared
    )
    if is_first():
        features.save(options.out)
    say(f"wrote {options.out}: {len(index)} x {features.neck.shape[1]} features")


def search(options: argparse.Namespace) -> None:
    """Rank a gallery for query images that need not belong to a data set.

    Raises:
      InputError: the network, an image or the gallery cannot be used.
    """
    if options.top < 1:
        raise InputError(f"--top {options.top}: must be positive")
    if options.out and options.out.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"--out {options.out}: end it on one of {', '.join(PICTURE_SUFFIXES)}")
    queries = read_any_images(options.query, Modality(options.query_modality))
    # What can be wrong with the gallery is found before the network is loaded.
    gallery, images = None, None
    if options.gallery.suffix == ".npz" or options.gallery.is_file():
        gallery = load_features(options.gallery)
        gallery = gallery[gallery.index.modalities == options.gallery_modality]
        if not len(gallery.index):
            raise InputError(f"{options.gallery} holds no {options.gallery_modality} features")
    else:
        images = read_any_images(options.gallery, Modality(options.gallery_modality))
    run = load(options)
    data = run.config.data
    if gallery is None:
        assert images is not None
        gallery = embed_index(run.model, run.variables, images, data.image_size, data.workers)
    query = embed_index(run.model, run.variables, queries, data.image_size, data.workers)
    if gallery.neck.shape[1] != query.neck.shape[1]:
        raise InputError(
            f"{options.gallery} holds features of length {gallery.neck.shape[1]}, this network "
            f"makes {query.neck.shape[1]}: export them anew"
        )
    rows, distances = nearest(query.neck, gallery.neck, options.top)
    found = [
        {
            "query": str(queries.root / queries.paths[i]),
            "rank": rank + 1,
            "distance": float(distances[i, rank]),
            "path": str(gallery.index.root / gallery.index.paths[row]),
        }
        for i in range(len(queries))
        for rank, row in enumerate(rows[i])
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
        shown = range(min(len(queries), 10))
        ranking_picture(
            options.out,
            [ranking_row(query, i, gallery, rows[i][:10], data.image_size) for i in shown],
        )
        say(f"wrote {options.out}")
