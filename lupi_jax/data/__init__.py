"""Disk to batches of uint8: sources, the identity sampler, and two feeds that agree."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lupi_jax.config import Config, SourceConfig
from lupi_jax.data.batches import Batch, HostRows
from lupi_jax.data.folder import read_any_images, read_folder
from lupi_jax.data.images import read_image, read_images
from lupi_jax.data.index import Index, hold_out, require_modalities
from lupi_jax.data.llcm import read_llcm
from lupi_jax.data.memmap import decode_to_memmap, memmap_batches
from lupi_jax.data.pipeline import tfdata_batches
from lupi_jax.data.regdb import read_regdb
from lupi_jax.data.sampler import IdentitySampler, RowsByLabel
from lupi_jax.data.synthetic import read_manifest
from lupi_jax.data.sysu_mm01 import read_permutations, read_sysu
from lupi_jax.modality import Modality

__all__ = [
    "Batch",
    "HostRows",
    "IdentitySampler",
    "Index",
    "RowsByLabel",
    "hold_out",
    "make_feed",
    "make_sampler",
    "read_any_images",
    "read_folder",
    "read_image",
    "read_images",
    "read_index",
    "read_llcm",
    "read_permutations",
    "read_regdb",
    "read_sysu",
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
    """Index one split ("train" or "test") of a source.

    Raises:
      InputError: the data are missing, incomplete or misnamed.
    """
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
        return lambda start, stop: tfdata_batches(
            index, data.image_size, sampler, names, start, stop, host, data.workers, data.prefetch
        )
    pixels = decode_to_memmap(index, data.image_size, cache, data.workers)
    return lambda start, stop: memmap_batches(
        pixels, sampler, names, start, stop, host, data.prefetch
    )
