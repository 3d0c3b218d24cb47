"""Disk to batches of uint8: sources, the identity sampler, and two feeds that agree."""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lupi_jax.config import Config, SourceConfig
from lupi_jax.data.batches import Batch, HostRows
from lupi_jax.data.folder import SPLITS, read_any_images, read_folder
from lupi_jax.data.images import ReadRow, file_reader, read_image, read_images, read_rows
from lupi_jax.data.index import Index, concatenate, hold_out, require_modalities
from lupi_jax.data.llcm import read_llcm
from lupi_jax.data.memmap import memmap_batches
from lupi_jax.data.pipeline import tfdata_batches
from lupi_jax.data.prepared import cache_folder, is_prepared, prepare, prepared_reader
from lupi_jax.data.regdb import TRIALS, read_regdb
from lupi_jax.data.sampler import IdentitySampler, RowsByLabel
from lupi_jax.data.synthetic import read_manifest
from lupi_jax.data.sysu_mm01 import read_permutations, read_sysu
from lupi_jax.data.table import read_table
from lupi_jax.hosts import is_first, wait_for_all
from lupi_jax.modality import Modality

__all__ = [
    "Batch",
    "HostRows",
    "IdentitySampler",
    "Index",
    "RowsByLabel",
    "hold_out",
    "make_feed",
    "make_reader",
    "make_sampler",
    "prepare",
    "read_any_images",
    "read_every_image",
    "read_folder",
    "read_image",
    "read_images",
    "read_index",
    "read_llcm",
    "read_permutations",
    "read_regdb",
    "read_rows",
    "read_sysu",
    "read_training",
    "require_modalities",
    "source_modalities",
]


def source_modalities(modalities: tuple[str, ...]) -> tuple[Modality, ...]:
    """The modalities that are read from disk to train on `modalities`, visible first.

    The intermediate modality is made of visible images.
    """
    wanted = {Modality.VISIBLE if m == Modality.INTERMEDIATE else Modality(m) for m in modalities}
    return tuple(m for m in Modality if m in wanted)


def read_index(source: SourceConfig, split: str) -> Index:
    """Index one split of a source: "train", "test", or "val" where it has one.

    SYSU-MM01's "train" holds its "val", as the field trains on both; an index file's does not.

    Raises:
      InputError: the data are missing, incomplete or misnamed, or have no such split.
    """
    if source.index:
        return read_table(source.index, source.root, split)
    match source.name:
        case "sysu":
            return read_sysu(source.root, split)
        case "regdb":
            return read_regdb(source.root, split, source.trial)
        case "llcm":
            return read_llcm(source.root, split)
        case "synthetic" if Path(source.root).is_dir():
            read_manifest(Path(source.root))
    return read_folder(source.root, split)


def read_training(source: SourceConfig, seed: int) -> tuple[Index, Index | None]:
    """The images to train on, and those of the identities held out for validation (or None).

    Args:
      source: its `validation_identities` or `validation_split` says who is held out.
      seed: draws them in the first case.

    Raises:
      InputError: as `read_index`, or too few identities are left.
    """
    index = read_index(source, "train")
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
        return read_table(source.index, source.root, None)
    sources, splits = [source], list(SPLITS)
    if source.name == "regdb":
        sources = [dataclasses.replace(source, trial=trial) for trial in TRIALS]
    if source.name in ("folder", "synthetic"):  # may have one split alone
        splits = [s for s in SPLITS if (Path(source.root) / s).is_dir()] or splits
    index = concatenate([read_index(part, split) for part in sources for split in splits])
    return index[np.unique(index.paths, return_index=True)[1]]


def make_reader(index: Index, size: tuple[int, int], prepared: str | Path = "") -> ReadRow:
    """Reads images of `index` at `size` = (height, width), from a prepared set where one is given.

    Raises:
      InputError: the prepared set is not whole, or not of these images at this size.
    """
    return prepared_reader(prepared, index, size) if prepared else file_reader(index, size)


def make_sampler(index: Index, config: Config) -> IdentitySampler:
    """The P x K sampler over `index` that `config` describes."""
    labels = index.labels
    classes = len(index.classes)
    tables = []
    for modality in source_modalities(config.modalities):
        rows = np.flatnonzero(index.modalities == modality)
        tables.append(RowsByLabel.group(rows, labels[rows], classes))
    return IdentitySampler(
        config.seed, tuple(tables), classes, config.batch.identities, config.batch.images
    )


def make_feed(
    index: Index, sampler: IdentitySampler, config: Config, cache: Path, host: HostRows
) -> Callable[[int, int], Iterator[Batch]]:
    """A feed (start, stop) -> batches of steps start..stop - 1, as `config.data.feed` says.

    Args:
      index: training images.
      sampler: which of them make up a batch.
      config: the run's configuration.
      cache: directory for the memory-mapped feed's decoded images.
      host: which rows of a batch this process feeds.
    """
    data = config.data
    names = tuple(str(m) for m in source_modalities(config.modalities))
    installed = importlib.util.find_spec("tensorflow") is not None
    if data.feed == "tfdata" or (data.feed == "auto" and installed):
        read = make_reader(index, data.image_size, data.prepared)
        return lambda start, stop: tfdata_batches(
            read, data.image_size, sampler, names, start, stop, host, data.workers, data.prefetch
        )
    prepared = Path(data.prepared) if data.prepared else cache_folder(cache, index, data.image_size)
    if not data.prepared:
        # Of several processes the first does it; the others only where they share no folder.
        if is_first() and not is_prepared(prepared):
            prepare(index, data.image_size, prepared, data.workers)
        wait_for_all("images are prepared")
        if not is_prepared(prepared):
            prepare(index, data.image_size, prepared, data.workers)
    read = prepared_reader(prepared, index, data.image_size)
    return lambda start, stop: memmap_batches(
        read, sampler, names, start, stop, host, data.prefetch
    )
