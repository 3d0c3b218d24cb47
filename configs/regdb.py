"""RegDB (Nguyen et al., Sensors 2017), in the layout of its owners, who give it out by agreement.

    lupi train --config configs/regdb.py --config.data.root=RegDB --workdir runs/regdb \
        --trials all
    lupi evaluate --workdir runs/regdb --trials all

Each of the ten splits has its own network, in runs/regdb/trial-1 to trial-10, which is tested on
that split. The result is the mean of the ten. `--trials 3` trains only split 3, so that each split
can be a job of its own. Variants: `paper` (default), `released`, `baseline`, `agw`.
configs/sysu.py names the fields for the paper's other settings.
"""

from ml_collections import ConfigDict


def get_config(recipe: str = "paper") -> ConfigDict:
    config = ConfigDict()
    # Sets the fields in which the methods differ, epochs included (121; for agw 81).
    config.recipe = recipe
    config.seed = 0
    # torchvision's first ImageNet weights. The original code starts from them too.
    config.pretrained = "hf://timm/resnet50.tv_in1k"

    config.data = ConfigDict()
    config.data.name = "regdb"
    config.data.root = "data/RegDB"
    config.data.trial = 1  # the split, 1 to 10
    config.data.image_size = (288, 144)  # (height, width)

    config.batch = ConfigDict()
    config.batch.identities = 8
    config.batch.images = 4  # per identity and modality

    config.optimizer = ConfigDict()  # SGD with Nesterov momentum 0.9, weight decay 5e-4
    config.optimizer.rate = 0.1
    config.optimizer.trunk_factor = 0.1  # stems and trunk are pre-trained
    config.optimizer.warmup = 10  # epochs, like the milestones
    config.optimizer.milestones = (20, 50)
    config.optimizer.factors = (0.1, 0.01)

    config.log = ConfigDict()
    config.log.every = 50
    config.log.checkpoint_every = 1000
    return config
