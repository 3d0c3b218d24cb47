"""Synthetic people, trained from scratch on a CPU in a few minutes: what `make demo` runs.

    lupi make-synthetic --out data/synthetic --layout folder --identities 96 --seed 0
    lupi train --config configs/synthetic.py --workdir runs/demo
    lupi train --config configs/synthetic.py:released --workdir runs/released

Variants: `paper` (default), `released`, `baseline` (visible and infrared only).
"""

from ml_collections import ConfigDict


def get_config(recipe: str = "paper") -> ConfigDict:
    config = ConfigDict()
    config.recipe = recipe
    config.seed = 0
    config.steps = 300

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

    # From scratch: nothing is pre-trained, so the trunk learns at the head's rate, and the
    # original's rate of 0.1 is too much for it.
    config.optimizer = ConfigDict()
    config.optimizer.rate = 0.03
    config.optimizer.trunk_factor = 1.0
    config.optimizer.clip = 5.0
    config.optimizer.unit = "steps"
    config.optimizer.warmup = 30
    config.optimizer.milestones = (200, 270)
    config.optimizer.factors = (0.1, 0.01)

    config.log = ConfigDict()
    config.log.every = 20
    config.log.checkpoint_every = 100
    return config
