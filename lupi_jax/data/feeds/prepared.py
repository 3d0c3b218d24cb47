"""Images decoded and resized once: uint8 on disk, read through memory maps.

A prepared set is a directory of shards, `images-<n>.npy` [rows, h, w, 3], and its manifest
`prepared.json`, which is written last: without it the set is half-written and nothing reads it.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from io import BufferedRandom
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.data.decoding import DECODING, decodes_as_before
from lupi_jax.data.images import ReadRow, parallel_map, read_images
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.progress import Advance, Show, counted, silent

MANIFEST = "prepared.json"
MARKER = "prepared.partial.json"
FORMAT = 1
SHARD_BYTES = 128 * 2**20


class Prepared(NamedTuple):
    """What `prepare` did: images it decoded, and shards it found whole and damaged."""

    decoded: int
    kept: int
    damaged: tuple[str, ...]


class _File(NamedTuple):
    """An image file as it was: its path below the root, bytes, modification time, SHA-256."""

    path: str
    bytes: int
    mtime_ns: int
    digest: str


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a set is made of, and how its rows lie in its shards."""

    size: tuple[int, int]
    rows_per_shard: int
    files: list[_File]
    decoding: int = DECODING

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that `_load` reads."""
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


def prepare(
    index: Index,
    size: tuple[int, int],
    folder: str | Path,
    workers: int = 4,
    show: Show = silent,
) -> Prepared:
    """Decode and resize every image of `index` into `folder`; or finish, or check, what is there.

    Shards appear under their names only when they are complete, and the manifest, which holds
    their checksums, when all are: whatever interrupts this, calling it again goes on. Called on a
    whole set it reads every shard; those whose checksum is another, or whose images have changed,
    are made anew.

    Args:
      index: n images.
      size: (height, width) in pixels that they are resized to.
      folder: absent, empty, or a set of images of the same names and size, whole or begun.
      workers: files decoded, and shards checked, at once.
      show: shows how many files are read, shards are checked, and images are decoded.

    Returns:
      How many images were decoded, how many shards were whole, and which were damaged.

    Raises:
      InputError: an image cannot be read, `folder` holds something else, or it cannot be written
        (n h w 3 bytes).
    """
    folder = expand(folder)
    rows = max(1, SHARD_BYTES // (size[0] * size[1] * 3))
    images = [index.root / path for path in index.paths]
    stats = [_stat(image) for image in images]
    contents = _digests(images, workers, show, "files read")
    files = [
        _File(path, stat.st_size, stat.st_mtime_ns, digest)
        for path, stat, digest in zip(index.paths.tolist(), stats, contents, strict=True)
    ]
    plan = _Plan(size, rows, files)
    try:
        expected = _claim(folder, plan, index.root)
        there = [name for name in plan.shards if (folder / name).is_file()]
        digests = _digests([folder / name for name in there], workers, show, "shards checked")
        found = dict(zip(there, digests, strict=True))
        damaged = tuple(name for name in expected if found.get(name) != expected[name])
        kept = {name: digest for name, digest in found.items() if name not in damaged}
        missing = [name for name in plan.shards if name not in kept]
        if missing:
            _write_json(folder / MARKER, plan.record)
            for name in damaged:  # first: only the manifest tells them from whole ones
                (folder / name).unlink(missing_ok=True)
            (folder / MANIFEST).unlink(missing_ok=True)
            advance = show("images decoded")
            for name in missing:
                done = plan.count(kept)
                kept[name] = _write_shard(folder / name, index, plan, workers, advance, done)
        # Written also where only times have changed, so that they are not looked into again.
        checksums = {name: kept[name] for name in plan.shards}
        _write_json(folder / MANIFEST, {**plan.record, "checksums": checksums})
        (folder / MARKER).unlink(missing_ok=True)
        for left in folder.glob(".images-*.partial"):  # of runs that were killed
            left.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot prepare images in {folder} ({error.strerror or error}): check the path, its "
            "permissions and the free space; what is complete is kept"
        ) from error
    return Prepared(plan.count(missing), len(plan.shards) - len(missing), damaged)


def prepared_reader(folder: str | Path, index: Index, size: tuple[int, int]) -> ReadRow:
    """Reads images of `index` from what `prepare` wrote at `size`; holds no image in memory.

    Raises:
      InputError: there is no whole set, or not of these images, as they are now, at this size.
    """
    folder = expand(folder)
    try:
        plan = _load(folder / MANIFEST)[0]
    except OSError as error:
        what = "a half-prepared set" if (folder / MARKER).is_file() else "no prepared images"
        raise InputError(
            f"{what} at {folder} ({error.strerror}): run `lupi prepare --out {folder}` first"
        ) from None
    if plan.size != tuple(size):
        raise InputError(
            f"{folder} holds images of {plan.size} pixels, not {tuple(size)}: set data.image_size, "
            "or prepare them at that size in another folder"
        )
    rows = {file.path: row for row, file in enumerate(plan.files)}
    paths = index.paths.tolist()
    lacking = [path for path in paths if path not in rows]
    if lacking:
        raise InputError(
            f"{folder} lacks {len(lacking)} images of {index.root}, the first {lacking[0]}: "
            "prepare the data set anew, in another folder"
        )
    changed = [path for path in paths if _has_changed(index.root, plan.files[rows[path]])]
    if changed:
        raise InputError(
            f"{len(changed)} images of {index.root} have changed since {folder} was prepared, the "
            f"first {changed[0]}: run `lupi prepare` again, into the same folder"
        )
    other = [path for path in paths if _decodes_otherwise(plan, index.root / path)]
    if other:
        raise InputError(
            f"{folder} is of an older version, which showed {len(other)} images otherwise (turned, "
            f"transparent or in other colours), the first {other[0]}: run `lupi prepare` again, "
            "into the same folder"
        )
    place, shape = [rows[path] for path in paths], (*plan.size, 3)
    offsets = [_open_shard(folder / n, (len(r), *shape)).offset for n, r in plan.shards.items()]
    files = [folder / name for name in plan.shards]

    def read(row: int) -> np.ndarray:
        shard, within = divmod(place[row], plan.rows_per_shard)
        start = offsets[shard] + within * math.prod(shape)
        # A map of its own for each image: one of the whole file would count every page that was
        # ever read as this process's memory.
        try:
            return np.array(np.memmap(files[shard], np.uint8, "r", start, shape))
        except (OSError, ValueError) as error:
            raise InputError(f"{files[shard]}: {error}; run `lupi prepare` again") from error

    return read


def cache_folder(cache: Path, index: Index, size: tuple[int, int]) -> Path:
    """Where under `cache` a prepared set of just these images, as they are now, belongs."""
    digest = hashlib.sha256(repr((FORMAT, DECODING, size)).encode())
    for path in index.paths.tolist():
        found = _stat(index.root / path)
        line = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return cache / digest.hexdigest()[:16]


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a whole prepared set."""
    return (folder / MANIFEST).is_file()


def _load(file: Path) -> tuple[_Plan, dict[str, str]]:
    """What a manifest or marker says, and the checksums of the shards in a manifest."""
    content = file.read_bytes()
    try:
        record = json.loads(content)
        if record["format"] > FORMAT:
            raise InputError(f"{file} was prepared by a newer lupi_jax: upgrade")
        if record["format"] != FORMAT:
            raise ValueError
        height, width = map(int, record["size"])
        files = [_File(str(p), int(b), int(t), str(d)) for p, b, t, d in record["files"]]
        decoding = int(record.get("decoding", 1))
        plan = _Plan((height, width), int(record["rows_per_shard"]), files, decoding)
        return plan, dict(record.get("checksums", {}))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError):
        what = f"{file} is damaged or of another version"
        raise InputError(f"{what}: delete {file.parent} and prepare it anew") from None


def _claim(folder: Path, plan: _Plan, root: Path) -> dict[str, str]:
    """Make the folder or remove its outdated shards; the checksums of a whole set's others."""
    folder.mkdir(parents=True, exist_ok=True)
    record = next((f for f in (folder / MANIFEST, folder / MARKER) if f.exists()), None)
    if record is None:
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no prepared images: choose another")
        return {}
    before, checksums = _load(record)
    paths = [file.path for file in plan.files]
    same_shards = (before.size, before.rows_per_shard) == (plan.size, plan.rows_per_shard)
    if not same_shards or [file.path for file in before.files] != paths:
        raise InputError(
            f"{folder} holds other images, or at another size: choose another folder, or delete it"
        )
    for name, rows in plan.shards.items():
        new, old = (p.files[rows.start : rows.stop] for p in (plan, before))
        changed = [file.digest for file in new] != [file.digest for file in old]
        if changed or any(_decodes_otherwise(before, root / file.path) for file in new):
            (folder / name).unlink(missing_ok=True)
            checksums.pop(name, None)
    return checksums


def _stat(file: Path) -> os.stat_result:
    with _named(file):
        return os.stat(file)


def _digest(file: Path) -> str:
    with _named(file), file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; replace or remove it") from error


def _digests(files: list[Path], workers: int, show: Show, what: str) -> list[str]:
    if not files:
        return []
    digests = parallel_map(_digest, iter(files), workers, 8 * workers)
    return list(counted(digests, show(what), 0, len(files)))


def _has_changed(root: Path, file: _File) -> bool:
    found = _stat(root / file.path)
    if (found.st_size, found.st_mtime_ns) == (file.bytes, file.mtime_ns):
        return False
    # A copy of the data set has other times, and the same images.
    return found.st_size != file.bytes or _digest(root / file.path) != file.digest


def _decodes_otherwise(plan: _Plan, file: Path) -> bool:
    return plan.decoding != DECODING and not decodes_as_before(file)


def _write_shard(
    file: Path, index: Index, plan: _Plan, workers: int, advance: Advance, done: int
) -> str:
    """Decode the images of a shard; its SHA-256."""
    rows = plan.shards[file.name]
    digest = ""
    try:
        # Written, not mapped: on a full disk a write fails, a map kills the process.
        with _appearing(file) as out:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *plan.size, 3)}
            np.lib.format.write_array_header_1_0(out, header)
            part = index[np.arange(rows.start, rows.stop)]
            for number, image in enumerate(read_images(part, plan.size, workers), done + 1):
                out.write(image.tobytes())
                advance(number, len(plan.files))
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
    except FileNotFoundError:
        # Whoever finished the same set meanwhile has tidied up.
        if not file.is_file():
            raise
    return digest


def _write_json(file: Path, record: dict[str, Any]) -> None:
    with _appearing(file) as out:
        out.write(json.dumps(record).encode())


@contextlib.contextmanager
def _appearing(file: Path) -> Iterator[BufferedRandom]:
    """A file to write, which in the end appears as `file`.

    Unlike `runtime.files.replacing`, this leaves alone what processes elsewhere have begun.
    """
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _open_shard(file: Path, shape: tuple[int, ...]) -> np.memmap:
    try:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pixels = None
    if not isinstance(pixels, np.memmap) or pixels.shape != shape or pixels.dtype != np.uint8:
        raise InputError(
            f"{file} is missing or damaged: run `lupi prepare --out {file.parent}` again to mend it"
        )
    return pixels
