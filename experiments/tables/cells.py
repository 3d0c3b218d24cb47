"""The networks of the paper's tables: every cell is a recipe and a few fields, never code.

Tables share cells, so a network trained for one table serves the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A line of a table.

    Attributes:
      name: name of the cell.
      recipe: the variant of the data set's config file.
      fields: fields of the configuration, {dotted name: value as text}.
      what: a description for the reader.
      trained: False for a network before its first step.
    """

    name: str
    recipe: str
    fields: Mapping[str, str]
    what: str
    trained: bool = True


_LUMA = {"views.intermediate": "luma"}
_PLAIN = {"views.erase": "0.0"}  # without the paper's "Aug"
_AUG = {"views.erase": "0.5"}
_DIRECT = {**_PLAIN, "loss.direct_weight": "1.0"}
_MIX = {"views.intermediate": "adaptive"}
_LEARNT = {**_DIRECT, **_MIX, "loss.modality": "mmd"}


def _alone(modality: str) -> dict[str, str]:
    return {"modalities": f"({modality!r},)", **_LUMA, **_PLAIN}


CELLS = {
    cell.name: cell
    for cell in (
        Cell(
            "untrained",
            "baseline",
            _alone("visible"),
            "weights before the first step; all modalities through one stem",
            trained=False,
        ),
        Cell("visible", "baseline", _alone("visible"), "visible images only"),
        Cell("infrared", "baseline", _alone("infrared"), "infrared images only"),
        Cell("intermediate", "baseline", _alone("intermediate"), "grey (luma) images only"),
        Cell("baseline", "baseline", {**_LUMA, **_PLAIN}, "visible and infrared"),
        Cell(
            "baseline_shared",
            "baseline",
            {**_LUMA, **_PLAIN, "model.shared_from": "layer1"},
            "visible and infrared, layer1 shared: by its size, the paper's baseline",
        ),
        Cell(
            "colourless",
            "baseline",
            {"modalities": "('infrared', 'intermediate')", **_LUMA, **_PLAIN},
            "grey (luma) and infrared: two modalities without colour",
        ),
        Cell(
            "baseline_aug",
            "baseline",
            {**_LUMA, **_AUG},
            "visible and infrared, with random erasing",
        ),
        Cell(
            "agw",
            "agw",
            _LUMA,
            "AGW (Ye et al., TPAMI 2021): shared layer1, ReLU in the stem, weighted triplet",
        ),
        Cell("grayscale", "paper", {**_LUMA, **_PLAIN}, "third modality: grey by fixed weights"),
        Cell("randg", "paper", _PLAIN, "third modality: random channels (Eq. 4)"),
        Cell("randg_aug", "paper", _AUG, "the paper's method: random channels and erasing"),
        Cell("released", "released", _PLAIN, "like the released code, without its erasing"),
        Cell("released_aug", "released", _AUG, "like the released code"),
        Cell(
            "identity",
            "paper",
            {**_PLAIN, "loss.triplet": "none", "loss.color_free": "none"},
            "three modalities, identity loss only",
        ),
        Cell(
            "triplet",
            "paper",
            {**_PLAIN, "loss.color_free": "none"},
            "identity loss and dual triplet (Eq. 5)",
        ),
        Cell(
            "color_free",
            "paper",
            {**_PLAIN, "loss.triplet": "none"},
            "identity and colour-free loss (Eq. 6)",
        ),
        Cell(
            "baseline_direct",
            "baseline",
            {**_LUMA, **_DIRECT},
            "visible and infrared, with twice the weight of their triplet loss",
        ),
        Cell(
            "released_direct",
            "released",
            _DIRECT,
            "random channels, and the triplet loss of visible and infrared beside the ring",
        ),
        Cell(
            "learnt",
            "released",
            _LEARNT,
            "like `released_direct`, with a learnt mix that is drawn towards infrared (mmd)",
        ),
        Cell(
            "learnt_alone",
            "released",
            {**_DIRECT, **_MIX},
            "`learnt` without the term that draws it towards infrared",
        ),
        Cell(
            "learnt_by_pixel",
            "released",
            {**_LEARNT, "views.adaptive_context": "False"},
            "`learnt` by the pixel's colour only, without the image's mean and deviation",
        ),
        Cell(
            "learnt_blended",
            "released",
            {**_LEARNT, "views.adaptive_share": "0.5"},
            "`learnt` blended half and half with random channels",
        ),
        Cell(
            "learnt_ring",
            "released",
            {**_PLAIN, **_MIX},
            "learnt mix in `released`, without the direct triplet and the term",
        ),
    )
}
