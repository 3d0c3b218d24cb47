"""What the authors of the published data sets counted, to hold what is on disk against."""

from lupi_jax.modality import Modality

NAMES = ("sysu", "regdb", "llcm")
"""The published data sets, as `data.name` calls them."""

SYSU_IDENTITIES = {"train": 296, "val": 99, "test": 96}
"""SYSU-MM01 (Wu et al., ICCV 2017): identities in each list; the first two are trained on."""

SYSU_TRAINING_IMAGES = {Modality.VISIBLE: 22_258, Modality.INFRARED: 11_909}
"""Images of the training and the validation identities together."""

SYSU_TEST_IMAGES = {1: 1374, 2: 1565, 3: 1883, 4: 1918, 5: 1918, 6: 1920}
"""Images of the test identities by each camera."""

REGDB_IDENTITIES = 412
"""RegDB (Nguyen et al., Sensors 2017): people; each of the ten splits trains on one half."""

REGDB_IMAGES = 10
"""Images of every person in each modality."""

LLCM_IDENTITIES = {"train": 713, "test": 351}
"""LLCM (Zhang and Wang, CVPR 2023): people in each split."""

LLCM_IMAGES = 46_767
"""Images in all."""

SYSU_COUNTS = {
    "all-search, single-shot": (301, 3803),
    "all-search, multi-shot": (3010, 3803),
    "indoor, single-shot": (112, 2208),
    "indoor, multi-shot": (1120, 2208),
}
"""Of infrared -> visible over SYSU-MM01's test set: gallery images, queries with a true match."""
