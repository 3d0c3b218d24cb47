"""Reads the manifest of a synthetic set, by which such a set is recognised."""

from pathlib import Path
from typing import Any

from lupi_jax.errors import InputError, reason, shorten
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.records import read_json

GENERATOR = "lupi_jax.data.synthetic"
"""The writer's name in a manifest. Older sets have this name, so it does not change."""

MANIFEST = "synthetic.json"
MARKER = "synthetic.partial.json"
"""The file that takes the manifest's place while a set is being written."""


def read_manifest(root: Path) -> dict[str, Any]:
    """Returns the manifest of a finished set.

    Its keys are `generator`, `version`, `layout`, `seed`, `identities` (the number of people with
    pictures), `images_per_modality`, `height`, `width`, `test_fraction` and `counts`, which has
    the numbers of `identities`, `visible` and `infrared` images per split. A set that is not hard
    also has `difficulty`. A set that follows published lists also has `like`, 16 hexadecimal
    digits that change with any byte of the lists, and null for what the lists decide.

    Raises:
        InputError: the set at `root` is missing or unfinished, or its manifest is damaged.
    """
    root = expand(root)
    missing = f"no synthetic data at {root}: it has no {MANIFEST}; generate the set first"
    if (root / MARKER).is_file():
        missing = f"unfinished synthetic data at {root}: run the same generation again"
    file = root / MANIFEST
    try:
        manifest = read_json(file)
        if not isinstance(manifest, dict) or manifest.get("generator") != GENERATOR:
            raise ValueError("another program wrote it")
    except FileNotFoundError:
        raise InputError(missing) from None
    except OSError as error:
        raise InputError(
            f"cannot read {file} ({reason(error)}): check it and its permissions"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{file} is not the manifest of a synthetic set ({shorten(error, 80)}): generate the "
            "set again"
        ) from error
    return manifest


def difficulty(root: Path) -> str | None:
    """The difficulty of a synthetic set, "hard" or "easy"; None for other data.

    Raises:
        InputError: `read_manifest` raises it, if a set was written or begun at `root`.
    """
    return read_manifest(root).get("difficulty", "hard") if is_generated(expand(root)) else None


def is_generated(root: Path) -> bool:
    """Whether a synthetic set was written or begun at `root`."""
    return (root / MANIFEST).exists() or (root / MARKER).exists()
