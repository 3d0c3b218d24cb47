"""How a checkpoint shows that it is what was saved: its record holds the digests of all of it."""

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
    "figures": dict,
    "digests": dict,
}


def make_record(
    run: Mapping[str, Any], figures: Mapping[str, float], arrays: Mapping[str, Any]
) -> dict[str, Any]:
    """What a checkpoint says of itself, plain values that survive JSON.

    Its run, its validation figures, the digests of its arrays, {part: tree}, and the digest of the
    whole record.
    """
    with phase("hashing the checkpoint, in the background"):
        digests = {name: digest(tree) for name, tree in arrays.items()}
    said = {"format": FORMAT, "figures": figures, "digests": digests, **run}
    return {**said, "digest": _digest_of_record(said)}


def run_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `make_record` was given as `run`."""
    return {name: value for name, value in record.items() if name not in _OWN}


def check_record(record: Mapping[str, Any], place: Path) -> None:
    """Check that this version can read the checkpoint at `place`, and that its record is whole.

    Raises:
      InputError: a newer or much older version of this package made it.
      ValueError: the record is not what was saved.
    """
    made = record["format"]
    if made > FORMAT:
        raise InputError(f"{place} was made by a newer lupi_jax: upgrade")
    if made < FORMAT:
        raise InputError(
            f"{place} was made by an older lupi_jax, which did not write down whom it trained on: "
            "train again, in another --workdir"
        )
    if record["digest"] != _digest_of_record(record):
        raise ValueError("its run has another checksum than when it was saved")
    for name, kind in _KINDS.items():
        if name in record and type(record[name]) is not kind:
            raise ValueError(f"its {name} is no {kind.__name__}")
    if any(type(identity) is not int for identity in record.get("identities", [])):
        raise ValueError("an identity of it is no number")
    parse_files(record.get("files", []))


def check_arrays(record: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Check that parts of a checkpoint are what was saved.

    Raises:
      ValueError: they are not.
    """
    for name, tree in arrays.items():
        if digest(tree) != record["digests"][name]:
            raise ValueError(f"its {name} have another checksum than when they were saved")


def _digest_of_record(record: Mapping[str, Any]) -> str:
    """SHA-256 of what a checkpoint says of its run, whatever made JSON of it."""
    said = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
