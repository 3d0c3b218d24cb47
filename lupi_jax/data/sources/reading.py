"""A configured data set to its index: the one place that knows every reader."""

import dataclasses
from pathlib import Path

import numpy as np

from lupi_jax.config import SourceConfig
from lupi_jax.data.index import DISTRACTOR, JUNK, Index, concatenate, hold_out
from lupi_jax.data.sources.files import SPLITS, ZERO, OnFault, refuse
from lupi_jax.data.sources.folder import read_folder
from lupi_jax.data.sources.llcm import read_llcm
from lupi_jax.data.sources.manifest import read_manifest
from lupi_jax.data.sources.regdb import TRIALS, read_regdb
from lupi_jax.data.sources.sysu_mm01 import read_sysu
from lupi_jax.data.sources.table import read_table
from lupi_jax.errors import InputError


def read_index(source: SourceConfig, split: str, report: OnFault = refuse) -> Index:
    """Index one split of a source: "train", "test", or "val" where it has one.

    SYSU-MM01's "train" holds its "val", as the field trains on both; an index file's does not.
    Junk and distractors are in it.

    Args:
      source: which data set, where, and which split of RegDB.
      split: its name.
      report: told of every fault that leaves something to read; by default the first is raised.

    Raises:
      InputError: the data are missing, incomplete or misnamed, have no such split, or do not say
        whether identity 0 beside junk is a person.
    """
    index = _read_index(source, split, report)
    require_zero(source, split, index, report)
    return dataclasses.replace(index, distractors=has_distractors(source))


def require_zero(source: SourceConfig, split: str, index: Index, report: OnFault) -> None:
    """Check that somebody said what identity 0 is, where there is junk as on Market-1501."""
    if source.identity_zero == "auto" and {JUNK, DISTRACTOR} <= set(index.identities.tolist()):
        where = source.index or source.root
        report(
            where,
            f"{where}, split {split}: identity 0 beside junk (-1): say by {ZERO} whether it is a "
            "person or, as in Market-1501, distractor",
        )


def has_distractors(source: SourceConfig) -> bool:
    """Whether identity 0 of a source is nobody."""
    return source.identity_zero == "distractor"


def _read_index(source: SourceConfig, split: str, report: OnFault) -> Index:
    if source.index:
        distractors = has_distractors(source)
        return read_table(source.index, source.root, split, report, distractors)
    match source.name:
        case "sysu":
            return read_sysu(source.root, split, report)
        case "regdb":
            return read_regdb(source.root, split, source.trial, report)
        case "llcm":
            return read_llcm(source.root, split, report)
        case "synthetic" if Path(source.root).is_dir():
            read_manifest(Path(source.root))
    return read_folder(source.root, split, report)


def read_searched(source: SourceConfig, split: str, seed: int) -> Index:
    """As `read_index`; "val" of a source that holds identities out by number is those.

    Raises:
      InputError: as `read_index`.
    """
    if split == "val" and source.validation_identities:
        held = read_training(source, seed)[1]
        assert held is not None
        return held
    return read_index(source, split)


def read_training(source: SourceConfig, seed: int) -> tuple[Index, Index | None]:
    """The images to train on, and those of the identities held out for validation (or None).

    Junk and distractors are not trained on.

    Args:
      source: its `validation_identities` or `validation_split` says who is held out.
      seed: draws the identities in the first case.

    Raises:
      InputError: as `read_index`, or too few identities are left.
    """
    index = read_index(source, "train")
    index = index[index.is_person]
    if not len(index):
        raise InputError(f"{index.root}: no training image is of a person: add some")
    if source.validation_identities:
        return hold_out(index, source.validation_identities, seed)
    if not source.validation_split:
        return index, None
    held = read_index(source, "val")
    return index[~np.isin(index.identities, held.classes)], held


def read_every_image(source: SourceConfig) -> Index:
    """All images of a source, of every split it has (and of RegDB's ten), each once, by path.

    Raises:
      InputError: as `read_index`.
    """
    if source.index:
        return read_table(source.index, source.root, None, distractors=has_distractors(source))
    sources, splits = [source], list(SPLITS)
    if source.name == "regdb":
        sources = [dataclasses.replace(source, trial=trial) for trial in TRIALS]
    if source.name in ("folder", "synthetic"):  # may have one split alone
        splits = [s for s in SPLITS if (Path(source.root) / s).is_dir()] or splits
    index = concatenate([read_index(part, split) for part in sources for split in splits])
    return index[np.unique(index.paths, return_index=True)[1]]
