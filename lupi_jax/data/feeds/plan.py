"""What a prepared set is made of, and how its manifest says so."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lupi_jax.data.contents import File, parse_files
from lupi_jax.data.decoding import DECODING
from lupi_jax.errors import InputError
from lupi_jax.runtime.records import LARGE, read_json

MANIFEST = "prepared.json"
MARKER = "prepared.partial.json"
FORMAT = 1


class UnfitError(InputError):
    """A prepared set cannot be used: `fault` says why, in the end the message what to do."""

    def __init__(self, fault: str, advice: str) -> None:
        super().__init__(f"{fault}: {advice}")
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a set is made of, and how its rows lie in its shards.

    Attributes:
      size: (height, width) of its images in pixels.
      rows_per_shard: images in each shard but the last.
      files: what its images were made of, in their order.
      decoding: `DECODING` of the version that made it.
    """

    size: tuple[int, int]
    rows_per_shard: int
    files: list[File]
    decoding: int = DECODING

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that `load` reads."""
        plain = {"format": FORMAT, "resampling": "lanczos", **dataclasses.asdict(self)}
        return {**plain, "files": [list(file) for file in self.files]}

    @property
    def shards(self) -> dict[str, range]:
        """{name: its rows}."""
        rows, step = len(self.files), self.rows_per_shard
        starts = enumerate(range(0, rows, step))
        return {f"images-{n:05d}.npy": range(i, min(i + step, rows)) for n, i in starts}

    def count(self, shards: Iterable[str]) -> int:
        """How many images these shards hold."""
        return sum(len(self.shards[name]) for name in shards)


def load(file: Path) -> tuple[Plan, dict[str, str]]:
    """What a manifest or marker says, and the checksums of the shards: all, in a manifest.

    Raises:
      OSError: it cannot be read.
      UnfitError: it is damaged, or of another version.
    """
    try:
        record = read_json(file, LARGE)
        if type(record["format"]) is int and record["format"] > FORMAT:
            raise UnfitError(f"{file} was prepared by a newer lupi_jax", "upgrade")
        return _parse(record, file.name == MANIFEST)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UnfitError):
            raise
        fault = f"{file} is damaged or of another version"
        raise UnfitError(fault, f"delete {file.parent} and prepare it anew") from error


def _parse(record: Any, whole: bool) -> tuple[Plan, dict[str, str]]:
    """The plan and checksums in a record, which may say anything.

    Raises:
      ValueError, KeyError, TypeError: they are not there.
    """
    height, width = record["size"]
    numbers = [record["format"], height, width, record["rows_per_shard"], record.get("decoding", 1)]
    if any(type(number) is not int or number < 1 for number in numbers) or numbers[0] != FORMAT:
        raise ValueError("a number of it is none, or its format another")
    plan = Plan((height, width), numbers[3], parse_files(record["files"]), numbers[4])
    checksums = record.get("checksums", {})
    if whole and [*checksums] != [*plan.shards]:
        raise ValueError("it has not one checksum for each shard")
    return plan, {str(name): str(digest) for name, digest in checksums.items()}
