"""Your own images: `{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`.

    lupi train --config configs/folder.py --config.data.root=DATA --workdir runs/folder
    lupi train --config configs/folder.py:baseline --config.data.root=DATA --workdir runs/baseline

A small network, trained from scratch, for a CPU. Variants: `paper` (default), `released` (what the
original code does), `baseline` (visible and infrared only) and `agw` (Ye et al., TPAMI 2021).
configs/sysu.py names the fields for the paper's other settings.
"""

from ml_collections import ConfigDict


def get_config(recipe: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.recipe = recipe  # sets the fields in which paper and code differ
    config.seed = 0
    config.steps = 600

    config.data = ConfigDict()
    config.data.name = "folder"
    config.data.root = ""
    config.data.image_size = (96, 48)  # (height, width); the paper has (288, 144)

    config.batch = ConfigDict()
    config.batch.identities = 16
    config.batch.images = 2  # per identity and modality

    config.model = ConfigDict()
    config.model.backbone = "thin"
    config.model.non_local = False
    config.model.pooling = "average"

    config.views = ConfigDict()
    config.views.erase = 0.0
    config.views.pad = 4  # the paper's 10 at (288, 144), scaled

    # The paper starts from ImageNet weights. Training from scratch needs other settings
    # (experiments/README.md has the figures):
    # - Adam, which came much further than SGD in 300 steps. Stems, trunk and head have the same
    #   rate, because none of them is pre-trained.
    # - Average pooling, 16 identities x 2 images and no random erasing. With these a run of some
    #   hundred steps fits the training identities. With GeM, 8 x 4 and erasing it does not.
    # - For `paper`, a colour-free weight of 1, not 10. Eq. 6 takes the length of the difference of
    #   features that are not normalised. Ten times that length starts far above the identity loss
    #   and pulls all features into one point before the network tells identities apart.
    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.rate = 3e-3
    config.optimizer.trunk_factor = 1.0
    config.optimizer.clip = 5.0
    config.optimizer.unit = "steps"
    config.optimizer.warmup = 50
    config.optimizer.milestones = (400, 550)
    config.optimizer.factors = (0.1, 0.01)
    config.loss = ConfigDict()
    if recipe == "paper":
        config.loss.color_free_weight = 1.0

    config.log = ConfigDict()
    config.log.every = 20
    config.log.checkpoint_every = 200
    return config
