"""`lupi prepare`: decode and resize a data set's images once."""

import argparse
import re
from pathlib import Path

import lupi_jax as lupi
from lupi_jax.cli.console import say
from lupi_jax.cli.source import add_source, source_of
from lupi_jax.errors import InputError

SUMMARY = "decode and resize a data set's images once"
EXAMPLE = """lupi prepare --data sysu --root SYSU-MM01 --size 288x144 --out prepared/sysu
  lupi train --config configs/sysu.py --config.data.prepared=prepared/sysu ..."""
NEEDS = ("data",)
SAVED = "the whole shards written so far are kept; run the same command to continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi prepare`."""
    add_source(parser)
    add = parser.add_argument
    size = "height and width of the images in pixels, such as 288x144 (required)"
    add("--size", required=True, metavar="HxW", help=size)
    out = "directory to write or to complete (required)"
    add("--out", type=Path, required=True, metavar="DIR", help=out)


def run(options: argparse.Namespace) -> None:
    """Decode and resize every image of a data set once."""
    from lupi_jax.runtime.terminal import showing

    source, size = source_of(options), _parse_size(options.size)
    with showing() as show:
        done = lupi.prepare_data(source, size, options.out, show)
    for name in done.damaged:
        say(f"{options.out / name} was damaged and has been written again")
    kept = f", {done.kept} shards kept (their checksums match)" if done.kept else ""
    say(
        f"{options.out}: {done.decoded} of {done.images} images decoded{kept}; next: "
        f'--config.data.prepared={options.out} --config.data.image_size="{size}"'
    )


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(size) < 32:
        raise InputError(f"--size {text}: give HEIGHTxWIDTH in pixels, at least 32x32")
    return size
