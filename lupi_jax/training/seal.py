"""How a checkpoint shows that it is what was saved: its record holds the digests of all of it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lupi_jax.errors import InputError
from lupi_jax.runtime.phases import phase

FORMAT = 2
OWN = ("format", "figures", "digests", "digest")
"""What a record holds beside the run."""


def make_record(
    run: Mapping[str, Any], figures: Mapping[str, float], arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """Run, validation figures, the digests of {part: arrays} and that of all this, for JSON."""
    with phase("hashing the checkpoint, in the background"):
        digests = {name: digest(tree) for name, tree in arrays.items()}
    said = {"format": FORMAT, "figures": figures, "digests": digests, **run}
    return {**said, "digest": _digest_of_record(said)}


def check_record(record: Mapping[str, Any], place: Path) -> None:
    """Check that this version can read the checkpoint at `place`, and that its record is whole.

    Raises:
      InputError: a newer or much older version of this package made it.
      ValueError: the record is not what was saved.
    """
    if record["format"] != FORMAT:
        raise InputError(
            f"{place} has format {record['format']}, and this lupi_jax reads {FORMAT}: use the "
            "version that made it, or train again in another --workdir"
        )
    if record["digest"] != _digest_of_record(record):
        raise ValueError("its run has another checksum than when it was saved")


def digest(tree: Any) -> str:
    """SHA-256 of the arrays of `tree`, with their places, shapes and dtypes."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _digest_of_record(record: Mapping[str, Any]) -> str:
    said = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
