"""`lupi search`: rank a gallery for query images."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lupi_jax.cli.console import PICTURES, check_out, print_table, require_no_input, say
from lupi_jax.cli.network import add_network, load
from lupi_jax.cli.source import whole
from lupi_jax.cli.threshold import add_threshold, read_threshold
from lupi_jax.errors import InputError, LeftOutError, plural

if TYPE_CHECKING:
    from lupi_jax.evaluation import SearchResults

SUMMARY = "rank a gallery for your own query images"
EXAMPLE = """lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png

Images that cannot be read are named and left out; the exit status is then 3."""
NEEDS = ("evaluation", "report.pictures", "training")
SAVED = "nothing was saved"

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
    top = (
        f"number of images to list per query (10); the table lists only the first {PRINTED} queries"
    )
    add("--top", type=whole, default=10, metavar="N", help=top)
    text = "use features or a threshold even if they come from another network or image size"
    add("--any-network", action="store_true", help=text)
    add_threshold(parser)
    out = "picture to draw, of the first 10 queries with up to 10 images each"
    add("--out", type=Path, metavar="PICTURE", help=out)
    text = f"print JSON of all queries, instead of a table of the first {PRINTED}"
    add("--json", action="store_true", help=text)


def run(options: argparse.Namespace) -> None:
    """Rank a gallery for query images that need not belong to a data set.

    Raises:
      InputError: an option, the network or the gallery cannot be used.
      LeftOutError: some images could not be read; everything else is done.
    """
    from lupi_jax.report.drawing import DRAWN, draw_search

    if options.top < 1:
        raise InputError(f"--top {options.top}: give 1 or more")
    check_out(options.out, PICTURES)
    results = _search(options)
    for note in results.notes:
        say(f"note: {note}")
    for fault in results.left_out:
        say(f"left out: {fault}")
    _tell_threshold(results)
    count = len(results.queries)
    try:
        if options.out:
            draw_search(results, options.out)
            part = f": the first {DRAWN} of {count} queries" if count > DRAWN else ""
            say(f"wrote {options.out}{part}")
    finally:  # also if the picture cannot be written
        _print(results, options.json)
    if results.left_out:
        images = plural(len(results.left_out), "image")
        were = "was" if len(results.left_out) == 1 else "were"
        raise LeftOutError(f"{images} {were} left out and named above; all others are ranked")


def _search(options: argparse.Namespace) -> "SearchResults":
    from lupi_jax.evaluation.searching import search_sides
    from lupi_jax.evaluation.sides import read_gallery, read_query
    from lupi_jax.runtime.terminal import showing

    threshold = read_threshold(options)
    query = read_query(options.query, options.query_modality)
    gallery = read_gallery(options.gallery, options.gallery_modality)
    require_no_input(options.out, [*query.paths, *gallery.paths])
    network = load(options)
    workdir = options.workdir and str(options.workdir)
    asked = (options.top, threshold, workdir, options.any_network)
    with showing() as show:
        return search_sides(network, query, gallery, *asked, show)


def _print(results: "SearchResults", as_json: bool) -> None:
    found = results.records()
    if as_json:
        print(json.dumps(found))
        return
    count, title = len(results.queries), " -> ".join(results.modalities)
    if count > PRINTED:
        title += f": the first {PRINTED} of {count} queries"
        say(f"printed the first {PRINTED} of {count} queries; --json prints all")
    marked = results.matches is not None
    table = []
    for row in found[: PRINTED * results.paths.shape[1]]:
        match = ["yes" if row["match"] else "no"] if marked else []
        table.append([row["query"], row["rank"], f"{row['distance']:.4f}", *match, row["path"]])
    print_table(title, ["query", "rank", "distance", *["match"] * marked, "image"], table)


def _tell_threshold(results: "SearchResults") -> None:
    """Say where a threshold comes from, and how many queries lack a match."""
    if results.threshold is not None:
        by = f" ({results.threshold.said})" if results.threshold.said else ""
        say(f"images match up to a distance of {results.threshold.distance:.4f}{by}")
        say(f"queries without a match: {results.unmatched} of {len(results.queries)}")
