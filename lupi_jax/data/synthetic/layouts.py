"""Synthetic people on disk, in the folder layouts of real data sets.

A set is whole once its manifest `synthetic.json` is there, which is written last. Until then a
marker, `synthetic.partial.json`, says what is being written, so that an interrupted run can be
started again. Every file appears at once, by a rename, so that two processes may write the same
set. One set is the same bytes for one seed and one version of Pillow (which encodes JPEG).
"""

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lupi_jax.data.synthetic.cameras import CAMERAS, INFRARED_CAMERAS, VISIBLE_CAMERAS
from lupi_jax.data.synthetic.render import render
from lupi_jax.errors import InputError

Progress = Callable[[int, int], None]
"""Called with the pictures written so far and the pictures in all, after each one."""

GENERATOR = "lupi_jax.data.synthetic"
VERSION = 1
"""Raised whenever the same parameters would make other bytes."""

MANIFEST = "synthetic.json"
MARKER = "synthetic.partial.json"

REGDB_TRIALS = 10
REGDB_VISIBLE_CAMERA = 4
REGDB_THERMAL_CAMERA = 6

_STREAM_TRIAL = 4
"""Separates the random numbers of RegDB's splits from those of people, scenes and pictures."""


class _Picture(NamedTuple):
    path: str
    identity: int
    camera: int
    n: int


def write_folder(
    out: Path,
    *,
    identities: int = 96,
    seed: int = 0,
    images_per_modality: int = 8,
    height: int = 144,
    width: int = 72,
    test_fraction: float = 1 / 3,
    progress: Progress | None = None,
) -> bool:
    """Writes `{train,test}/{visible,infrared}/<identity>/c<camera>_<number>.jpg`.

    The identities 1 to n are disjoint between train and test: the last ones are tested on. The
    pictures of a modality take turns through its cameras.

    Args:
        out: folder to make, absent or empty; or a set that was begun with the same parameters.
        identities: number of people, 3 to 9999.
        seed: seed of people, scenes and pictures, at least 0.
        images_per_modality: pictures of each person in each modality, 1 to 9999.
        height: rows of a picture, 32 to 1024.
        width: columns of a picture, 16 to 1024.
        test_fraction: share of the identities that is tested on, above 0 and below 1; at least
            one identity is tested on and at least two are trained on.
        progress: called after each picture.

    Returns:
        True if the set was written, False if this very set was already there.

    Raises:
        InputError: a parameter is out of range, or `out` holds something else or cannot be
            written.
    """
    parameters = _parameters(
        "folder", identities, seed, images_per_modality, height, width, test_fraction
    )
    tested = _tested(identities, test_fraction)
    pictures = []
    counts: dict[str, dict[str, int]] = {}
    for identity in range(1, identities + 1):
        split = "test" if identity > identities - tested else "train"
        for modality, cameras in (("visible", VISIBLE_CAMERAS), ("infrared", INFRARED_CAMERAS)):
            for camera, n in _turns(cameras, images_per_modality):
                path = f"{split}/{modality}/{identity:04d}/c{camera}_{n:04d}.jpg"
                pictures.append(_Picture(path, identity, camera, n))
    for split, number in (("train", identities - tested), ("test", tested)):
        images = number * images_per_modality
        counts[split] = {"identities": number, "visible": images, "infrared": images}
    return _write(Path(out), parameters, counts, pictures, {}, progress)


def write_sysu_mm01(
    out: Path,
    *,
    identities: int = 96,
    seed: int = 0,
    images_per_modality: int = 8,
    height: int = 144,
    width: int = 72,
    test_fraction: float = 1 / 3,
    progress: Progress | None = None,
) -> bool:
    """Writes `cam{1..6}/<identity>/<number>.jpg` and `exp/{train,val,test}_id.txt`.

    As in SYSU-MM01, not every camera sees everybody: within each split half of the identities are
    seen by all six cameras, a quarter indoors only (1, 2, 3) and a quarter outdoors only (4, 5,
    6). The pictures of a modality take turns through the cameras that see the identity. A quarter
    of the identities that are not tested on are for validation. There are no permutations
    (`exp/rand_perm_cam.mat`): galleries have to be drawn by a seeded generator.

    Arguments, result and errors are those of `write_folder`.
    """
    parameters = _parameters(
        "sysu", identities, seed, images_per_modality, height, width, test_fraction
    )
    tested = _tested(identities, test_fraction)
    validated = max(1, (identities - tested) // 4)
    trained = identities - tested - validated
    numbers = range(1, identities + 1)
    splits = {
        "train": numbers[:trained],
        "val": numbers[trained : trained + validated],
        "test": numbers[trained + validated :],
    }
    pictures = []
    for split in splits.values():
        for place, identity in enumerate(split):
            seen_by = {1: (1, 2, 3), 3: (4, 5, 6)}.get(place % 4, tuple(CAMERAS))
            for modality in (VISIBLE_CAMERAS, INFRARED_CAMERAS):
                cameras = tuple(camera for camera in modality if camera in seen_by)
                for camera, n in _turns(cameras, images_per_modality):
                    path = f"cam{camera}/{identity:04d}/{n:04d}.jpg"
                    pictures.append(_Picture(path, identity, camera, n))
    lists = {f"exp/{name}_id.txt": ",".join(map(str, ids)) + "\n" for name, ids in splits.items()}
    counts = {
        name: {
            "identities": len(ids),
            "visible": len(ids) * images_per_modality,
            "infrared": len(ids) * images_per_modality,
        }
        for name, ids in splits.items()
    }
    return _write(Path(out), parameters, counts, pictures, lists, progress)


def write_regdb(
    out: Path,
    *,
    identities: int = 96,
    seed: int = 0,
    images_per_modality: int = 10,
    height: int = 144,
    width: int = 72,
    progress: Progress | None = None,
) -> bool:
    """Writes `Visible/<identity>/`, `Thermal/<identity>/` and the lists of ten splits in `idx/`.

    RegDB's second camera is thermal (8 to 14 micrometres, body heat). This stand-in puts
    near-infrared pictures in its place: they exercise the layout and the protocol, not the
    physics. As in RegDB the identities of each split are halved at random, one visible and one
    infrared camera see everybody, and files are bitmaps, which lose nothing. A line of a list is
    `Visible/7/person_v_00001_7.bmp 0`: a path and a label, counted from 0 within the list.

    Arguments, result and errors are those of `write_folder`; the layout fixes the halves, so
    there is no `test_fraction`.
    """
    parameters = _parameters("regdb", identities, seed, images_per_modality, height, width, 0.5)
    pictures = []
    paths: dict[tuple[str, int], list[str]] = {}
    for identity in range(1, identities + 1):
        for folder, letter, camera in (
            ("Visible", "v", REGDB_VISIBLE_CAMERA),
            ("Thermal", "t", REGDB_THERMAL_CAMERA),
        ):
            for n in range(1, images_per_modality + 1):
                path = f"{folder}/{identity}/person_{letter}_{n:05d}_{identity}.bmp"
                pictures.append(_Picture(path, identity, camera, n))
                paths.setdefault((folder, identity), []).append(path)
    half = identities // 2
    lists = {}
    for trial in range(1, REGDB_TRIALS + 1):
        order = np.random.default_rng([seed, _STREAM_TRIAL, trial]).permutation(identities) + 1
        for split, members in (("train", order[:half]), ("test", order[half:])):
            for folder in ("Visible", "Thermal"):
                lines = [
                    f"{path} {label}\n"
                    for label, identity in enumerate(members.tolist())
                    for path in paths[folder, identity]
                ]
                lists[f"idx/{split}_{folder.lower()}_{trial}.txt"] = "".join(lines)
    counts = {
        split: {
            "identities": number,
            "visible": number * images_per_modality,
            "infrared": number * images_per_modality,
        }
        for split, number in (("train", half), ("test", identities - half))
    }
    return _write(Path(out), parameters, counts, pictures, lists, progress)


LAYOUTS: dict[str, Callable[..., bool]] = {
    "folder": write_folder,
    "sysu": write_sysu_mm01,
    "regdb": write_regdb,
}
"""The writers by the name of their layout."""


def read_manifest(root: Path) -> dict[str, Any]:
    """Returns the manifest of a whole set.

    Its keys: `generator`, `version`, `layout`, `seed`, `identities`, `images_per_modality`,
    `height`, `width`, `test_fraction` and `counts`, which has, for each split, its numbers of
    `identities` and of `visible` and `infrared` images.

    Raises:
        InputError: there is no set at `root`, it is half-written, or its manifest is damaged.
    """
    root = Path(root)
    try:
        text = (root / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        if (root / MARKER).is_file():
            raise InputError(
                f"half-written synthetic data at {root}: run the same generation again to finish it"
            ) from None
        raise InputError(
            f"no synthetic data at {root}: it has no {MANIFEST}; generate the set first"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot read {root / MANIFEST} ({error.strerror}): check the path and its permissions"
        ) from error
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("generator") != GENERATOR:
        raise InputError(
            f"{root / MANIFEST} is not the manifest of a synthetic set: "
            "choose another folder, or generate the set again"
        )
    return manifest


def _parameters(
    layout: str,
    identities: int,
    seed: int,
    images_per_modality: int,
    height: int,
    width: int,
    test_fraction: float,
) -> dict[str, Any]:
    """Returns what decides the bytes of a set, once each value is known to be in range."""
    limits = {
        "identities": (identities, 3, 9999),
        "seed": (seed, 0, 2**63 - 1),
        "images_per_modality": (images_per_modality, 1, 9999),
        "height": (height, 32, 1024),
        "width": (width, 16, 1024),
    }
    for name, (value, low, high) in limits.items():
        if not isinstance(value, int) or not low <= value <= high:
            raise InputError(
                f"{name}={value!r} of a synthetic set is out of range: "
                f"give an integer from {low} to {high}"
            )
    if not 0.0 < test_fraction < 1.0:
        raise InputError(
            f"test_fraction={test_fraction!r} of a synthetic set is out of range: "
            "give a number above 0 and below 1"
        )
    return {
        "generator": GENERATOR,
        "version": VERSION,
        "layout": layout,
        **{name: value for name, (value, _, _) in limits.items()},
        "test_fraction": test_fraction,
    }


def _tested(identities: int, test_fraction: float) -> int:
    return min(max(1, round(identities * test_fraction)), identities - 2)


def _turns(cameras: tuple[int, ...], count: int) -> Iterator[tuple[int, int]]:
    """Yields camera and number (from 1, within the camera) of `count` pictures of a person."""
    for place in range(count):
        yield cameras[place % len(cameras)], place // len(cameras) + 1


def _write(
    out: Path,
    parameters: dict[str, Any],
    counts: dict[str, dict[str, int]],
    pictures: list[_Picture],
    lists: dict[str, str],
    progress: Progress | None,
) -> bool:
    """Writes a set in the one safe order: marker, pictures, lists, manifest, marker gone."""
    temporary = out / f".synthetic-{os.getpid()}.tmp"
    try:
        if not _claim(out, parameters):
            return False
        _write_file(out / MARKER, _json(parameters), temporary)
        for done, (path, identity, camera, n) in enumerate(pictures, 1):
            pixels = render(
                parameters["seed"],
                identity,
                camera,
                n,
                height=parameters["height"],
                width=parameters["width"],
            )
            _write_file(out / path, _encode(pixels, path, camera), temporary)
            if progress is not None:
                progress(done, len(pictures))
        for path, text in lists.items():
            _write_file(out / path, text.encode(), temporary)
        _write_file(out / MANIFEST, _json({**parameters, "counts": counts}), temporary)
        (out / MARKER).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write synthetic data to {out} ({error.strerror or error}): "
            "check the path, its permissions and the free space"
        ) from error
    return True


def _claim(out: Path, parameters: dict[str, Any]) -> bool:
    """Returns whether the set has to be written; makes its folder.

    Raises:
        InputError: the folder holds anything but this set, whole or begun.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder for the synthetic data")
    out.mkdir(parents=True, exist_ok=True)
    held = {path.name for path in out.iterdir() if not path.name.startswith(".synthetic-")}
    if not held:
        return True
    for name in (MANIFEST, MARKER):
        if name not in held:
            continue
        try:
            found = json.loads((out / name).read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if isinstance(found, dict):
            found.pop("counts", None)
        if found != parameters:
            raise InputError(
                f"{out} holds a synthetic set with other parameters or of another version: "
                "choose another folder, or delete this one"
            )
        return name == MARKER
    raise InputError(
        f"{out} is not empty and not a synthetic set: choose an empty folder or a new one"
    )


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _encode(pixels: np.ndarray, path: str, camera: int) -> bytes:
    """Returns a file's bytes; the JPEG quality is the camera's, and a bitmap loses nothing."""
    buffer = io.BytesIO()
    if path.endswith(".jpg"):
        Image.fromarray(pixels).save(buffer, "JPEG", quality=CAMERAS[camera].jpeg_quality)
    else:
        Image.fromarray(pixels).save(buffer, "BMP")
    return buffer.getvalue()


def _write_file(path: Path, content: bytes, temporary: Path) -> None:
    """Writes a file that others see whole or not at all: `temporary` is on the same volume."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
