"""SYSU-MM01, RegDB, LLCM and the folder layout as builders of TensorFlow Datasets (TFDS).

Importing this module registers `sysu_mm01`, `regdb`, `llcm` and `reid_folder`. Published data sets
must not be passed on, so nothing is downloaded. Each is built once, from files in `manual_dir`.

    python -m lupi_jax.tfds regdb/trial_3 --manual_dir=DIR --data_dir=BUILT

DIR is the directory `SYSU-MM01`, `RegDB`, `LLCM` or `reid_folder`, or contains it. Then, in a
program that imports this module,

    source = tfds.data_source("regdb/trial_3", split="test", data_dir="BUILT")  # source[i]
    images = tfds.load("regdb/trial_3", split="train", data_dir="BUILT")  # a tf.data.Dataset

Example i of a split is row i of the index that `lupi_jax.data` reads, except in SYSU-MM01's "train"
(see `SYSUMM01`). With `shuffle_files=True` single images are drawn from the whole split. The bytes
of a file are stored unchanged and decoded by Pillow, so both ways give the pixels that training
reads before it resizes them. Grey and palette images have three channels.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise ImportError(
        "the TFDS builders need TensorFlow Datasets: pip install 'lupi-jax[data]'"
    ) from error

from lupi_jax.data.index import Index
from lupi_jax.data.sources.files import SPLITS
from lupi_jax.data.sources.folder import read_folder
from lupi_jax.data.sources.llcm import read_llcm
from lupi_jax.data.sources.regdb import TRIALS, read_regdb
from lupi_jax.data.sources.sysu_mm01 import read_sysu
from lupi_jax.tfds.base import ImageFile, ReidBuilder

__all__ = [
    "LLCM",
    "NAMES",
    "SYSUMM01",
    "ImageFile",
    "RegDB",
    "RegDBConfig",
    "ReidBuilder",
    "ReidFolder",
]


class SYSUMM01(ReidBuilder):
    """`sysu_mm01`: "train", "val" and "test", as the data set's lists define them.

    The "train" of `read_sysu` has the images of "train+val", in another order (by camera first).
    """

    name = "sysu_mm01"
    FOLDER = "SYSU-MM01"
    PARTS = ("exp",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "get SYSU-MM01 from its authors and extract it so that manual_dir/SYSU-MM01 (or manual_dir "
        "itself) contains exp/ and cam1/ to cam6/"
    )
    DESCRIPTION = """
    Visible images of 491 people by cameras 1, 2, 4 and 5, and near-infrared images by cameras 3
    and 6. 296 people are in "train", 99 in "val" and 96 in "test". Published models are trained on
    "train+val".
    """
    HOMEPAGE = "https://github.com/wuancong/SYSU-MM01"
    CITATION = "Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017"

    def _read(self, root: Path) -> dict[str, Index]:
        both, val = read_sysu(root, "train"), read_sysu(root, "val")
        train = both[~np.isin(both.identities, val.classes)]
        return {"train": train, "val": val, "test": read_sysu(root, "test")}


@dataclasses.dataclass(eq=False)
class RegDBConfig(tfds.core.BuilderConfig):
    """One of RegDB's ten splits into training and test people, 1 to 10."""

    trial: int = 1


class RegDB(ReidBuilder):
    """`regdb/trial_1` (the default) to `regdb/trial_10`, each with "train" and "test"."""

    name = "regdb"
    BUILDER_CONFIGS: ClassVar = [
        RegDBConfig(name=f"trial_{trial}", description=f"Split {trial} of 10.", trial=trial)
        for trial in TRIALS
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "trial_1"
    FOLDER = "RegDB"
    PARTS = ("idx",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "get RegDB from its authors and extract it so that manual_dir/RegDB (or manual_dir itself) "
        "contains idx/, Visible/ and Thermal/"
    )
    DESCRIPTION = """
    Ten visible images (camera 1) and ten thermal images (camera 2) of each of 412 people. The data
    set comes with ten random splits into 206 people to train on and 206 to test on. A model is
    trained and tested on the same split.
    """
    HOMEPAGE = "http://dm.dongguk.edu/link.html"
    CITATION = (
        "Nguyen et al., Person Recognition System Based on a Combination of Body Images from "
        "Visible Light and Thermal Cameras, Sensors 2017"
    )

    def _read(self, root: Path) -> dict[str, Index]:
        trial = cast(RegDBConfig, self.builder_config).trial
        return {split: read_regdb(root, split, trial) for split in SPLITS}


class LLCM(ReidBuilder):
    """`llcm`: "train" and "test"."""

    name = "llcm"
    FOLDER = "LLCM"
    PARTS = ("idx",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "get LLCM from its authors and extract it so that manual_dir/LLCM (or manual_dir itself) "
        "contains idx/, vis/, nir/, test_vis/ and test_nir/"
    )
    DESCRIPTION = """
    Visible and near-infrared images of 1,064 people, 713 in "train" and 351 in "test", by nine
    cameras in daylight and low light. A camera has the same number in both modalities. LLCM stands
    for low-light cross-modality.
    """
    HOMEPAGE = "https://github.com/ZYK100/LLCM"
    CITATION = (
        "Zhang and Wang, Diverse Embedding Expansion Network and Low-Light Cross-Modality "
        "Benchmark for Visible-Infrared Person Re-identification, CVPR 2023"
    )

    def _read(self, root: Path) -> dict[str, Index]:
        return {split: read_llcm(root, split) for split in SPLITS}


class ReidFolder(ReidBuilder):
    """`reid_folder`: "train", "test" or both, for your own images in the folder layout.

    All such data sets share this name, so each needs its own `data_dir`.
    """

    name = "reid_folder"
    FOLDER = "reid_folder"
    PARTS = SPLITS
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put images into manual_dir/reid_folder (or manual_dir itself) as "
        "{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg"
    )
    DESCRIPTION = "Visible and infrared images of people, in the folder layout of lupi_jax."

    def _read(self, root: Path) -> dict[str, Index]:
        return {split: read_folder(root, split) for split in SPLITS if (root / split).is_dir()}


NAMES = tuple(builder.name for builder in (SYSUMM01, RegDB, LLCM, ReidFolder))
"""The names of the builders in TFDS."""
