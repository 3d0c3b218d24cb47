"""What the command line understands."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

DESCRIPTION = """\
Find the same person across visible and infrared cameras.

to start with:
  lupi make-synthetic --out data/synthetic
  lupi train --config configs/synthetic.py --workdir runs/demo
  lupi evaluate --workdir runs/demo
"""

Command = Callable[[str, tuple[str, str], str, str], argparse.ArgumentParser]
"""(name, (module of `lupi_jax.cli`, its function), help, example) -> that command's parser."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of `lupi`.

    What it gives has `command`, the module and the function to call, and `takes_fields`, whether
    what it did not understand may set fields of the configuration.
    """
    parser = argparse.ArgumentParser(
        prog="lupi",
        usage="lupi COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    # Help is said in few words: all of it is to fit a screen.
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="lupi"
    )
    summaries: list[tuple[str, str]] = []

    def command(
        name: str, function: tuple[str, str], help: str, example: str
    ) -> argparse.ArgumentParser:
        summaries.append((name, help))
        sub = commands.add_parser(
            name,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=function, takes_fields=False)
        return sub

    for add in (
        _make_synthetic,
        _check_data,
        _prepare,
        _train,
        _evaluate,
        _compare,
        _report,
        _export,
        _search,
        _parity,
    ):
        add(command)
    width = max(len(name) for name, _ in summaries)
    lines = "\n".join(f"  {name:{width}}  {help}" for name, help in summaries)
    parser.description = f"{DESCRIPTION}\ncommands (more of each: lupi COMMAND --help):\n{lines}"
    return parser


def _make_synthetic(command: Command) -> None:
    sub = command(
        "make-synthetic",
        ("data", "make_synthetic"),
        "write a data set of rendered people as real image files",
        "lupi make-synthetic --out data/synthetic --layout folder --identities 96 --seed 0",
    )
    _add_synthetic_arguments(sub)


def _check_data(command: Command) -> None:
    sub = command(
        "check-data",
        ("data", "check_data"),
        "find everything wrong with a data set before training on it",
        "lupi check-data --data sysu --root SYSU-MM01",
    )
    _add_source_arguments(sub)
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _prepare(command: Command) -> None:
    sub = command(
        "prepare",
        ("data", "prepare"),
        "decode and resize a data set's images once",
        "lupi prepare --data sysu --root SYSU-MM01 --size 288x144 --out prepared/sysu\n"
        "  lupi train --config configs/sysu.py --config.data.prepared=prepared/sysu ...",
    )
    _add_source_arguments(sub)
    sub.add_argument("--size", required=True, metavar="HxW", help="in pixels, as 288x144")
    sub.add_argument("--out", type=Path, required=True, help="directory to write, or to go on with")


def _train(command: Command) -> None:
    sub = command(
        "train",
        ("train", "train"),
        "train a network, or go on with a run",
        "lupi train --config configs/synthetic.py --workdir runs/demo --config.steps=600",
    )
    sub.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="a Python file")
    sub.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    _add_fetch(sub)
    _add_trials(sub, "one network a split, in WORKDIR/trial-N")
    sub.add_argument(
        "--profile",
        type=_not_negative,
        nargs="?",
        const=10,
        metavar="STEPS",
        help="print how long each phase takes, and trace STEPS steps (default 10, 0 for no trace) "
        "to WORKDIR/profile for TensorBoard",
    )
    _add_several(sub)
    sub.set_defaults(takes_fields=True)
    sub.usage = "lupi train --config FILE[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]"
    without_fields = sub.format_help

    def format_help() -> str:
        from lupi_jax.config import help_text  # the other commands need not wait for it

        return f"{without_fields()}\n{help_text()}\n"

    sub.format_help = format_help


def _evaluate(command: Command) -> None:
    sub = command(
        "evaluate",
        ("evaluate", "evaluate"),
        "measure a run on people never seen in training",
        "lupi evaluate --workdir runs/demo\n"
        "  lupi evaluate --workdir runs/demo \\\n"
        "      --config.evaluation.pairs=\"('visible_to_visible',)\"\n"
        "  lupi evaluate --config configs/sysu.py:released --checkpoint original.t",
    )
    _add_network(sub)
    _add_images(sub)
    _add_trials(sub, "the mean over RUN/trial-N, each on its own split")
    _add_untrained(sub)
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help="where JSON and pictures go (RUN/evaluation)"
    )
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sub.add_argument(
        "--profile", action="store_true", default=None, help="print how long each phase takes"
    )
    _add_several(sub)


def _compare(command: Command) -> None:
    sub = command(
        "compare",
        ("compare", "compare"),
        "compare runs: paired differences, how sure they are, curves",
        "lupi compare runs/baseline-0 runs/baseline-1 runs/paper-0 runs/paper-1 --out curves.png",
    )
    sub.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="directories of `lupi train`; those that differ in their seed alone are one method, "
        "and each method is compared with that of the first",
    )
    sub.add_argument("--checkpoint", metavar="newest|best|STEP", help="of each run (newest)")
    _add_images(sub)
    sub.add_argument("--out", type=Path, metavar="FILE", help="draw their curves into a picture")
    sub.add_argument("--json", action="store_true", help="print JSON instead of tables")
    sub.set_defaults(takes_fields=True)


def _report(command: Command) -> None:
    sub = command(
        "report",
        ("report", "report"),
        "write one page about a run: figures, curves, rankings",
        "lupi report --workdir runs/demo --out report.html",
    )
    sub.add_argument("--workdir", type=Path, required=True, metavar="RUN", help="of `lupi train`")
    sub.add_argument("--checkpoint", metavar="WHICH", help="newest (default), best, or a step")
    _add_images(sub)
    sub.add_argument("--out", type=Path, metavar="FILE", help="the page to write (RUN/report.html)")
    sub.set_defaults(takes_fields=True, config=None)


def _export(command: Command) -> None:
    sub = command(
        "export",
        ("export", "export"),
        "write features, or the network for use without this package",
        "lupi export --workdir runs/demo --split test --out features.npz\n"
        "  lupi export --workdir runs/demo --stablehlo network\n\n"
        "NETWORK holds a program of each modality, weights within, and artefact.json, which\n"
        "says what goes in and comes out. It needs JAX and flatbuffers, nothing else:\n"
        "  data = bytearray(Path('network/infrared.bin').read_bytes())\n"
        "  features = jax.export.deserialize(data).call(images)  # uint8 [n, h, w, 3], RGB",
    )
    _add_network(sub)
    _add_images(sub, default=None)
    _add_untrained(sub)
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--out",
        type=Path,
        metavar="PLACE",
        help="of features: a file .npz or .safetensors, or (a name without a suffix) a directory "
        "of arrays, which `lupi search` reads through memory maps",
    )
    what.add_argument(
        "--stablehlo",
        type=Path,
        metavar="NETWORK",
        help="of the network: a directory of programs for CPUs, GPUs and TPUs (jax.export)",
    )
    sub.add_argument(
        "--feature",
        choices=("neck", "pooled"),
        help="of --stablehlo: after the BN neck (default) or before it",
    )
    _add_several(sub)


def _search(command: Command) -> None:
    sub = command(
        "search",
        ("search", "search"),
        "rank a gallery for your own query images",
        "lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png",
    )
    _add_network(sub)
    _add_search_arguments(sub)


def _parity(command: Command) -> None:
    sub = command(
        "parity",
        ("parity", "compare"),
        "compare with the released PyTorch code's numbers",
        "lupi parity --case resnet18_base",
    )
    _add_parity_arguments(sub)


def _add_network(sub: argparse.ArgumentParser) -> None:
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


def _add_images(sub: argparse.ArgumentParser, default: str | None = "test") -> None:
    splits = ("test", "val", "train")
    sub.add_argument("--split", choices=splits, default=default, help="of the data (test)")
    sub.add_argument("--data-root", help="where the images are, if not where training had them")


def _add_several(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("several processes as one run (README)")
    group.add_argument(
        "--distributed",
        choices=("auto", "on", "off"),
        default="auto",
        help="auto joins the others under Slurm, Kubernetes, MPI, or on a TPU pod",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which this is, from 0")


def _add_fetch(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--fetch", action="store_true", help="download pretrained weights that the cache lacks"
    )


def _add_untrained(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--untrained", action="store_true", help="the network before its first step")
    _add_fetch(sub)


def _add_trials(sub: argparse.ArgumentParser, what: str) -> None:
    sub.add_argument("--trials", metavar="WHICH", help=f"RegDB: all, 3, 1,4 or 2..5: {what}")


def _add_synthetic_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, help="directory to write")
    sub.add_argument("--layout", choices=("folder", "sysu", "regdb", "llcm"), default="folder")
    sub.add_argument(
        "--like",
        type=Path,
        metavar="LISTS",
        help="the published lists (SYSU-MM01's exp/, RegDB's or LLCM's idx/): a stand-in of the "
        "whole data set",
    )
    sub.add_argument("--identities", type=int, help="people (96; with --like those of the lists)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--images-per-modality", type=int, help="of each person (8; RegDB 10)")
    sub.add_argument("--height", type=int, help="of a picture, in pixels (144)")
    sub.add_argument("--width", type=int, help="of a picture, in pixels (72)")
    _add_workers(sub)


def _add_source_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--data", required=True, choices=("sysu", "regdb", "llcm", "folder", "synthetic")
    )
    sub.add_argument("--root", required=True, help="the data set's directory")
    sub.add_argument(
        "--index",
        default="",
        metavar="FILE",
        help="of --data folder: a CSV or Parquet table with the columns path (below the root), "
        "identity, camera, modality (visible, infrared), split (train, val, test)",
    )
    _add_workers(sub)


def _add_workers(sub: argparse.ArgumentParser) -> None:
    cores = os.cpu_count() or 1
    sub.add_argument("--workers", type=_positive, default=cores, help=f"at once ({cores})")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: give a whole number, 0 or more")
    return int(text)


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
        "--gallery", type=Path, required=True, help="a folder of images, or exported features"
    )
    modalities = ("infrared", "visible")
    for what, default in (("query", "infrared"), ("gallery", "visible")):
        what = f"--{what}-modality"
        sub.add_argument(what, choices=modalities, default=default, help=f"({default})")
    sub.add_argument("--top", type=int, default=10, help="images listed for each query (10)")
    sub.add_argument(
        "--out", type=Path, metavar="PICTURE", help="draw ten queries, with ten images each"
    )
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
