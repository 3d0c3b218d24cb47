"""The images and the shards of a prepared set, and the manifest that lists them."""

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
    """A prepared set cannot be used: `fault` says why, and the message also what to do."""

    def __init__(self, fault: str, advice: str) -> None:
        super().__init__(f"{fault}: {advice}")
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class Plan:
    """The images of a set, and how they are divided into shards.

    Attributes:
      size: (height, width) of the images in pixels.
      rows_per_shard: images per shard; the last shard may hold fewer.
      files: the image files, in the order of the set's rows.
      decoding: `DECODING` in the version that made the set.
    """

    size: tuple[int, int]
    rows_per_shard: int
    files: list[File]
    decoding: int = DECODING

    @property
    def record(self) -> dict[str, Any]:
        """The plan as plain values, which `load` reads."""
        plain = {"format": FORMAT, "resampling": "lanczos", **dataclasses.asdict(self)}
        return {**plain, "files": [list(file) for file in self.files]}

    @property
    def shards(self) -> dict[str, range]:
        """{name of a shard: its rows}."""
        rows, step = len(self.files), self.rows_per_shard
        starts = enumerate(range(0, rows, step))
        return {f"images-{n:05d}.npy": range(i, min(i + step, rows)) for n, i in starts}

    def count(self, shards: Iterable[str]) -> int:
        """How many images these shards hold."""
        return sum(len(self.shards[name]) for name in shards)


def load(file: Path) -> tuple[Plan, dict[str, str]]:
    """The plan in a manifest or marker, and the checksums of the shards.

    A manifest has the checksums of all shards; a marker need not have any.

    Raises:
      OSError: the file cannot be read.
      UnfitError: the file is damaged, or another version wrote it.
    """
    try:
        record = read_json(file, LARGE)
        if type(record["format"]) is int and record["format"] > FORMAT:
            raise UnfitError(f"{file} was written by a newer version", "upgrade lupi_jax")
        return _parse(record, file.name == MANIFEST)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UnfitError):
            raise
        fault = f"{file} is damaged, or another version wrote it"
        advice = f"delete {file.parent} and run `lupi prepare` again"
        raise UnfitError(fault, advice) from error


def _parse(record: Any, whole: bool) -> tuple[Plan, dict[str, str]]:
    """The plan and checksums in a record that may hold anything.

    Raises:
      ValueError, KeyError, TypeError: the record does not hold them.
    """
    height, width = record["size"]
    numbers = [record["format"], height, width, record["rows_per_shard"], record.get("decoding", 1)]
    if any(type(number) is not int or number < 1 for number in numbers) or numbers[0] != FORMAT:
        raise ValueError("a number is not whole and positive, or the format is another")
    plan = Plan((height, width), numbers[3], parse_files(record["files"]), numbers[4])
    checksums = record.get("checksums", {})
    if whole and [*checksums] != [*plan.shards]:
        raise ValueError("the checksums do not belong to the shards")
    return plan, {str(name): str(digest) for name, digest in checksums.items()}
