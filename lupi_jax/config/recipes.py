"""What a configuration's recipe and setting fill in where a field is left out."""

from typing import Any

# What the method's two descriptions and the two-modality methods it is measured against (its own
# baseline; AGW, Ye et al. 2021) say where they differ. What is left out here is a field's default.
# "epochs" holds where a configuration gives neither steps nor epochs: 0 to 120 in the released
# code, 0 to 80 in AGW's.
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

# The paper's Fig. 1: what is trained on, and what is left of it at test time.
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
