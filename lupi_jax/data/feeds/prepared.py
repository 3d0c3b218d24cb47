"""Images decoded and resized once: uint8 on disk, read through memory maps.

A prepared set is a directory of shards, `images-<n>.npy` [rows, h, w, 3], and its manifest
`prepared.json`, which is written last: without it the set is half-written and nothing reads it.
"""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.data.images import ReadRow, parallel_map, read_images
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError
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

    @classmethod
    def parse(cls, record: Any) -> "_Plan":
        """What a manifest or marker says; TypeError, ValueError or KeyError if it is none."""
        height, width = map(int, record["size"])
        files = [_File(str(p), int(b), int(t), str(d)) for p, b, t, d in record["files"]]
        return cls((height, width), int(record["rows_per_shard"]), files)

    @property
    def record(self) -> dict[str, Any]:
        """Plain values that `parse` reads."""
        plain = {"format": FORMAT, "resampling": "lanczos", **dataclasses.asdict(self)}
        return {**plain, "files": [list(file) for file in self.files]}

    @property
    def shards(self) -> dict[str, range]:
        """{name: its rows}."""
        rows, step = len(self.files), self.rows_per_shard
        starts = enumerate(range(0, rows, step))
        return {f"images-{n:05d}.npy": range(i, min(i + step, rows)) for n, i in starts}

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for sets of which one may become the other."""
        return self.size, self.rows_per_shard, [file.path for file in self.files]

    def outdated(self, then: "_Plan") -> list[str]:
        """The shards of which `then`, of the same kind, had other images."""

        def same(row: int) -> bool:
            return self.files[row].digest == then.files[row].digest

        return [name for name, rows in self.shards.items() if not all(map(same, rows))]


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
      size: (height, width) in pixels they are resized to.
      folder: absent, empty, or a set of images of the same names and size, whole or begun.
      workers: files decoded, and shards checked, at once.
      show: shows how many files are read and shards found, for their checksums, and how many
        images are decoded.

    Raises:
      InputError: an image cannot be read, `folder` holds something else, or it cannot be written
        (n h w 3 bytes).
    """
    folder = Path(folder)
    rows = max(1, SHARD_BYTES // (size[0] * size[1] * 3))
    plan = _Plan(size, rows, _read_files(index, workers, show))
    try:
        before, expected = _claim(folder, plan)
        for name in plan.outdated(before) if before else []:
            (folder / name).unlink(missing_ok=True)
            expected.pop(name, None)
        found = _checksums(folder, plan, workers, show)
        damaged = tuple(name for name in expected if found.get(name) != expected[name])
        kept = {name: digest for name, digest in found.items() if name not in damaged}
        missing = [name for name in plan.shards if name not in kept]
        if missing:
            _write(folder / MARKER, json.dumps(plan.record).encode())
            (folder / MANIFEST).unlink(missing_ok=True)
            _require_space(folder, plan, missing)
            done = sum(len(plan.shards[name]) for name in kept)
            advance = show("images decoded")
            for name in missing:
                kept[name] = _write_shard(folder / name, index, plan, workers, advance, done)
                done += len(plan.shards[name])
        # Written also where only times have changed, so that they are not looked into again.
        checksums = {name: kept[name] for name in plan.shards}
        _write(folder / MANIFEST, json.dumps({**plan.record, "checksums": checksums}).encode())
        (folder / MARKER).unlink(missing_ok=True)
        for left in folder.glob(".images-*.partial"):  # of runs that were killed
            left.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot prepare images in {folder} ({error.strerror or error}): check the path, its "
            "permissions and the free space; what is complete is kept"
        ) from error
    decoded = sum(len(plan.shards[name]) for name in missing)
    return Prepared(decoded, len(plan.shards) - len(missing), damaged)


def prepared_reader(folder: str | Path, index: Index, size: tuple[int, int]) -> ReadRow:
    """Reads images of `index` from a prepared set; holds no image in memory.

    Args:
      folder: as `prepare` wrote it.
      index: images that are in it, and have not changed since.
      size: (height, width) it was prepared at.

    Raises:
      InputError: there is no whole set, or not of these images at this size.
    """
    folder = Path(folder)
    plan = _read_manifest(folder)
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
    digest = hashlib.sha256(repr((FORMAT, size)).encode())
    for path in index.paths.tolist():
        found = _stat(index.root / path)
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return cache / digest.hexdigest()[:16]


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a whole prepared set."""
    return (folder / MANIFEST).is_file()


def _stat(file: Path) -> os.stat_result:
    try:
        return os.stat(file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; replace or remove it") from error


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; replace or remove it") from error


def _read_files(index: Index, workers: int, show: Show) -> list[_File]:
    def read(path: str) -> _File:
        found = _stat(index.root / path)
        return _File(path, found.st_size, found.st_mtime_ns, _digest(index.root / path))

    files = parallel_map(read, iter(index.paths.tolist()), workers, 8 * workers)
    return list(counted(files, show("files read"), 0, len(index)))


def _has_changed(root: Path, file: _File) -> bool:
    found = _stat(root / file.path)
    if (found.st_size, found.st_mtime_ns) == (file.bytes, file.mtime_ns):
        return False
    # A copy of the data set has other times, and the same images.
    return found.st_size != file.bytes or _digest(root / file.path) != file.digest


def _claim(folder: Path, plan: _Plan) -> tuple[_Plan | None, dict[str, str]]:
    """What `folder` says of the set in it (None: it is new), and the checksums of a whole one.

    Makes the folder.

    Raises:
      InputError: it holds anything else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, MARKER):
        if not (folder / name).exists():
            continue
        try:
            record = json.loads((folder / name).read_bytes())
            found, checksums = _Plan.parse(record), dict(record.get("checksums", {}))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{folder / name} is damaged: delete {folder} and prepare it anew"
            ) from None
        if found.kind != plan.kind:
            raise InputError(
                f"{folder} holds other images, or at another size: choose another folder, or "
                "delete it"
            )
        return found, checksums
    if any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no prepared images: choose another")
    return None, {}


def _checksums(folder: Path, plan: _Plan, workers: int, show: Show) -> dict[str, str]:
    """{name: SHA-256} of the shards that are there."""
    there = [name for name in plan.shards if (folder / name).is_file()]

    def digest(name: str) -> str:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(workers) as pool:
        digests = pool.map(digest, there)
        if there:
            digests = counted(digests, show("shards checked"), 0, len(there))
        return dict(zip(there, digests, strict=True))


def _require_space(folder: Path, plan: _Plan, missing: list[str]) -> None:
    needed = sum(len(plan.shards[name]) for name in missing) * plan.size[0] * plan.size[1] * 3
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder} has room for {free / 2**30:.1f} GiB and needs {needed / 2**30:.1f} more: "
            "free some, choose another folder, or lower data.image_size"
        )


def _write_shard(
    file: Path, index: Index, plan: _Plan, workers: int, advance: Advance, done: int
) -> str:
    """Decode the images of a shard; its SHA-256."""
    rows = plan.shards[file.name]
    # Processes of several machines, of equal numbers even, may share the folder.
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}.partial")
    try:
        # Written, not mapped: on a full disk a write fails, a map kills the process.
        with partial.open("w+b") as out:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *plan.size, 3)}
            np.lib.format.write_array_header_1_0(out, header)
            part = index[np.arange(rows.start, rows.stop)]
            for number, image in enumerate(read_images(part, plan.size, workers), done + 1):
                out.write(image.tobytes())
                advance(number, len(plan.files))
            out.flush()
            os.fsync(out.fileno())
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
        os.replace(partial, file)
    except FileNotFoundError:
        # Whoever finished the same set meanwhile has tidied up.
        if not file.is_file():
            raise
        return digest
    finally:
        partial.unlink(missing_ok=True)
    return digest


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with partial.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, path)


def _read_manifest(folder: Path) -> _Plan:
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        if record["format"] > FORMAT:
            raise InputError(f"{folder} was prepared by a newer lupi_jax: upgrade")
        return _Plan.parse(record)
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        begun = (folder / MARKER).is_file()
        what = "a half-prepared set" if begun else "no prepared images"
        raise InputError(f"{what} at {folder}: run `lupi prepare --out {folder}` first") from None
    except OSError as error:
        raise InputError(f"cannot read {folder / MANIFEST}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder / MANIFEST} is damaged: delete {folder} and prepare it anew"
        ) from None


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
