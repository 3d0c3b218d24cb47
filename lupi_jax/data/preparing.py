"""From a data set to a prepared set of its images."""

from __future__ import annotations

import os
from pathlib import Path

from lupi_jax.config import SourceConfig
from lupi_jax.data.feeds.prepared import Prepared, prepare
from lupi_jax.data.sources.reading import as_source, read_every_image
from lupi_jax.runtime.progress import Show, silent


def prepare_data(
    source: SourceConfig | str | os.PathLike[str],
    size: tuple[int, int],
    out: str | os.PathLike[str],
    show: Show = silent,
) -> Prepared:
    """Decode and resize every image of a data set once, for `data.prepared` and `data.image_size`.

    Args:
      source: the data set; a path is read as the folder layout.
      size: (height, width) of the images in pixels.
      out: directory to write or to complete, see `prepare`.
      show: shows how many files are read, shards are checked, and images are decoded.

    Raises:
      InputError: the data cannot be read, or something else is at `out`.
    """
    source = as_source(source)
    return prepare(read_every_image(source), size, Path(out), source.workers, show)
