"""Finds the images of a data set that have changed since a run read them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lupi_jax.config import SourceConfig
from lupi_jax.data.contents import File, changed, parse_files
from lupi_jax.data.sources.files import leads_out
from lupi_jax.errors import InputError, shown
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.progress import Show


def files_of(run: str | os.PathLike[str]) -> list[File]:
    """The files that a run has read, with checksums.

    Raises:
      InputError: the directory holds no checkpoint, or the checkpoint lacks checksums.
    """
    from lupi_jax.training.checkpoints import Checkpoints

    with Checkpoints(expand(run), read_only=True) as checkpoints:
        record = checkpoints.run(checkpoints.find("newest"))
    files = parse_files(record.get("files", []))
    unread = sum(not file.digest for file in files)
    if unread or not files:
        what = f"of {unread} of its images" if files else "of its images"
        raise InputError(
            f"--run {run}: checksums {what} are missing, because an older version trained this "
            "run or it stopped too early: train on, or leave out --run"
        )
    return files


def changed_since(
    source: SourceConfig, run: str | os.PathLike[str], files: Sequence[File], show: Show
) -> Iterator[str]:
    """A line for every file of a data set that differs from the one that a run has read."""
    root = expand(source.root)
    there = [file for file in files if not leads_out(file.path)]
    for path in changed(root, there, source.workers, fully=True, show=show):
        yield shown(
            f"{Path(root) / path} has changed since {run} read it: restore it, or train again in "
            "another --workdir"
        )
