"""The numbers of identities and images that the authors of the data sets published."""

from lupi_jax.modality import Modality

NAMES = ("sysu", "regdb", "llcm")
"""The published data sets, as `data.name` calls them."""

SYSU_IDENTITIES = {"train": 296, "val": 99, "test": 96}
"""SYSU-MM01 (Wu et al., ICCV 2017): identities per list; models train on the first two."""

SYSU_TRAINING_IMAGES = {Modality.VISIBLE: 22_258, Modality.INFRARED: 11_909}
"""Images of the training and the validation identities together."""

SYSU_TEST_IMAGES = {1: 1374, 2: 1565, 3: 1883, 4: 1918, 5: 1918, 6: 1920}
"""Images of the test identities, by camera."""

REGDB_IDENTITIES = 412
"""RegDB (Nguyen et al., Sensors 2017): people; each of the ten splits trains on one half."""

REGDB_IMAGES = 10
"""Images per person and modality."""

LLCM_IDENTITIES = {"train": 713, "test": 351}
"""LLCM (Zhang and Wang, CVPR 2023): people per split."""

LLCM_IMAGES = 46_767
"""Number of all images."""

SYSU_COUNTS = {
    "all-search, single-shot": (301, 3803),
    "all-search, multi-shot": (3010, 3803),
    "indoor, single-shot": (112, 2208),
    "indoor, multi-shot": (1120, 2208),
}
"""(gallery images, queries with a true match) on SYSU-MM01's test set, infrared -> visible."""
