"""Your own images in the folder layout, `{train,test}/{visible,infrared}/<identity>/c<camera>_<n>.jpg`.

    lupi train --config configs/folder.py --config.data.root=DATA --workdir runs/folder

Trained from scratch on a CPU; variants: `paper` (default), `released`, `baseline`.
"""

from ml_collections import ConfigDict


def get_config(recipe: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.recipe = recipe
    config.seed = 0
    config.steps = 600

    config.data = ConfigDict()
    config.data.name = "folder"
    config.data.root = ""
    config.data.image_size = (96, 48)

    config.batch = ConfigDict()
    config.batch.identities = 8
    config.batch.images = 4

    config.model = ConfigDict()
    config.model.backbone = "thin"
    config.model.non_local = False

    config.views = ConfigDict()
    config.views.pad = 4

    config.optimizer = ConfigDict()
    config.optimizer.rate = 0.03
    config.optimizer.trunk_factor = 1.0
    config.optimizer.clip = 5.0
    config.optimizer.unit = "steps"
    config.optimizer.warmup = 50
    config.optimizer.milestones = (400, 550)
    config.optimizer.factors = (0.1, 0.01)

    config.log = ConfigDict()
    config.log.every = 20
    config.log.checkpoint_every = 200
    return config
