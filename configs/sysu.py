"""SYSU-MM01 (Wu et al., ICCV 2017), in the layout of its owners, who give it out by agreement.

    lupi train --config configs/sysu.py --config.data.root=SYSU-MM01 --workdir runs/sysu
    lupi evaluate --workdir runs/sysu
    lupi evaluate --config configs/sysu.py:released --config.data.root=SYSU-MM01 \
        --checkpoint original.t

Variants: `paper` (default), `released` (what the authors' code does), `baseline` (visible and
infrared only), `agw` (Ye et al., TPAMI 2021). The paper's other settings are fields:

    Fig. 1 (a), (b), (c)    --config.setting=infrared_privileged, visible_privileged,
                            intermediate_privileged
    Table 3, training       --config.modalities="('visible',)"
    Table 3, test pairs     --config.evaluation.pairs="('intermediate_to_intermediate',)"
                            (leaves out the query's whole camera, like the paper;
                            --config.evaluation.same_modality changes that)
    Table 4, pre-trained    lupi evaluate --config configs/sysu.py --untrained
    Table 4, visible-trained, infrared-trained: see Table 3
    Table 4, baseline       configs/sysu.py:baseline --config.views.erase=0
                            --config.model.shared_from=layer1 (without it: LUPI's own network)
    Table 4, grayscale      --config.views.intermediate=luma --config.views.erase=0
    Table 4, RandG          --config.views.erase=0 (with Aug: the default)
    Table 5                 --config.views.erase=0 and --config.loss.triplet=none,
                            --config.loss.color_free=none, or both

Here "Aug" in Tables 4 and 5 is random erasing, which the paper never names. The paper's words,
"different distortions for RGB and intermediate images", allow another reading:

    without Aug             --config.views.erase=0 --config.views.share_crop_and_flip=true
    with Aug                --config.views.erase=0
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
    config.data.name = "sysu"
    config.data.root = "data/SYSU-MM01"
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

    config.evaluation = ConfigDict()
    config.evaluation.protocol = "official"
    config.evaluation.trials = 10

    config.log = ConfigDict()
    config.log.every = 50
    config.log.checkpoint_every = 1000
    return config
