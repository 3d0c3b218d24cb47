"""The manifest of a synthetic set: what tells that a folder holds one, and what it holds."""

from pathlib import Path
from typing import Any

from lupi_jax.errors import InputError, shorten
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.records import read_json

GENERATOR = "lupi_jax.data.synthetic"
"""What a manifest says of its writer. Sets written earlier say so: it stays."""

MANIFEST = "synthetic.json"
MARKER = "synthetic.partial.json"
"""In place of the manifest while a set is being written."""


def read_manifest(root: Path) -> dict[str, Any]:
    """Returns the manifest of a whole set.

    Its keys: `generator`, `version`, `layout`, `seed`, `identities` (all that have pictures),
    `images_per_modality`, `height`, `width`, `test_fraction` and `counts`, which has, for each
    split, its numbers of `identities` and of `visible` and `infrared` images. A set whose people
    are not hard to find has `difficulty`. A set that follows published lists has `like`, 16
    hexadecimal digits that change with any byte of them, and null for what the lists decide.

    Raises:
        InputError: there is no set at `root`, it is half-written, or its manifest is damaged.
    """
    root = expand(root)
    missing = f"no synthetic data at {root}: it has no {MANIFEST}; generate the set first"
    if (root / MARKER).is_file():
        missing = f"half-written synthetic data at {root}: run the same generation again"
    file = root / MANIFEST
    try:
        manifest = read_json(file)
        if not isinstance(manifest, dict) or manifest.get("generator") != GENERATOR:
            raise ValueError("another program wrote it")
    except FileNotFoundError:
        raise InputError(missing) from None
    except OSError as error:
        raise InputError(
            f"cannot read {file} ({error.strerror}): check it and its permissions"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{file} is not the manifest of a synthetic set ({shorten(error, 80)}): generate the "
            "set again"
        ) from error
    return manifest


def difficulty(root: Path) -> str | None:
    """How hard the people of a whole set are to find, "hard" or "easy"; None for other data.

    Raises:
        InputError: as `read_manifest`, where a set was written or begun.
    """
    return read_manifest(root).get("difficulty", "hard") if is_generated(expand(root)) else None


def is_generated(root: Path) -> bool:
    """Whether a synthetic set was written or begun at `root`."""
    return (root / MANIFEST).exists() or (root / MARKER).exists()
