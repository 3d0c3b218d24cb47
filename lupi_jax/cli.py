"""The command line: parses, calls, prints."""

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lupi_jax.errors import DivergedError, InputError, MismatchError

if TYPE_CHECKING:
    from lupi_jax.parity import Row
    from lupi_jax.training import Run

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")

DESCRIPTION = """\
Find the same person across visible and infrared cameras.

to start with:
  lupi make-synthetic --out data/synthetic
  lupi train --config configs/synthetic.py --workdir runs/demo
  lupi evaluate --workdir runs/demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (diverged, or no parity), 2 (bad input), 130."""
    # JAX has set 1 by now. 3, since TensorFlow calls it an error that there is no GPU.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unknown argument {rest[0]}")
    options.rest = rest
    try:
        from absl import logging as absl_logging

        absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax and TFDS narrate
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # every try of a dead network
        options.command(options)
    except InputError as error:
        return _fail(error, 2)
    except (DivergedError, MismatchError) as error:
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
        sub.set_defaults(command=function, takes_fields=False)
        return sub

    def network(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--workdir", type=Path, metavar="RUN", help="of a `lupi train` run")
        sub.add_argument(
            "--checkpoint",
            metavar="WHICH",
            help="of a run: newest (default), best, a step; with --config: PyTorch weights",
        )
        sub.add_argument(
            "--config",
            metavar="FILE[:VARIANT]",
            help="instead of --workdir: what network --checkpoint is of",
        )
        sub.set_defaults(takes_fields=True)

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
    sub.set_defaults(takes_fields=True)
    sub.usage = "lupi train --config FILE[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]"

    sub = command(
        "evaluate",
        _evaluate,
        "measure a run on people never seen in training",
        "lupi evaluate --workdir runs/demo\n"
        "  lupi evaluate --workdir runs/demo \\\n"
        "      --config.evaluation.pairs=\"('visible_to_visible',)\"\n"
        "  lupi evaluate --config configs/sysu.py:released --checkpoint original.t",
    )
    network(sub)
    images(sub)
    sub.add_argument("--untrained", action="store_true", help="the network before its first step")
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help="where JSON and pictures go (RUN/evaluation)"
    )
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")

    sub = command(
        "export",
        _export,
        "write features to a NumPy file",
        "lupi export --workdir runs/demo --split test --out features.npz",
    )
    network(sub)
    images(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.npz")

    sub = command(
        "search",
        _search,
        "rank a gallery for your own query images",
        "lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png",
    )
    network(sub)
    _add_search_arguments(sub)

    sub = command(
        "parity",
        _parity,
        "compare with the released PyTorch code's numbers, without PyTorch",
        "lupi parity --case resnet18_base",
    )
    _add_parity_arguments(sub)
    return parser


def _add_parity_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--precision",
        choices=("float64", "float32", "bfloat16"),
        default="float64",
        help="of the network (float64); losses are compared in float32",
    )
    sub.add_argument(
        "--case", action="append", metavar="NAME", help="of a network; may be repeated (all)"
    )
    sub.add_argument(
        "--figures", type=Path, metavar="DIR", help="other golden files (the package's)"
    )
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")


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


def _load(options: argparse.Namespace, untrained: bool = False) -> "Run":
    """The network that --workdir, or --config and --checkpoint, ask for."""
    from lupi_jax.config_file import change_config, load_config, parse_overrides
    from lupi_jax.training import MOVABLE, load_run, load_untrained, load_weights

    overrides = parse_overrides(options.rest)
    if getattr(options, "data_root", None) is not None:
        overrides["data.root"] = options.data_root
    if (options.workdir is None) == (options.config is None):
        raise InputError(
            "which network? Give --workdir of a `lupi train` run, or --config and --checkpoint, a "
            "file of PyTorch weights"
        )
    if options.config is None:
        run = load_run(options.workdir, options.checkpoint or "newest", untrained)
        return dataclasses.replace(run, config=change_config(run.config, overrides, MOVABLE))
    config = load_config(options.config, overrides)
    if untrained:
        if options.checkpoint:
            raise InputError("--checkpoint is a trained network: leave out --untrained, or it")
        return load_untrained(config)
    if options.checkpoint is None:
        either = ", or --untrained" if hasattr(options, "untrained") else ""
        raise InputError(
            f"--config needs --checkpoint, a file of PyTorch weights{either}; a run of "
            "`lupi train` is given by --workdir alone"
        )
    return load_weights(config, options.checkpoint)


def _evaluate(options: argparse.Namespace) -> None:
    from lupi_jax.evaluation import evaluate
    from lupi_jax.evaluation.ranking import ranking_rows
    from lupi_jax.pictures import ranking_picture, training_curves
    from lupi_jax.training.logging import read_metrics

    run = _load(options, options.untrained)
    data = run.config.data
    found = evaluate(run.config, run.model, run.variables, options.split)
    fingerprint = found.features.index.fingerprint
    result = {
        **run.record,
        "config": dataclasses.asdict(run.config),
        "protocol": found.protocol,
        "split": options.split,
        "images": {"root": data.root, "fingerprint": fingerprint},
        "step": run.step,
        "results": found.rows,
    }
    if options.json:
        print(json.dumps(result))
    else:
        title = f"{data.name} {data.root}, {options.split}, {run.name}: {found.protocol}"
        _print_results(title, found.rows)
    folder = options.out or (options.workdir and options.workdir / "evaluation")
    if folder is None:
        return
    name = "-".join([options.split, *_result_name(run, fingerprint)])
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.json"]
    written[0].write_text(json.dumps(result, indent=1) + "\n")
    if run.name != "untrained":
        first = {(task.query, task.gallery): task for task in reversed(found.tasks)}
        for task in sorted(first.values(), key=found.tasks.index):
            picture = folder / f"{name}-{task.query}-to-{task.gallery}.png"
            rows = ranking_rows(found.features, task.trials[0], data.image_size)
            ranking_picture(picture, rows)
            written.append(picture)
        curves = read_metrics(options.workdir) if options.workdir else []
        if curves:
            written.append(folder / "training.png")
            training_curves(written[-1], curves)
    for path in written:
        print(f"wrote {path}", file=sys.stderr)


def _result_name(run: "Run", fingerprint: str) -> list[str]:
    """What tells this result from others of the network: its step, and what is not as trained."""
    trained, now = run.record["config"], run.config
    parts = [run.name if run.step is None else f"step{run.step}"]
    if now.data.root != trained["data"]["root"]:
        parts.append(fingerprint)
    before = trained.get("evaluation", {})
    for field, value in dataclasses.asdict(now.evaluation).items():
        if field in before and value != type(value)(before[field]):
            text = "+".join(value) if isinstance(value, tuple) else str(value)
            parts.append(f"{text}trials" if field == "trials" else text)
    return parts


def _print_results(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    figures = {"rank1": "R1", "rank5": "R5", "rank10": "R10", "rank20": "R20",
               "mean_ap": "mAP", "mean_inp": "mINP"}  # fmt: skip
    table = Table(title=f"{title} (percent)")
    for heading in ("query -> gallery", "search", "feature", "queries", "gallery"):
        table.add_column(heading)
    for heading in figures.values():
        table.add_column(heading, justify="right")

    def figure(row: dict[str, Any], name: str) -> str:
        spread = f" ± {100 * row['std'][name]:.2f}" if "std" in row else ""
        return f"{100 * row[name]:.2f}{spread}"

    for row in rows:
        table.add_row(
            f"{row['query']} -> {row['gallery']}",
            row["search"],
            row["feature"],
            str(row["valid_queries"]),
            str(row["gallery_images"]),
            *(figure(row, name) for name in figures),
        )
    _console().print(table)


def _console() -> Any:
    """stdout; in a pipe or a file as wide as its content, never cut."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def _export(options: argparse.Namespace) -> None:
    from lupi_jax.data import read_index
    from lupi_jax.evaluation import embed_index

    if options.out.suffix != ".npz":
        raise InputError(f"--out {options.out}: features are written to a .npz file")
    run = _load(options)
    data = run.config.data
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
    run = _load(options)
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


def _parity(options: argparse.Namespace) -> None:
    from lupi_jax import parity

    folder = options.figures or parity.FIGURES
    cases = [parity.load_network(name, folder) for name in options.case or parity.networks(folder)]
    rows: list[parity.Row] = []
    if not options.case:
        rows += parity.check_metrics(folder) + parity.check_losses(folder)
    for case in cases:
        print(f"{case.name}, {options.precision} ...", file=sys.stderr)
        rows += parity.check_network(case, options.precision)
    if options.json:
        print(json.dumps([{**dataclasses.asdict(row), "passed": row.passed} for row in rows]))
    elif options.markdown:
        print(parity.markdown(rows))
    else:
        _print_parity(rows)
    failed = [row for row in rows if not row.passed]
    if failed:
        raise MismatchError(
            f"{len(failed)} of {len(rows)} quantities are above their tolerance, first "
            f"{failed[0].case} {failed[0].quantity}: {failed[0].error:.1e}"
        )


def _print_parity(rows: "list[Row]") -> None:
    from rich.table import Table

    table = Table(title="against the released PyTorch code: maximum error over maximum value")
    for heading in ("case", "quantity"):
        table.add_column(heading)
    for heading in ("error", "tolerance", ""):
        table.add_column(heading, justify="right")
    for row in rows:
        verdict = "" if row.passed else "above"
        table.add_row(row.case, row.quantity, f"{row.error:.1e}", f"{row.tolerance:.1e}", verdict)
    _console().print(table)
