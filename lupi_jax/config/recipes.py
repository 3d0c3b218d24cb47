"""The values that a recipe and a setting give to fields that a configuration leaves out."""

from typing import Any

# The paper, its released code, its own two-modality baseline, and AGW (Ye et al. 2021). A recipe
# lists only the fields in which it differs from the defaults. Its "epochs" apply if a configuration
# sets neither steps nor epochs. The released code counts 0 to 120, AGW's code 0 to 80.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"epochs": 121.0, "views.erase_fill": "mean"},
    "released": {
        "epochs": 121.0,
        "loss.triplet": "mean",
        "loss.color_free": "released",
        "views.erase_fill": "released",
        "views.quantize_intermediate": True,
    },
    "baseline": {
        "epochs": 121.0,
        "modalities": ("visible", "infrared"),
        "loss.triplet": "mean",
        "loss.color_free": "none",
        "views.erase_fill": "mean",
    },
    "agw": {
        "epochs": 81.0,
        "modalities": ("visible", "infrared"),
        "loss.triplet": "weighted_regularized",
        "loss.color_free": "none",
        "views.erase": 0.0,
        "views.erase_fill": "mean",
        "model.stem_relu": True,
        "model.shared_from": "layer1",
    },
}

# The paper's Fig. 1, which names the modalities of training and of testing.
SETTINGS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "infrared_privileged": {  # (a)
        "modalities": ("visible", "infrared"),
        "evaluation.pairs": ("visible_to_visible",),
    },
    "visible_privileged": {  # (b)
        "modalities": ("visible", "infrared"),
        "evaluation.pairs": ("infrared_to_infrared",),
    },
    "intermediate_privileged": {  # (c)
        "modalities": ("visible", "infrared", "intermediate"),
        "evaluation.pairs": ("infrared_to_visible", "visible_to_infrared"),
    },
}
