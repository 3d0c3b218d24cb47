"""`lupi search`: a gallery ranked for query images."""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lupi_jax as lupi
from lupi_jax.cli.console import PICTURES, check_out, print_table, require_no_input, say
from lupi_jax.cli.network import add_network, load
from lupi_jax.errors import InputError, LeftOutError, plural, shown, some

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from lupi_jax.evaluation import Features
    from lupi_jax.evaluation.readable import Readable

SUMMARY = "rank a gallery for your own query images"
EXAMPLE = """lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png

Images that cannot be read are named and left out, and the exit status is then 3."""
NEEDS = ("evaluation", "report.pictures", "training")
SAVED = "nothing was saved"

DRAWN = 10
"""Queries in a picture, and images for each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi search`."""
    add_network(parser)
    add = parser.add_argument
    query = "query image, or directory of query images (required)"
    gallery = "image, directory of images, or features that `lupi export` wrote (required)"
    for side, default, text in (("query", "infrared", query), ("gallery", "visible", gallery)):
        add(f"--{side}", type=Path, required=True, metavar="PLACE", help=text)
        choices, text = ("infrared", "visible"), f"modality of the {side} ({default})"
        add(f"--{side}-modality", choices=choices, default=default, help=text)
    add("--top", type=int, default=10, metavar="N", help="number of images for each query (10)")
    text = "rank stored features that another network, or another image size, gave"
    add("--any-network", action="store_true", help=text)
    out = "picture to draw: ten queries, ten images each"
    add("--out", type=Path, metavar="PICTURE", help=out)
    add("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> None:
    """Rank a gallery for query images that need not belong to a data set.

    Raises:
      LeftOutError: everything is done, but for images that could not be read.
    """
    import numpy as np

    from lupi_jax.evaluation.search import nearest, ranking_row
    from lupi_jax.report.pictures import ranking_picture

    if options.top < 1:
        raise InputError(f"--top {options.top}: must be positive")
    check_out(options.out, PICTURES)
    query, gallery, size, embedded = _features(options)
    there = gallery.index.modalities == options.gallery_modality
    # Features that lie on disk are not copied to leave some out.
    excluded = np.broadcast_to(~there, (len(query.index), len(there)))
    top = min(options.top, int(there.sum()))
    try:
        rows, distances = nearest(query.neck, gallery.neck, top, excluded)
    except ValueError as error:  # `load_features` leaves the lengths to whatever reads them
        raise InputError(
            f"{options.gallery}: features must be finite and of length 1; export it anew"
        ) from error
    left_out = _tell(embedded, options)
    ranked = [r[np.isfinite(d)] for r, d in zip(rows, distances, strict=True)]
    found = [
        {
            "query": shown(query.index.root / query.index.paths[i]),
            "rank": rank + 1,
            "distance": float(distances[i, rank]),
            "path": shown(gallery.index.root / gallery.index.paths[row]),
        }
        for i, own in enumerate(ranked)
        for rank, row in enumerate(own)
    ]
    try:
        if options.out:
            drawn = list(enumerate(ranked))[:DRAWN]
            lists = [ranking_row(query, i, gallery, own[:DRAWN], size) for i, own in drawn]
            ranking_picture(options.out, lists)
            part = f": the first {DRAWN} of {len(ranked)} queries" if len(ranked) > DRAWN else ""
            say(f"wrote {options.out}{part}")
    finally:  # also where the picture cannot be written
        _print(found, options)
    if left_out:
        images = plural(left_out, "image")
        raise LeftOutError(f"{images} left out, named above; all others are ranked")


def _print(found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(found))
        return
    print_table(
        f"{options.query_modality} -> {options.gallery_modality}",
        ("query", "rank", "distance", "image"),
        [(r["query"], r["rank"], f"{r['distance']:.4f}", r["path"]) for r in found],
    )


def _features(
    options: argparse.Namespace,
) -> "tuple[Features, Features, tuple[int, int], dict[str, Readable]]":
    """Features of the queries and of the gallery, the size of the network's images, and what
    embedding them here gave, by "query" and "gallery"."""
    from lupi_jax.evaluation.features import holds_features
    from lupi_jax.evaluation.readable import embed_readable
    from lupi_jax.runtime.terminal import showing

    sides = {"query": _read(options.query, options.query_modality)}
    # What can be wrong with the gallery is found before the network is loaded.
    stored = []
    if not holds_features(options.gallery):
        sides["gallery"] = _read(options.gallery, options.gallery_modality)
    else:
        stored.append(lupi.evaluation.load_features(options.gallery))
        if not (stored[0].index.modalities == options.gallery_modality).any():
            raise InputError(f"{options.gallery} holds no {options.gallery_modality} features")
    read = [*sides.values(), *(features.index for features in stored)]
    require_no_input(options.out, (index.root / path for index in read for path in index.paths))
    network = load(options)
    for features in stored:
        _check_origin(features, network, options)
    data = dataclasses.replace(network.config.data, prepared="")  # these images are of no data set
    config = dataclasses.replace(network.config, data=data)
    with showing() as show:
        embed = partial(embed_readable, config, network.model, network.variables, show=show)
        found = {side: embed(index) for side, index in sides.items()}
    query, gallery = *(each.features for each in found.values()), *stored
    return query, gallery, data.image_size, found


def _tell(embedded: "Mapping[str, Readable]", options: argparse.Namespace) -> int:
    """Name the images that could not be read, of the query and the gallery; how many they are."""
    for side, found in embedded.items():
        for fault in found.faults:
            say(f"left out: {fault}")
        _doubt(side, found.spreads, options)
    return sum(len(found.faults) for found in embedded.values())


def _doubt(side: str, spreads: "np.ndarray", options: argparse.Namespace) -> None:
    """Say so where the images of a side do not look as its modality does."""
    from lupi_jax.evaluation.readable import doubt

    modality = vars(options)[f"{side}_modality"]
    what, other = doubt(spreads, modality)
    if what:
        say(
            f"note: {vars(options)[side]}: {what}, and go through the {modality} stem: if they are "
            f"{other} ones, give --{side}-modality {other}"
        )


def _check_origin(
    gallery: "lupi.evaluation.Features", network: "lupi.training.Run", options: argparse.Namespace
) -> None:
    """Refuse, or say, that a gallery's features may not be comparable with the network's."""
    from lupi_jax.evaluation.origin import describe_origin, origin_of, same_origin

    size = network.config.data.image_size
    run = {"run": options.workdir and str(options.workdir), "checkpoint": network.name}
    own = {**origin_of(network.model, network.variables, size), **run}
    length = gallery.neck.shape[1]
    if length != network.model.features:
        raise InputError(
            f"{options.gallery} holds features of length {length}, this network makes "
            f"{network.model.features}: export them anew"
        )
    same = same_origin(gallery.origin, own)
    if same is None:
        say(
            f"note: {options.gallery} does not say which network made its features (an older "
            "version exported them): rankings are right only if it was this one"
        )
    elif not same and options.any_network:
        say(f"note: {options.gallery}: another network made its features: distances mean little")
    elif not same:
        raise InputError(
            f"{options.gallery}: made by {describe_origin(gallery.origin)}, but the network asked "
            f"for is {describe_origin(own)}: export it anew with this network, or insist with "
            "--any-network"
        )


def _read(path: Path, modality: str) -> "lupi.data.Index":
    from lupi_jax.data.decoding import IMAGE_SUFFIXES

    passed_over: list[Path] = []
    index = lupi.data.read_any_images(path, lupi.Modality(modality), passed_over.append)
    links = [str(place) for place in passed_over if place.is_dir()]
    if links:
        say(
            f"note: {path}: linked directories passed over: {len(links)} ({some(links)}); every "
            "directory is read once, and links to a directory above are not followed"
        )
    if broken := [str(place) for place in passed_over if not place.exists()]:
        say(f"note: {path}: links that lead nowhere: {len(broken)} ({some(broken)})")
    if files := [file for file in passed_over if file.is_file()]:
        kinds = some(sorted({file.suffix.lower() or "no ending" for file in files}))
        say(
            f"note: {path}: files passed over: {len(files)} ({kinds}); images are "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    return index
