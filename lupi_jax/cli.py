"""The command line: parses, calls, prints."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupi_jax.errors import DivergedError, InputError

if TYPE_CHECKING:
    from lupi_jax.config import Config

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")

DESCRIPTION = """\
Find the same person across visible and infrared cameras.

to start with:
  lupi make-synthetic --out data/synthetic
  lupi train --config configs/synthetic.py --workdir runs/demo
  lupi evaluate --workdir runs/demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (training diverged), 2 (bad input), 130 (Ctrl-C)."""
    # JAX has set 1 by now. 3, since TensorFlow calls it an error that there is no GPU.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command is not _train:
        parser.error(f"unknown argument {rest[0]}")
    options.rest = rest
    try:
        from absl import logging

        logging.set_verbosity(logging.ERROR)  # Orbax and TFDS narrate
        options.command(options)
    except InputError as error:
        return _fail(error, 2)
    except DivergedError as error:
        return _fail(error, 1)
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; what was saved is intact", 130)
    return 0


def _fail(message: object, status: int) -> int:
    # One line, whatever a library or a user's config file wrote into its exception.
    print(f"lupi: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lupi", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=function)
        return sub

    def trained(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--workdir", type=Path, required=True, help="of a `lupi train` run")
        sub.add_argument(
            "--checkpoint", default="newest", metavar="WHICH", help="newest (default), best, a step"
        )

    def images(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--split", choices=("test", "train"), default="test")
        sub.add_argument("--data-root", help="where the images are, if not where training had them")

    sub = command(
        "make-synthetic",
        _make_synthetic,
        "write a data set of rendered people as real image files",
        "lupi make-synthetic --out data/synthetic --layout folder --identities 96 --seed 0",
    )
    sub.add_argument("--out", type=Path, required=True, help="directory to write")
    sub.add_argument("--layout", choices=("folder", "sysu", "regdb"), default="folder")
    sub.add_argument("--identities", type=int, default=96)
    sub.add_argument("--seed", type=int, default=0)

    sub = command(
        "train",
        _train,
        "train a network, or go on with a run",
        "lupi train --config configs/synthetic.py --workdir runs/demo --config.steps=600",
    )
    sub.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="a Python file")
    sub.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    sub.usage = "lupi train --config FILE[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]"

    sub = command(
        "evaluate",
        _evaluate,
        "measure a run on people never seen in training",
        "lupi evaluate --workdir runs/demo",
    )
    trained(sub)
    images(sub)
    sub.add_argument("--untrained", action="store_true", help="the network before its first step")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")

    sub = command(
        "export",
        _export,
        "write features to a NumPy file",
        "lupi export --workdir runs/demo --split test --out features.npz",
    )
    trained(sub)
    images(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.npz")

    sub = command(
        "search",
        _search,
        "rank a gallery for your own query images",
        "lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png",
    )
    trained(sub)
    _add_search_arguments(sub)
    return parser


def _add_search_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--query", type=Path, required=True, help="an image, or a folder of images")
    sub.add_argument(
        "--gallery", type=Path, required=True, help="a folder of images, or an exported .npz"
    )
    sub.add_argument("--query-modality", choices=("infrared", "visible"), default="infrared")
    sub.add_argument("--gallery-modality", choices=("infrared", "visible"), default="visible")
    sub.add_argument("--top", type=int, default=10)
    sub.add_argument("--out", type=Path, metavar="PICTURE", help="ranking picture to write")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _make_synthetic(options: argparse.Namespace) -> None:
    from lupi_jax.data.synthetic import LAYOUTS

    write = LAYOUTS[options.layout]
    written = write(options.out, identities=options.identities, seed=options.seed)
    state = "wrote" if written else "already there:"
    print(f"{state} {options.out}: {options.identities} people", file=sys.stderr)


def _train(options: argparse.Namespace) -> None:
    from lupi_jax.config_file import load_config, parse_overrides
    from lupi_jax.evaluation import validate
    from lupi_jax.training import train

    train(load_config(options.config, parse_overrides(options.rest)), options.workdir, validate)
    print(f"trained; next: lupi evaluate --workdir {options.workdir}", file=sys.stderr)


def _evaluate(options: argparse.Namespace) -> None:
    from lupi_jax.evaluation import evaluate
    from lupi_jax.evaluation.protocols import DIRECTIONS, NAME, all_against_all
    from lupi_jax.evaluation.ranking import ranking_rows
    from lupi_jax.pictures import ranking_picture, training_curves
    from lupi_jax.training import load_run
    from lupi_jax.training.logging import read_metrics

    run = load_run(options.workdir, options.checkpoint, options.untrained)
    config = _moved(run.config, options.data_root)
    features, results = evaluate(config, run.model, run.variables, options.split)
    data, index = config.data, features.index
    result = {
        **run.record,
        "protocol": NAME,
        "split": options.split,
        "images": {"root": data.root, "fingerprint": index.fingerprint},
        "step": run.step,
        "results": results,
    }
    folder = options.workdir / "evaluation"
    name = f"{options.split}-step{run.step}"
    if options.data_root:
        name += f"-{index.fingerprint}"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    pictures = []
    if run.step:
        for query, gallery in DIRECTIONS:
            trial = all_against_all(index.modalities, query, gallery)
            picture = folder / f"{name}-{query}-to-{gallery}.png"
            ranking_picture(picture, ranking_rows(features, trial, data.image_size))
            pictures.append(picture)
        rows = read_metrics(options.workdir)
        if rows:
            pictures.append(folder / "training.png")
            training_curves(pictures[-1], rows)
    if options.json:
        print(json.dumps(result))
    else:
        state = f"step {run.step}" if run.step else "untrained"
        _print_results(f"{data.name} {data.root}, {options.split}, {state}", results)
    for path in (folder / f"{name}.json", *pictures):
        print(f"wrote {path}", file=sys.stderr)


def _moved(config: "Config", root: str | None) -> "Config":
    """A run's configuration with its images at `root`, if given."""
    if root is None:
        return config
    return dataclasses.replace(config, data=dataclasses.replace(config.data, root=root))


def _print_results(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    figures = {"rank1": "R1", "rank5": "R5", "rank10": "R10", "rank20": "R20",
               "mean_ap": "mAP", "mean_inp": "mINP"}  # fmt: skip
    table = Table(title=f"{title} (percent)")
    for heading in ("query -> gallery", "feature", "queries", "gallery"):
        table.add_column(heading)
    for heading in figures.values():
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row['query']} -> {row['gallery']}",
            row["feature"],
            str(row["valid_queries"]),
            str(row["gallery_images"]),
            *(f"{100 * row[name]:.2f}" for name in figures),
        )
    _console().print(table)


def _console() -> Any:
    """stdout; in a pipe or a file as wide as its content, never cut."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def _export(options: argparse.Namespace) -> None:
    from lupi_jax.data import read_index
    from lupi_jax.evaluation import embed_index
    from lupi_jax.training import load_run

    if options.out.suffix != ".npz":
        raise InputError(f"--out {options.out}: features are written to a .npz file")
    run = load_run(options.workdir, options.checkpoint)
    data = _moved(run.config, options.data_root).data
    index = read_index(data, options.split)
    features = embed_index(run.model, run.variables, index, data.image_size, data.workers)
    features.save(options.out)
    print(f"wrote {options.out}: {len(index)} x {features.neck.shape[1]} features", file=sys.stderr)


def _search(options: argparse.Namespace) -> None:
    from rich.table import Table

    from lupi_jax.data import read_any_images
    from lupi_jax.evaluation import embed_index, load_features
    from lupi_jax.evaluation.ranking import nearest, ranking_row
    from lupi_jax.modality import Modality
    from lupi_jax.pictures import ranking_picture
    from lupi_jax.training import load_run

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
    run = load_run(options.workdir, options.checkpoint)
    data = run.config.data
    if gallery is None:
        assert images is not None
        gallery = embed_index(run.model, run.variables, images, data.image_size, data.workers)
    query = embed_index(run.model, run.variables, queries, data.image_size, data.workers)
    if gallery.neck.shape[1] != query.neck.shape[1]:
        raise InputError(
            f"{options.gallery} holds features of length {gallery.neck.shape[1]}, the network of "
            f"{options.workdir} makes {query.neck.shape[1]}: export them anew"
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
        table = Table(title=f"{options.query_modality} -> {options.gallery_modality}")
        for heading in ("query", "rank", "distance", "image"):
            table.add_column(heading)
        for row in found:
            table.add_row(row["query"], str(row["rank"]), f"{row['distance']:.4f}", row["path"])
        _console().print(table)
    if options.out:
        shown = range(min(len(queries), 10))
        ranking_picture(
            options.out,
            [ranking_row(query, i, gallery, rows[i][:10], data.image_size) for i in shown],
        )
        print(f"wrote {options.out}", file=sys.stderr)
