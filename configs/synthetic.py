"""Synthetic people: what `make demo` trains on, from scratch, in a few minutes on a CPU.

    lupi make-synthetic --out data/synthetic --layout folder --identities 96 --seed 0
    lupi train --config configs/synthetic.py --workdir runs/demo
    lupi train --config configs/synthetic.py:baseline --workdir runs/baseline

The recipe of configs/folder.py, shortened. Variants: `paper` (default), `released`, `baseline`.
"""

from ml_collections import ConfigDict


def get_config(recipe: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.recipe = recipe
    config.seed = 0
    config.steps = 500

    config.data = ConfigDict()
    config.data.name = "synthetic"
    config.data.root = "data/synthetic"
    config.data.image_size = (96, 48)

    config.batch = ConfigDict()
    config.batch.identities = 8
    config.batch.images = 4

    config.model = ConfigDict()
    config.model.backbone = "thin"
    config.model.non_local = False

    config.views = ConfigDict()
    config.views.pad = 4

    config.optimizer = ConfigDict()  # the reasons are in configs/folder.py
    config.optimizer.name = "adam"
    config.optimizer.rate = 1e-3
    config.optimizer.trunk_factor = 1.0
    config.optimizer.clip = 5.0
    config.optimizer.unit = "steps"
    config.optimizer.warmup = 30
    config.optimizer.milestones = (350, 450)
    config.optimizer.factors = (0.1, 0.01)
    config.loss = ConfigDict()
    config.loss.color_free_norm = "l1_mean"

    config.log = ConfigDict()
    config.log.every = 20
    config.log.checkpoint_every = 250
    return config
