"""Sets of synthetic people in the folder layouts of real data sets, with or without their lists."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lupi_jax.data.sources.manifest import GENERATOR
from lupi_jax.errors import InputError
from lupi_jax.runtime.files import expand
from lupi_jax.synthetic.difficulty import TONE_KEPT, Difficulty
from lupi_jax.synthetic.plans import People, plan_folder, plan_llcm, plan_regdb, plan_sysu
from lupi_jax.synthetic.stand_ins import llcm_like, regdb_like, sysu_like
from lupi_jax.synthetic.writing import VERSION, Content, Progress, write_content

_IMAGES = 8
"""The default number of pictures per person and modality, except for RegDB."""

_PLANS: dict[str, Callable[[People], Content]] = {
    "folder": plan_folder,
    "sysu": plan_sysu,
    "regdb": plan_regdb,
    "llcm": plan_llcm,
}


def make_synthetic(
    out: str | os.PathLike[str],
    layout: str = "folder",
    *,
    identities: int | None = None,
    seed: int = 0,
    difficulty: Difficulty = "hard",
    images_per_modality: int | None = None,
    height: int = 144,
    width: int = 72,
    test_fraction: float | None = None,
    like: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> bool:
    """Writes a set of synthetic people, or the missing part of an unfinished set.

    Args:
        out: a folder that is missing or empty, or holds a set begun with the same parameters.
        layout: "folder", "sysu" (SYSU-MM01's layout), "regdb" (RegDB's) or "llcm" (LLCM's); the
            functions `plans.plan_<layout>` describe them.
        identities: number of people, 3 to 9999; 96 by default.
        seed: seed of people, scenes and pictures, at least 0.
        difficulty: "hard" makes the brightness of cloth in infrared independent of its look in
            visible light; with "easy" cloth keeps most of its brightness.
        images_per_modality: pictures per person and modality, 1 to 9999; 8 by default, 10 for
            RegDB. With `like` it applies only to LLCM's test identities.
        height: height of a picture in pixels, 32 to 1024.
        width: width of a picture in pixels, 16 to 1024.
        test_fraction: share of the identities in the test set, above 0 and below 1; 1/3 by
            default, and always 1/2 for RegDB. The test set has at least one identity, the training
            set at least two.
        like: folder with the lists of a published data set (`exp` of SYSU-MM01, `idx` of RegDB or
            LLCM). The set gets every image in the lists, and a copy of the lists. They decide how
            many people there are and who is in the test set.
        workers: number of processes that render, 1 to 256; it does not change the pictures. A
            script that sets more than one has to call this below `if __name__ == "__main__":`.
        progress: called after each picture that was missing.

    Returns:
        True if the set was written, False if the same set was already there.

    Raises:
        InputError: a parameter is out of range or does not go with another, a list is missing or
            damaged, or `out` holds something else or cannot be written.
    """
    if layout not in _PLANS:
        raise InputError(f"layout={layout!r} of a synthetic set is not one of {', '.join(_PLANS)}")
    if difficulty not in TONE_KEPT:
        names = ", ".join(TONE_KEPT)
        raise InputError(f"difficulty={difficulty!r} of a synthetic set is not one of {names}")
    _require_range("seed", seed, 0, 2**63 - 1)
    _require_range("height", height, 32, 1024)
    _require_range("width", width, 16, 1024)
    _require_range("workers", workers, 1, 256)
    asked = {
        "identities": identities,
        "images_per_modality": images_per_modality,
        "test_fraction": test_fraction,
    }
    if like is None:
        chosen = _choose(layout, asked)
        content = _PLANS[layout](People(**chosen, seed=seed))
    else:
        chosen = _choose_like(layout, like, asked)
        content = _follow(layout, expand(like), chosen["images_per_modality"])
        chosen["identities"] = len({picture.identity for picture in content.pictures})
    parameters = {
        "generator": GENERATOR,
        "version": VERSION,
        "layout": layout,
        "identities": chosen["identities"],
        "seed": seed,
        "images_per_modality": chosen["images_per_modality"],
        "height": height,
        "width": width,
        "test_fraction": chosen["test_fraction"],
    }
    if difficulty != "hard":  # left out if hard, as in sets from before there was a choice
        parameters["difficulty"] = difficulty
    if like is not None:
        parameters["like"] = _digest(content.files)
    return write_content(expand(out), parameters, content, workers, progress)


LAYOUTS: dict[str, Callable[..., bool]] = {
    layout: functools.partial(make_synthetic, layout=layout) for layout in _PLANS
}
"""{layout: `make_synthetic` for this layout}."""


def _choose(layout: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The parameters `asked` of a set without `like`, checked, and with defaults for None."""
    chosen = {
        "identities": 96,
        "images_per_modality": 10 if layout == "regdb" else _IMAGES,
        "test_fraction": 0.5 if layout == "regdb" else 1 / 3,
    }
    chosen |= {name: value for name, value in asked.items() if value is not None}
    _require_range("identities", chosen["identities"], 3, 9999)
    _require_range("images_per_modality", chosen["images_per_modality"], 1, 9999)
    fraction = chosen["test_fraction"]
    if not 0.0 < fraction < 1.0:
        raise InputError(
            f"test_fraction={fraction!r} of a synthetic set is out of range: "
            "give a number above 0 and below 1"
        )
    if layout == "regdb" and fraction != 0.5:
        raise InputError(
            f"test_fraction={fraction!r} does not go with the layout regdb, which halves the "
            "identities: leave it out"
        )
    return chosen


def _choose_like(
    layout: str, like: str | os.PathLike[str], asked: dict[str, Any]
) -> dict[str, Any]:
    """The parameters of a set with `like`, after a check that none contradicts the lists."""
    if layout == "folder":
        raise InputError(
            f"like={str(like)!r} does not go with the layout folder, which has no published lists: "
            "leave it out, or choose sysu, regdb or llcm"
        )
    asked, chosen = dict(asked), dict.fromkeys(asked)
    if layout == "llcm":  # the lists do not tell the number of images per test identity
        images = asked.pop("images_per_modality")
        chosen["images_per_modality"] = _IMAGES if images is None else images
        _require_range("images_per_modality", chosen["images_per_modality"], 1, 9999)
    for name, value in asked.items():
        if value is not None:
            raise InputError(
                f"{name}={value!r} does not go with like={str(like)!r}, whose lists decide it: "
                "leave one of them out"
            )
    return chosen


def _follow(layout: str, like: Path, images_per_modality: int) -> Content:
    if not os.path.isdir(like):  # unlike Path's, never raises
        raise InputError(
            f"like={str(like)!r} is not a folder: give the folder with the data set's lists"
        )
    match layout:
        case "sysu":
            return sysu_like(like)
        case "regdb":
            return regdb_like(like)
    return llcm_like(like, images_per_modality)


def _digest(files: dict[str, bytes]) -> str:
    """16 hexadecimal digits that change with any file's name or bytes."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _require_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"{name}={value!r} of a synthetic set is out of range: "
            f"give an integer from {low} to {high}"
        )
