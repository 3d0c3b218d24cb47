"""Synthetic people: from scratch, in a few minutes on a CPU.

    lupi make-synthetic --out data/synthetic --identities 256 --difficulty easy
    lupi train --config configs/synthetic.py --workdir runs/demo
    lupi train --config configs/synthetic.py:paper --workdir runs/paper

The settings are those that configs/folder.py explains. Variants: `released` (default: what the
method's own code does), `paper`, `baseline`, `agw`. `make demo` trains on smaller
images, for fewer steps.
"""

from ml_collections import ConfigDict


def get_config(recipe: str = "released") -> ConfigDict:
    config = ConfigDict()
    config.recipe = recipe
    config.seed = 0
    config.steps = 660

    config.data = ConfigDict()
    config.data.name = "synthetic"
    config.data.root = "data/synthetic"
    config.data.image_size = (96, 48)

    config.batch = ConfigDict()
    config.batch.identities = 16
    config.batch.images = 2

    config.model = ConfigDict()
    config.model.backbone = "thin"
    config.model.non_local = False
    config.model.pooling = "average"

    config.views = ConfigDict()
    config.views.erase = 0.0
    config.views.pad = 4

    config.optimizer = ConfigDict()  # the reasons are in configs/folder.py
    config.optimizer.name = "adam"
    config.optimizer.rate = 3e-3
    config.optimizer.trunk_factor = 1.0
    config.optimizer.clip = 5.0
    config.optimizer.unit = "steps"
    config.optimizer.warmup = 30
    config.optimizer.milestones = (440, 600)
    config.optimizer.factors = (0.1, 0.01)
    config.loss = ConfigDict()
    if recipe == "paper":
        config.loss.color_free_weight = 1.0

    config.log = ConfigDict()
    config.log.every = 20
    config.log.checkpoint_every = 200
    return config
