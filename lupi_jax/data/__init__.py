"""From image files to batches of uint8: sources, the identity sampler, and the feeds."""

from lupi_jax.data.feeds.making import (
    make_feed,
    make_reader,
    make_sampler,
    read_all,
    source_modalities,
)
from lupi_jax.data.feeds.prepared import prepare
from lupi_jax.data.feeds.sampler import Batch, HostRows, IdentitySampler
from lupi_jax.data.images import read_image, read_images, read_rows
from lupi_jax.data.index import Index, require_modalities
from lupi_jax.data.preparing import prepare_data
from lupi_jax.data.sources.check import Report, check_data
from lupi_jax.data.sources.folder import read_any_images, read_folder
from lupi_jax.data.sources.llcm import read_llcm
from lupi_jax.data.sources.reading import read_every_image, read_index, read_searched, read_training
from lupi_jax.data.sources.regdb import read_regdb
from lupi_jax.data.sources.sysu_mm01 import read_permutations, read_sysu
from lupi_jax.data.sources.tabling import make_table

__all__ = [
    "Batch",
    "HostRows",
    "IdentitySampler",
    "Index",
    "Report",
    "check_data",
    "make_feed",
    "make_reader",
    "make_sampler",
    "make_table",
    "prepare",
    "prepare_data",
    "read_all",
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
    "read_searched",
    "read_sysu",
    "read_training",
    "require_modalities",
    "source_modalities",
]
