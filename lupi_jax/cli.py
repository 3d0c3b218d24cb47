"""The command line: parses, and calls `lupi_jax.commands`."""

import argparse
import errno
import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CoroutineType

from lupi_jax import hosts
from lupi_jax.errors import DivergedError, InputError, MismatchError, StoppedError

STOPPED_STATUS = 75
"""EX_TEMPFAIL: training stopped after saving; the same command goes on."""

LOST_STATUS = 76
"""Another process of the run is gone (or hangs: `lupi_jax.hosts.Watchdog`)."""

DESCRIPTION = """\
Find the same person across visible and infrared cameras.

to start with:
  lupi make-synthetic --out data/synthetic
  lupi train --config configs/synthetic.py --workdir runs/demo
  lupi evaluate --workdir runs/demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
      The exit status: 0; 1, training diverged, or no parity; 2, bad input; 75, training was asked
      to stop, and saved; 76, another process of the run is lost or hangs; 130, interrupted.
    """
    # JAX has set 1 by now. 3, since TensorFlow calls it an error that there is no GPU.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unknown argument {rest[0]}")
    options.rest = rest
    try:
        _quieten()
        if hasattr(options, "distributed"):
            joined = (options.coordinator, options.processes, options.process)
            hosts.join(options.distributed, *joined, stops=options.command == ("train", "train"))
        module, function = options.command
        # Imported by its command alone: `lupi --help` need not wait for JAX and Orbax.
        getattr(importlib.import_module(f"lupi_jax.commands.{module}"), function)(options)
    except BaseException as error:
        status, message = _verdict(error)
        if status is not None:
            return _fail(message, status)
        if hosts.joined():
            traceback.print_exc()
            _fail("stopped by a fault of its own", 1)
        raise
    return 0


def _verdict(error: BaseException) -> tuple[int | None, str]:
    """Exit status and message for what ended a command; None for a fault of this package."""
    match error:
        case InputError():
            return 2, str(error)
        case DivergedError() | MismatchError():
            return 1, str(error)
        case OSError() if error.filename is not None:
            return 2, f"{error.filename}: {error.strerror}"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return 2, f"{error.strerror}: make room; what was saved is intact"
        case StoppedError():
            return STOPPED_STATUS, f"{error}; the same command goes on"
        case hosts.LOST() if hosts.joined():
            return LOST_STATUS, f"another process of this run is lost ({error})"
        case KeyboardInterrupt():
            return 130, "interrupted; what was saved is intact"
    return None, ""


def _quieten() -> None:
    """Keep libraries from logging what they raise as well, with tracebacks, and from narrating."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax and TFDS
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Orbax's tasks
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # every try of a dead network
    sys.unraisablehook = _unraisable


def _unraisable(caught: "sys.UnraisableHookArgs") -> None:
    # After one of Orbax's tasks has failed, which is raised, the others fail unseen.
    if isinstance(caught.object, CoroutineType) or "loop is closed" in str(caught.exc_value):
        return
    sys.__unraisablehook__(caught)


def _fail(message: object, status: int) -> int:
    # One line, whatever a library or a user's config file wrote into its exception.
    text = " ".join(str(message).split())
    print(f"lupi: {text if len(text) < 1000 else text[:1000] + ' ...'}", file=sys.stderr)
    if hosts.joined() and status != STOPPED_STATUS:
        # Leaving properly means waiting for the others, who may be waiting for this one. The first
        # goes last: without it JAX aborts the others before they have said why they end.
        sys.stdout.flush()
        sys.stderr.flush()
        if hosts.is_first():
            time.sleep(3)
        os._exit(status)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lupi", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, function: tuple[str, str], help: str, example: str
    ) -> argparse.ArgumentParser:
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
        sub.add_argument("--split", choices=("test", "val", "train"), default="test")
        sub.add_argument("--data-root", help="where the images are, if not where training had them")

    def several(sub: argparse.ArgumentParser) -> None:
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

    def fetch(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--fetch", action="store_true", help="download pretrained weights that the cache lacks"
        )

    def trials(sub: argparse.ArgumentParser, what: str) -> None:
        sub.add_argument("--trials", metavar="WHICH", help=f"RegDB: all, 3, 1,4 or 2..5: {what}")

    sub = command(
        "make-synthetic",
        ("data", "make_synthetic"),
        "write a data set of rendered people as real image files",
        "lupi make-synthetic --out data/synthetic --layout folder --identities 96 --seed 0",
    )
    _add_synthetic_arguments(sub)

    sub = command(
        "check-data",
        ("data", "check_data"),
        "find everything wrong with a data set before training on it",
        "lupi check-data --data sysu --root SYSU-MM01",
    )
    _add_source_arguments(sub)
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")

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

    sub = command(
        "train",
        ("train", "train"),
        "train a network, or go on with a run",
        "lupi train --config configs/synthetic.py --workdir runs/demo --config.steps=600",
    )
    sub.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="a Python file")
    sub.add_argument("--workdir", type=Path, required=True, help="directory of the run")
    fetch(sub)
    trials(sub, "one network a split, in WORKDIR/trial-N")
    several(sub)
    sub.set_defaults(takes_fields=True)
    sub.usage = "lupi train --config FILE[:VARIANT] --workdir DIR [--config.FIELD=VALUE ...]"

    sub = command(
        "evaluate",
        ("evaluate", "evaluate"),
        "measure a run on people never seen in training",
        "lupi evaluate --workdir runs/demo\n"
        "  lupi evaluate --workdir runs/demo \\\n"
        "      --config.evaluation.pairs=\"('visible_to_visible',)\"\n"
        "  lupi evaluate --config configs/sysu.py:released --checkpoint original.t",
    )
    network(sub)
    images(sub)
    trials(sub, "the mean over RUN/trial-N, each on its own split")
    sub.add_argument("--untrained", action="store_true", help="the network before its first step")
    fetch(sub)
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help="where JSON and pictures go (RUN/evaluation)"
    )
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
    several(sub)

    sub = command(
        "export",
        ("search", "export"),
        "write features to a NumPy file",
        "lupi export --workdir runs/demo --split test --out features.npz",
    )
    network(sub)
    images(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    several(sub)

    sub = command(
        "search",
        ("search", "search"),
        "rank a gallery for your own query images",
        "lupi search --workdir runs/demo --query some.jpg --gallery folder/ --out ranking.png",
    )
    network(sub)
    _add_search_arguments(sub)

    sub = command(
        "parity",
        ("parity", "compare"),
        "compare with the released PyTorch code's numbers, without PyTorch",
        "lupi parity --case resnet18_base",
    )
    _add_parity_arguments(sub)
    return parser


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
        "--index", default="", metavar="FILE", help="of --data folder: a CSV or Parquet index"
    )
    _add_workers(sub)


def _add_workers(sub: argparse.ArgumentParser) -> None:
    cores = os.cpu_count() or 1
    sub.add_argument("--workers", type=_positive, default=cores, help=f"at once ({cores})")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
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
        "--gallery", type=Path, required=True, help="a folder of images, or an exported .npz"
    )
    sub.add_argument("--query-modality", choices=("infrared", "visible"), default="infrared")
    sub.add_argument("--gallery-modality", choices=("infrared", "visible"), default="visible")
    sub.add_argument("--top", type=int, default=10)
    sub.add_argument("--out", type=Path, metavar="PICTURE", help="ranking picture to write")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
