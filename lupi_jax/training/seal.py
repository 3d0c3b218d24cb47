"""Detect damaged checkpoints, by digests of all contents in a checkpoint's record."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lupi_jax.data.contents import parse_files
from lupi_jax.errors import InputError
from lupi_jax.runtime.digest import digest
from lupi_jax.runtime.phases import phase

FORMAT = 2
_OWN = ("format", "figures", "digests", "digest")
_KINDS = {
    "config": dict,
    "steps": int,
    "steps_per_epoch": int,
    "num_classes": int,
    "identities": list,
    "data": str,
    "content": str,
    "versions": dict,
    "parts": dict,
    "figures": dict,
    "digests": dict,
}


def make_record(
    run: Mapping[str, Any], figures: Mapping[str, float], arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """Make a checkpoint's record, from plain values that survive JSON.

    The record holds the `run`, the validation figures, a digest of each part of `arrays`, and a
    digest of the whole record.

    Args:
      run: the run's `run_record`.
      figures: validation figures.
      arrays: {part: tree of arrays}.
    """
    with phase("hashing the checkpoint, in the background"):
        digests = {name: digest(tree) for name, tree in arrays.items()}
    said = {"format": FORMAT, "figures": figures, "digests": digests, **run}
    return {**said, "digest": _digest_of_record(said)}


def run_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The `run` that `make_record` was given."""
    return {name: value for name, value in record.items() if name not in _OWN}


def check_record(record: Mapping[str, Any], place: Path) -> None:
    """Check that this version can read the checkpoint at `place`, and that its record is intact.

    Raises:
      InputError: a newer or much older version of this package made the checkpoint.
      ValueError: the record differs from what was saved.
    """
    made = record["format"]
    if made > FORMAT:
        raise InputError(f"{place} was made by a newer lupi_jax: upgrade")
    if made < FORMAT:
        raise InputError(
            f"{place} was made by an older lupi_jax, which did not record the training identities: "
            "train again in another --workdir"
        )
    if record["digest"] != _digest_of_record(record):
        raise ValueError("the checksum of its run differs from the saved one")
    for name, kind in _KINDS.items():
        if name in record and type(record[name]) is not kind:
            raise ValueError(f"its {name} is not of type {kind.__name__}")
    if any(type(identity) is not int for identity in record.get("identities", [])):
        raise ValueError("one of its identities is not a whole number")
    parse_files(record.get("files", []))


def check_arrays(record: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Check that parts of a checkpoint are as they were saved.

    Raises:
      ValueError: a part differs.
    """
    for name, tree in arrays.items():
        if digest(tree) != record["digests"][name]:
            raise ValueError(f"the checksum of its {name} differs from the saved one")


def _digest_of_record(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its own digest, as sorted JSON."""
    said = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
