"""`lupi search`: rank a gallery for query images."""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lupi_jax as lupi
from lupi_jax.cli.console import (
    PICTURES,
    check_out,
    print_table,
    require_no_input,
    say,
    say_passed_over,
)
from lupi_jax.cli.network import add_network, load
from lupi_jax.cli.source import whole
from lupi_jax.cli.threshold import Threshold, add_threshold, read_threshold
from lupi_jax.errors import InputError, LeftOutError, plural, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from lupi_jax.evaluation import Features
    from lupi_jax.evaluation.readable import Readable
    from lupi_jax.evaluation.search import RankingRow

SUMMARY = "rank a gallery for your own query images"
EXAMPLE = """lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png

Images that cannot be read are named and left out; the exit status is then 3."""
NEEDS = ("evaluation", "report.pictures", "training")
SAVED = "nothing was saved"

DRAWN = 10
"""Number of queries in a picture, and of images per query."""

PRINTED = 10
"""Number of queries in a printed table; JSON has all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi search`."""
    add_network(parser)
    add = parser.add_argument
    query = "query image, or directory of query images (required)"
    gallery = "gallery image, directory of gallery images, or features of `lupi export` (required)"
    for side, default, text in (("query", "infrared", query), ("gallery", "visible", gallery)):
        add(f"--{side}", type=Path, required=True, metavar="PLACE", help=text)
        choices, text = ("infrared", "visible"), f"modality of the {side} ({default})"
        add(f"--{side}-modality", choices=choices, default=default, help=text)
    add(
        "--top", type=whole, default=10, metavar="N", help="number of images to list per query (10)"
    )
    text = "use features or a threshold even if they come from another network or image size"
    add("--any-network", action="store_true", help=text)
    add_threshold(parser)
    out = f"picture to draw, of the first {DRAWN} queries with up to {DRAWN} images each"
    add("--out", type=Path, metavar="PICTURE", help=out)
    text = f"print JSON of all queries, instead of a table of the first {PRINTED}"
    add("--json", action="store_true", help=text)


def run(options: argparse.Namespace) -> None:
    """Rank a gallery for query images that need not belong to a data set.

    Raises:
      InputError: an option, the network or the gallery cannot be used.
      LeftOutError: some images could not be read; everything else is done.
    """
    import numpy as np

    from lupi_jax.evaluation.search import nearest
    from lupi_jax.report.pictures import ranking_picture

    if options.top < 1:
        raise InputError(f"--top {options.top}: give 1 or more")
    check_out(options.out, PICTURES)
    threshold = read_threshold(options)
    query, gallery, size, embedded = _features(options, threshold)
    there = (gallery.index.modalities == options.gallery_modality) & gallery.index.in_gallery
    # A mask, because leaving rows out would copy features that are memory-mapped.
    excluded = np.broadcast_to(~there, (len(query.index), len(there)))
    top = min(options.top, int(there.sum()))
    try:
        rows, distances = nearest(query.neck, gallery.neck, top, excluded)
    except ValueError as error:  # `load_features` does not check lengths in a directory
        raise InputError(
            f"{options.gallery}: features must be finite and of length 1: export them again"
        ) from error
    left_out = _tell(embedded, options)
    ranked = [r[np.isfinite(d)] for r, d in zip(rows, distances, strict=True)]
    matches = None if threshold is None else distances <= threshold.distance
    if threshold is not None:
        _tell_threshold(threshold, int((distances[:, 0] > threshold.distance).sum()), len(ranked))
    found = [
        {
            "query": shown(query.index.root / query.index.paths[i]),
            "rank": rank + 1,
            "distance": float(distances[i, rank]),
            "path": shown(gallery.index.root / gallery.index.paths[row]),
            **({} if matches is None else {"match": bool(matches[i, rank])}),
        }
        for i, own in enumerate(ranked)
        for rank, row in enumerate(own)
    ]
    try:
        if options.out:
            drawn = enumerate(ranked[:DRAWN])
            lists = [_drawn(query, i, gallery, own[:DRAWN], size) for i, own in drawn]
            if matches is not None:
                lists = [_marked(row, own) for row, own in zip(lists, matches, strict=False)]
            title = f"{options.query_modality} queries, {options.gallery_modality} gallery"
            ranking_picture(options.out, lists, title)
            part = f": the first {DRAWN} of {len(ranked)} queries" if len(ranked) > DRAWN else ""
            say(f"wrote {options.out}{part}")
    finally:  # also if the picture cannot be written
        _print(found, f"{options.query_modality} -> {options.gallery_modality}", options)
    if left_out:
        images = plural(left_out, "image")
        were = "was" if left_out == 1 else "were"
        raise LeftOutError(f"{images} {were} left out and named above; all others are ranked")


def _print(found: "Sequence[Mapping[str, Any]]", title: str, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(found))
        return
    headings = ["query", "rank", "distance", *["match"] * (options.threshold is not None), "image"]
    table = []
    queries = list(dict.fromkeys(row["query"] for row in found))
    printed = set(queries[:PRINTED])
    if len(queries) > PRINTED:
        title += f": the first {PRINTED} of {len(queries)} queries"
        say(f"printed the first {PRINTED} of {len(queries)} queries; --json prints all")
    for row in (row for row in found if row["query"] in printed):
        match = ["yes" if row["match"] else "no"] if "match" in row else []
        table.append([row["query"], row["rank"], f"{row['distance']:.4f}", *match, row["path"]])
    print_table(title, headings, table)


def _tell_threshold(threshold: Threshold, alone: int, queries: int) -> None:
    """Say where a threshold comes from, and how many queries lack a match."""
    by = f" ({threshold.said})" if threshold.said else ""
    say(f"images match up to a distance of {threshold.distance:.4f}{by}")
    say(f"queries without a match: {alone} of {queries}")


def _marked(row: "RankingRow", matches: "np.ndarray") -> "RankingRow":
    """A row of the picture that marks its matching images, or says that none matches."""
    matched = matches[: len(row.gallery)].tolist()
    title = row.query_title if any(matched) else f"{row.query_title}\nno match"
    return dataclasses.replace(row, query_title=title, matched=matched)


def _features(
    options: argparse.Namespace, threshold: Threshold | None
) -> "tuple[Features, Features, tuple[int, int], dict[str, Readable]]":
    """Features of queries and gallery, the network's image size, and {side: result of embedding}.

    A side is "query" or "gallery". A gallery of stored features was not embedded here.
    """
    from lupi_jax.evaluation.features import holds_features
    from lupi_jax.evaluation.readable import embed_readable
    from lupi_jax.runtime.terminal import showing

    sides = {"query": _read(options.query, options.query_modality)}
    # Faults of the gallery show before the network is loaded.
    stored = []
    if not holds_features(options.gallery):
        sides["gallery"] = _read(options.gallery, options.gallery_modality)
    else:
        stored.append(lupi.evaluation.load_features(options.gallery))
        index = stored[0].index
        of_modality = index.modalities == options.gallery_modality
        if not of_modality.any():
            raise InputError(
                f"{options.gallery}: no {options.gallery_modality} features in it: give another "
                "--gallery-modality or export such images"
            )
        if queries := int((of_modality & ~index.in_gallery).sum()):
            what = f"{queries} of {of_modality.sum()} {options.gallery_modality} images"
            if queries == of_modality.sum():
                raise InputError(
                    f"{options.gallery}: {what} have the role query: give a gallery to search"
                )
            say(f"note: {options.gallery}: {what} are passed over, because their role is query")
    read = [*sides.values(), *(features.index for features in stored)]
    require_no_input(options.out, (index.root / path for index in read for path in index.paths))
    network = load(options)
    for features in stored:
        _check_origin(features, network, options)
    if threshold and threshold.origin:
        _check_threshold(threshold, network, options)
    data = dataclasses.replace(network.config.data, prepared="")  # prepared images would be others
    config = dataclasses.replace(network.config, data=data)
    with showing() as show:
        embed = partial(embed_readable, config, network.model, network.variables, show=show)
        found = {side: embed(index) for side, index in sides.items()}
    query, gallery = *(each.features for each in found.values()), *stored
    return query, gallery, data.image_size, found


def _drawn(
    query: "Features", row: int, gallery: "Features", rows: "np.ndarray", size: tuple[int, int]
) -> "RankingRow":
    """A query and its first results as a picture shows them.

    If all of them lie in one data set of the folder layout, their paths give the identities, and
    the picture tells right from wrong. A number means the same person only within one data set.
    """
    import numpy as np

    from lupi_jax.data.sources.folder import name_people
    from lupi_jax.evaluation.search import ranking_row

    asked, found = query[np.array([row])], gallery[rows]
    (root, own), (other, others) = name_people(asked.index), name_people(found.index)
    if root is not None and root == other:
        asked, found = (
            dataclasses.replace(asked, index=own),
            dataclasses.replace(found, index=others),
        )
    return ranking_row(asked, 0, found, np.arange(len(rows)), size)


def _tell(embedded: "Mapping[str, Readable]", options: argparse.Namespace) -> int:
    """Name the images of query and gallery that could not be read, and return their number."""
    for side, found in embedded.items():
        for fault in found.faults:
            say(f"left out: {fault}")
        _doubt(side, found.spreads, options)
    return sum(len(found.faults) for found in embedded.values())


def _doubt(side: str, spreads: "np.ndarray", options: argparse.Namespace) -> None:
    """Say so if the images of a side do not look like its modality."""
    from lupi_jax.evaluation.readable import doubt

    modality = vars(options)[f"{side}_modality"]
    what, other = doubt(spreads, modality)
    if what:
        say(
            f"note: {vars(options)[side]}: {what}, but go through the {modality} stem: if they are "
            f"{other}, give --{side}-modality {other}"
        )


def _check_origin(
    gallery: "lupi.evaluation.Features", network: "lupi.training.Run", options: argparse.Namespace
) -> None:
    """Refuse gallery features that the network's cannot be compared with, or say so in a note."""
    from lupi_jax.evaluation.origin import same_origin

    own = _own_origin(network, options)
    length = gallery.neck.shape[1]
    if length != network.model.features:
        raise InputError(
            f"{options.gallery}: these features have length {length}, but this network makes "
            f"{network.model.features}: export them again with this network"
        )
    same = same_origin(gallery.origin, own)
    if same is None:
        say(
            f"note: {options.gallery}: it is not known which network made these features (an older "
            "version exported them): rankings are right only if it was this network"
        )
    elif not same and options.any_network:
        say(f"note: {options.gallery}: another network made these features: distances mean little")
    elif not same:
        raise _of_another(str(options.gallery), gallery.origin, own, "export it again")


def _own_origin(network: "lupi.training.Run", options: argparse.Namespace) -> dict[str, object]:
    from lupi_jax.evaluation.origin import origin_of

    size = network.config.data.image_size
    run = {"run": options.workdir and str(options.workdir), "checkpoint": network.name}
    return {**origin_of(network.model, network.variables, size), **run}


def _check_threshold(
    threshold: Threshold, network: "lupi.training.Run", options: argparse.Namespace
) -> None:
    """Refuse a threshold of another network, unless --any-network insists."""
    from lupi_jax.evaluation.origin import same_origin

    own = _own_origin(network, options)
    if not options.any_network and same_origin(threshold.origin, own) is False:
        what = f"--threshold {options.threshold}"
        raise _of_another(what, threshold.origin, own, "calibrate it again")


def _of_another(
    what: str, origin: "Mapping[str, Any]", own: "Mapping[str, Any]", advice: str
) -> InputError:
    from lupi_jax.evaluation.origin import describe_origin

    return InputError(
        f"{what}: made by {describe_origin(origin)}, but the network asked for is "
        f"{describe_origin(own)}: {advice} with this network, or add --any-network"
    )


def _read(path: Path, modality: str) -> "lupi.data.Index":
    passed_over: list[Path] = []
    index = lupi.data.read_any_images(path, lupi.Modality(modality), passed_over.append)
    say_passed_over(path, passed_over)
    return index
