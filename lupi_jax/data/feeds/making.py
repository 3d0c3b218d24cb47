"""Makes the sampler, the reader and the feed that turn an index into batches."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lupi_jax.config import Config, SourceConfig
from lupi_jax.data.feeds.cached import cached_reader
from lupi_jax.data.feeds.prepared import prepared_reader
from lupi_jax.data.feeds.sampler import Batch, HostRows, IdentitySampler, RowsByLabel
from lupi_jax.data.feeds.tfdata import import_tensorflow, is_missing, tfdata_batches
from lupi_jax.data.images import ReadRow, file_reader, parallel_map, read_rows
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.runtime.hosts import all_agree
from lupi_jax.runtime.progress import Show, counted, silent
from lupi_jax.runtime.terminal import say


def source_modalities(modalities: tuple[str, ...]) -> tuple[Modality, ...]:
    """The modalities that are read from disk to train on `modalities`, visible first.

    Intermediate images are made from visible ones.
    """
    wanted = {Modality.VISIBLE if m == Modality.INTERMEDIATE else Modality(m) for m in modalities}
    return tuple(m for m in Modality if m in wanted)


def make_reader(
    index: Index,
    size: tuple[int, int],
    prepared: str | Path = "",
    workers: int = 4,
    show: Show = silent,
) -> ReadRow:
    """A function that reads an image of `index` at `size` = (height, width).

    The function decodes the image's file, or reads from a prepared set if one is given. The set's
    shards are checked first, as by `prepared_reader`.

    Raises:
      InputError: the prepared set is incomplete, lacks some of these images, or has another size.
    """
    if not prepared:
        return file_reader(index, size)
    return prepared_reader(prepared, index, size, workers, show)


def make_sampler(index: Index, config: Config) -> IdentitySampler:
    """The P x K sampler of `index` that `config` describes."""
    labels = index.labels
    classes = len(index.classes)
    tables = {}
    for modality in source_modalities(config.modalities):
        rows = np.flatnonzero(index.modalities == modality)
        tables[str(modality)] = RowsByLabel.group(rows, labels[rows], classes)
    return IdentitySampler(
        config.seed, tables, classes, config.batch.identities, config.batch.images
    )


def make_feed(
    index: Index,
    sampler: IdentitySampler,
    config: Config,
    cache: Path,
    host: HostRows,
    show: Show = silent,
) -> Callable[[int, int], Iterator[Batch]]:
    """The feed that `config.data.feed` selects: (start, stop) -> batches of steps start..stop - 1.

    All feeds give the same images, bit for bit. The feed "device" gives row numbers instead, into
    the array that `read_all` returns.

    Args:
      index: training images.
      sampler: chooses the images of each batch.
      config: the run's configuration.
      cache: directory in which the memory-mapped feed keeps its decoded images.
      host: selects the rows of a batch that this process feeds.
      show: shows how many images are decoded for the memory-mapped feed.

    Raises:
      InputError: a prepared set is incomplete or lacks some of these images, or images cannot be
        prepared.
    """
    data = config.data

    def choose(step: int) -> Batch:
        return {name: host(rows) for name, rows in sampler(step).items()}

    if data.feed == "device":
        return lambda start, stop: map(choose, range(start, stop))
    if data.feed == "tfdata" or (data.feed == "auto" and _tensorflow_serves()):
        read = make_reader(index, data.image_size, data.prepared, data.workers, show)
        return lambda start, stop: tfdata_batches(
            read, data.image_size, choose, range(start, stop), data.workers, data.prefetch
        )
    if data.prepared:
        read = prepared_reader(data.prepared, index, data.image_size, data.workers, show)
    else:
        read = cached_reader(cache, index, data.image_size, data.workers, show)
    return lambda start, stop: read_batches(read, choose, range(start, stop), data.prefetch)


def _tensorflow_serves() -> bool:
    """Whether every process can import TensorFlow; a note reports a broken installation.

    All processes have to choose the same feed, or they would wait for each other.
    """
    serves = True
    try:
        import_tensorflow()
    except InputError as error:
        serves = False
        if not is_missing(error.__cause__):
            _say_once(f"note: data.feed = auto selects memmap here, because {error}")
    return all_agree(serves)


@functools.cache
def _say_once(message: str) -> None:
    say(message)


def read_batches(
    read: ReadRow, choose: Callable[[int], Batch], steps: range, prefetch: int = 4
) -> Iterator[Batch]:
    """The feed "memmap": the batches of `steps`, read ahead; `choose` gives the rows of a step."""

    def gather(step: int) -> Batch:
        chosen = choose(step)
        labels = chosen.pop("labels")
        images = {name: np.stack([read(row) for row in rows]) for name, rows in chosen.items()}
        return {**images, "labels": labels}

    return parallel_map(gather, iter(steps), 1, prefetch)


def read_all(index: Index, data: SourceConfig, show: Show = silent) -> np.ndarray:
    """All images of `index`, uint8 [n, h, w, 3], from `data.prepared` if set, or else the files.

    Raises:
      InputError: an image or the prepared set cannot be read.
    """
    images = np.empty((len(index), *data.image_size, 3), np.uint8)
    read = make_reader(index, data.image_size, data.prepared, data.workers, show)
    read_ahead = read_rows(read, range(len(index)), data.workers)
    for row, image in enumerate(counted(read_ahead, show("images read"), 0, len(index))):
        images[row] = image
    return images
