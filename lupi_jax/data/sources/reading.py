"""Calls the reader of the configured data set; no other module knows all readers."""

import dataclasses
import os
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


def as_source(source: SourceConfig | str | os.PathLike[str]) -> SourceConfig:
    """A data set, or the one in the folder layout in a directory."""
    return source if isinstance(source, SourceConfig) else SourceConfig(root=os.fspath(source))


def read_index(source: SourceConfig, split: str, report: OnFault = refuse) -> Index:
    """Index one split of a source: "train", "test", or "val" if the source has one.

    SYSU-MM01's "train" contains its "val", because published models are trained on both. In a
    table of images the two are separate. The index includes junk and distractors.

    Args:
      source: the data set, its directory, and RegDB's trial.
      split: name of the split.
      report: called for every fault after which something can still be read; by default the first
        fault is raised.

    Raises:
      InputError: the data are missing, incomplete or misnamed, the split does not exist, or the
        split has junk and identity 0 and `source.identity_zero` is "auto".
    """
    index = _read_index(source, split, report)
    require_zero(source, split, index, report)
    return dataclasses.replace(index, distractors=has_distractors(source))


def require_zero(source: SourceConfig, split: str, index: Index, report: OnFault) -> None:
    """Check that the meaning of identity 0 is configured if a split has junk, as Market-1501."""
    if source.identity_zero == "auto" and {JUNK, DISTRACTOR} <= set(index.identities.tolist()):
        where = source.index or source.root
        report(
            where,
            f"{where}, split {split}: both identity 0 and junk (-1): set {ZERO} to person or, as "
            "in Market-1501, to distractor",
        )


def has_distractors(source: SourceConfig) -> bool:
    """Whether identity 0 of a source stands for distractors."""
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
    """The images of a split, in which queries and galleries are searched.

    If `source.validation_identities` holds out identities, "val" is these. Otherwise the split is
    what `read_index` gives.

    Raises:
      InputError: `read_index` or `read_training` raises it.
    """
    if split == "val" and source.validation_identities:
        held = read_training(source, seed)[1]
        assert held is not None
        return held
    return read_index(source, split)


def read_training(source: SourceConfig, seed: int) -> tuple[Index, Index | None]:
    """The images to train on, and the images held out for validation (or None).

    Junk and distractors are left out.

    Args:
      source: the data set; `validation_identities` or `validation_split` holds out identities.
      seed: draws the held-out identities if `validation_identities` is set.

    Raises:
      InputError: `read_index` raises it, or too few identities remain.
    """
    index = read_index(source, "train")
    index = index[index.is_person]
    if not len(index):
        raise InputError(f"{index.root}: no training image shows a person: add some")
    if source.validation_identities:
        return hold_out(index, source.validation_identities, seed)
    if not source.validation_split:
        return index, None
    held = read_index(source, "val")
    return index[~np.isin(index.identities, held.classes)], held


def read_every_image(source: SourceConfig) -> Index:
    """All images of a source, from all splits (and from RegDB's ten trials), each once, by path.

    Raises:
      InputError: `read_index` raises it.
    """
    if source.index:
        return read_table(source.index, source.root, None, distractors=has_distractors(source))
    sources, splits = [source], list(SPLITS)
    if source.name == "regdb":
        sources = [dataclasses.replace(source, trial=trial) for trial in TRIALS]
    if source.name in ("folder", "synthetic"):  # may have only one split
        splits = [s for s in SPLITS if (Path(source.root) / s).is_dir()] or splits
    index = concatenate([read_index(part, split) for part in sources for split in splits])
    return index[np.unique(index.paths, return_index=True)[1]]
