"""`lupi make-synthetic`, `lupi check-data` and `lupi prepare`: what comes before training."""

import argparse
import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence

from lupi_jax.cli.console import interrupted, print_table, say
from lupi_jax.config import SourceConfig
from lupi_jax.data import prepare as prepare_images
from lupi_jax.data import read_every_image
from lupi_jax.data.sources.check import check_data as check
from lupi_jax.data.sources.counts import Count
from lupi_jax.errors import InputError
from lupi_jax.runtime.terminal import showing
from lupi_jax.synthetic import LAYOUTS

FEW = 5
"""Problems of one kind that a terminal shows."""


def make_synthetic(options: argparse.Namespace) -> None:
    """Write a data set of rendered people.

    Raises:
      InputError: a number is out of range, or the folder holds something else.
    """
    named = ("height", "width", "images_per_modality", "like")
    asked = {name: getattr(options, name) for name in named}

    def saved() -> str:
        return (
            f"the pictures written so far in {options.out} are kept: the same command goes on "
            "from there"
        )

    with interrupted(saved), showing() as show:
        written = LAYOUTS[options.layout](
            options.out,
            identities=options.identities,
            seed=options.seed,
            workers=options.workers,
            progress=show("pictures"),
            **{name: value for name, value in asked.items() if value is not None},
        )
    say(f"{'wrote' if written else 'already there:'} {options.out}")


def check_data(options: argparse.Namespace) -> None:
    """Check a data set's folder; print its counts and everything that is wrong.

    Raises:
      InputError: something is.
    """
    with interrupted(lambda: "a check writes nothing"), showing() as show:
        report = check(_source(options), show("images"))
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        expected = any(
            n is not None
            for row in report.rows
            for n in (row.expected_identities, row.expected_images)
        )
        wanted = (">identities due", ">images due") if expected else ()
        if report.rows:
            print_table(
                f"{options.data} {options.root}",
                ("split", "modality", "camera", ">identities", ">images", *wanted),
                [_cells(row, expected, options.data) for row in report.rows],
            )
        for line in _few(report.problems) if sys.stdout.isatty() else report.problems:
            print(line)
    if report.problems:
        count = len(report.problems)
        raise InputError(f"{options.root}: {count} problem{'s' * (count > 1)}, named above")
    say(f"{options.root}: nothing wrong")


def _few(problems: Sequence[str]) -> list[str]:
    """The first of every kind of problem, and how many more there are."""
    # A kind is what is left without names and numbers.
    kinds = [re.sub(r"( \(first of \d+\))?:|\S*[\d/\\'\"]\S*", "", problem) for problem in problems]
    lines, met = [], Counter[str]()
    counts = Counter(kinds)
    for problem, kind in zip(problems, kinds, strict=True):
        met[kind] += 1
        if met[kind] <= FEW:
            lines.append(problem)
        elif met[kind] == counts[kind]:
            lines.append(f"... and {counts[kind] - FEW} more such (all of them: add | cat)")
    return lines


def prepare(options: argparse.Namespace) -> None:
    """Decode and resize every image of a data set once.

    Raises:
      InputError: an image cannot be read, or the folder holds something else.
    """
    source = _source(options)
    size = _size(options.size)
    index = read_every_image(source)
    say(f"{source.name} {source.root}: {len(index)} images to {size[0]} x {size[1]} pixels")

    def saved() -> str:
        shards = len(list(options.out.glob("images-*.npy")))
        return f"{shards} whole shards in {options.out} are kept: the same command goes on"

    with interrupted(saved), showing() as show:
        done = prepare_images(index, size, options.out, options.workers, show)
    for name in done.damaged:
        say(f"{options.out / name} was damaged and is made anew")
    say(
        f"{options.out}: {done.decoded} of {len(index)} images decoded"
        + (f", {done.kept} shards found whole by their checksums" if done.kept else "")
        + f"; next: --config.data.prepared={options.out} "
        f'--config.data.image_size="{size}"'
    )


def _cells(row: Count, expected: bool, data: str) -> list[object]:
    def due(found: int, wanted: int | None) -> str:
        return "" if wanted is None else f"{wanted}{'' if wanted == found else ' (!)'}"

    split = "train + val" if (data, row.split) == ("sysu", "train") else row.split
    counts = [split, row.modality, "all" if row.camera is None else row.camera]
    found = [row.identities, row.images]
    wanted = [due(row.identities, row.expected_identities), due(row.images, row.expected_images)]
    return [*counts, *found, *(wanted if expected else [])]


def _source(options: argparse.Namespace) -> SourceConfig:
    if options.index and options.data != "folder":
        raise InputError("--index describes images of --data folder: leave it out")
    return SourceConfig(
        name=options.data, root=options.root, index=options.index, workers=options.workers
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()) or min(int(height), int(width)) < 32:
        raise InputError(
            f"--size {text}: give height x width in pixels, at least 32x32, as 288x144"
        )
    return int(height), int(width)
