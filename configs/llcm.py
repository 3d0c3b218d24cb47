"""LLCM (Zhang and Wang, CVPR 2023), in the layout of its owners, who give it out by agreement.

    lupi train --config configs/llcm.py --config.data.root=LLCM --workdir runs/llcm
    lupi evaluate --workdir runs/llcm

Variants: `paper` (default), `released`, `baseline`, `agw`. configs/sysu.py names the fields for the
paper's other settings. The paper has no figures for LLCM.
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
    config.data.name = "llcm"
    config.data.root = "data/LLCM"
    config.data.image_size = (384, 144)  # (height, width), usual for LLCM

    config.batch = ConfigDict()
    config.batch.identities = 8
    config.batch.images = 4  # per identity and modality

    config.optimizer = ConfigDict()  # SGD with Nesterov momentum 0.9, weight decay 5e-4
    config.optimizer.rate = 0.1
    config.optimizer.trunk_factor = 0.1  # stems and trunk are pre-trained
    config.optimizer.warmup = 10  # epochs, like the milestones
    config.optimizer.milestones = (20, 50)
    config.optimizer.factors = (0.1, 0.01)

    config.evaluation = ConfigDict()
    config.evaluation.trials = 10

    config.log = ConfigDict()
    config.log.every = 50
    config.log.checkpoint_every = 1000
    return config
