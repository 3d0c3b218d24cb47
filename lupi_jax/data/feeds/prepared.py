"""Images decoded and resized once: uint8 on disk, read through memory maps.

A prepared set is a directory of shards, `images-<n>.npy` [rows, h, w, 3], and its manifest
`prepared.json`, which is written last: without it the set is half-written and nothing reads it.
"""

import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lupi_jax.data.contents import (
    File,
    digest_file,
    digest_files,
    has_changed,
    look_at,
    stat_file,
)
from lupi_jax.data.decoding import DECODING, decodes_as_before
from lupi_jax.data.feeds.plan import MANIFEST, MARKER, Plan, UnfitError, load
from lupi_jax.data.images import ReadRow, parallel_map, read_images
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError
from lupi_jax.runtime.files import alone, expand, replacing, write_whole
from lupi_jax.runtime.progress import Advance, Show, counted, silent

SHARD_BYTES = 128 * 2**20


class Prepared(NamedTuple):
    """What `prepare` did: images it decoded, and shards it found whole and damaged."""

    decoded: int
    kept: int
    damaged: tuple[str, ...]


def prepare(
    index: Index,
    size: tuple[int, int],
    folder: str | Path,
    workers: int = 4,
    show: Show = silent,
    wait: bool = False,
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
      wait: whether to wait for another process that prepares images there, rather than stop.

    Returns:
      How many images were decoded, how many shards were whole, and which were damaged.

    Raises:
      InputError: an image cannot be read, `folder` holds something else, another process prepares
        images there, or it cannot be written (n h w 3 bytes).
    """
    folder = expand(folder)
    rows = max(1, SHARD_BYTES // (size[0] * size[1] * 3))
    found = look_at(index)
    contents = digest_files([index.root / file.path for file in found], workers, show)
    files = [file._replace(digest=d) for file, d in zip(found, contents, strict=True)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder, wait):
            return _fill(folder, index, Plan(size, rows, files), workers, show)
    except OSError as error:
        raise InputError(
            f"cannot prepare images in {folder} ({error.strerror or error}): check the path, its "
            "permissions and the free space; what is complete is kept"
        ) from error


def _fill(folder: Path, index: Index, plan: Plan, workers: int, show: Show) -> Prepared:
    """`prepare`, in a directory that nobody else writes to."""
    expected = _claim(folder, plan, index.root)
    there = [name for name in plan.shards if (folder / name).is_file()]
    digests = digest_files([folder / name for name in there], workers, show, "shards checked")
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
    for left in folder.glob(".images-*.partial"):  # of older versions that were killed
        left.unlink(missing_ok=True)
    return Prepared(plan.count(missing), len(plan.shards) - len(missing), damaged)


def prepared_reader(
    folder: str | Path, index: Index, size: tuple[int, int], workers: int = 4, show: Show = silent
) -> ReadRow:
    """Reads images of `index` from what `prepare` wrote at `size`; holds no image in memory.

    Every shard that holds one of them is read first, and has to have its checksum. That takes a
    second for each 300 MB and core, once in a process: a second time only where size or times of a
    shard have changed. What changes after that is not noticed.

    Args:
      folder: of the set.
      index: n images, all or some of the set, in any order.
      size: (height, width) in pixels.
      workers: shards checked at once.
      show: shows how many are checked.

    Raises:
      UnfitError: there is no whole set, or not of these images, as they are now, at this size.
    """
    folder = expand(folder)
    plan, checksums = _load_whole(folder)
    rows = _find_rows(folder, plan, index, size)
    place, shape = np.array([rows[path] for path in index.paths.tolist()], int), (*plan.size, 3)
    names = [*plan.shards]
    used = [names[shard] for shard in np.unique(place // plan.rows_per_shard)]
    files = [folder / name for name in names]
    offsets = {
        name: _open_shard(folder / name, (len(plan.shards[name]), *shape)).offset for name in used
    }
    _check_shards(folder, {name: checksums[name] for name in used}, workers, show)

    def read(row: int) -> np.ndarray:
        shard, within = divmod(int(place[row]), plan.rows_per_shard)
        start = offsets[names[shard]] + within * math.prod(shape)
        # A map of its own for each image: one of the whole file would count every page that was
        # ever read as this process's memory.
        try:
            return np.array(np.memmap(files[shard], np.uint8, "r", start, shape))
        except (OSError, ValueError) as error:
            raise InputError(f"{files[shard]}: {error}; run `lupi prepare` again") from error

    return read


def _load_whole(folder: Path) -> tuple[Plan, dict[str, str]]:
    try:
        return load(folder / MANIFEST)
    except OSError as error:
        what = "a half-prepared set" if (folder / MARKER).is_file() else "no prepared images"
        fault = f"{what} at {folder} ({error.strerror})"
        raise UnfitError(fault, f"run `lupi prepare --out {folder}` first") from None


def _find_rows(folder: Path, plan: Plan, index: Index, size: tuple[int, int]) -> dict[str, int]:
    """{path: row of the set}, of a set that is of the images of `index`, as they are now."""
    if plan.size != tuple(size):
        raise UnfitError(
            f"{folder} holds images of {plan.size} pixels, not {tuple(size)}",
            "set data.image_size, or prepare them at that size in another folder",
        )
    rows = {file.path: row for row, file in enumerate(plan.files)}
    paths = index.paths.tolist()
    lacking = [path for path in paths if path not in rows]
    if lacking:
        raise UnfitError(
            f"{folder} lacks {len(lacking)} images of {index.root}, the first {lacking[0]}",
            "prepare the data set anew, in another folder",
        )
    again = "run `lupi prepare` again, into the same folder"
    changed = [path for path in paths if has_changed(index.root, plan.files[rows[path]])]
    if changed:
        raise UnfitError(
            f"{len(changed)} images of {index.root} have changed since {folder} was prepared, the "
            f"first {changed[0]}",
            again,
        )
    other = [path for path in paths if _decodes_otherwise(plan, index.root / path)]
    if other:
        raise UnfitError(
            f"{folder} is of an older version, which showed {len(other)} images otherwise (turned, "
            f"transparent or in other colours), the first {other[0]}",
            again,
        )
    return rows


def prepared_files(folder: str | Path) -> list[File]:
    """The images that a whole prepared set was made of, with their checksums.

    Raises:
      UnfitError: there is no such set.
    """
    return _load_whole(expand(folder))[0].files


def _claim(folder: Path, plan: Plan, root: Path) -> dict[str, str]:
    """Remove the folder's outdated shards; the checksums of a whole set's others."""
    record = next((f for f in (folder / MANIFEST, folder / MARKER) if f.exists()), None)
    if record is None:
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            what = f"{folder} is not empty and holds no prepared images"
            raise UnfitError(what, "choose another")
        return {}
    before, checksums = load(record)
    paths = [file.path for file in plan.files]
    same_shards = (before.size, before.rows_per_shard) == (plan.size, plan.rows_per_shard)
    if not same_shards or [file.path for file in before.files] != paths:
        what = f"{folder} holds other images, or at another size"
        raise UnfitError(what, "choose another folder, or delete it")
    for name, rows in plan.shards.items():
        new, old = (p.files[rows.start : rows.stop] for p in (plan, before))
        changed = [file.digest for file in new] != [file.digest for file in old]
        if changed or any(_decodes_otherwise(before, root / file.path) for file in new):
            (folder / name).unlink(missing_ok=True)
            checksums.pop(name, None)
    return checksums


def _decodes_otherwise(plan: Plan, file: Path) -> bool:
    return plan.decoding != DECODING and not decodes_as_before(file)


def _write_shard(
    file: Path, index: Index, plan: Plan, workers: int, advance: Advance, done: int
) -> str:
    """Decode the images of a shard; its SHA-256."""
    rows = plan.shards[file.name]
    # Written, not mapped: on a full disk a write fails, a map kills the process.
    with replacing(file) as part, part.open("w+b") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *plan.size, 3)}
        np.lib.format.write_array_header_1_0(out, header)
        images = index[np.arange(rows.start, rows.stop)]
        for number, image in enumerate(read_images(images, plan.size, workers), done + 1):
            out.write(image.tobytes())
            advance(number, len(plan.files))
        out.seek(0)
        return hashlib.file_digest(out, "sha256").hexdigest()


def _write_json(file: Path, record: dict[str, Any]) -> None:
    write_whole(file, json.dumps(record))


def _open_shard(file: Path, shape: tuple[int, ...]) -> np.memmap:
    try:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pixels = None
    if not isinstance(pixels, np.memmap) or pixels.shape != shape or pixels.dtype != np.uint8:
        raise _damaged(file)
    return pixels


def _check_shards(folder: Path, checksums: dict[str, str], workers: int, show: Show) -> None:
    """Raise UnfitError where a shard has another checksum than this one."""
    files = [folder / name for name in checksums]
    found = counted(
        parallel_map(_digest_now, iter(files), workers, 2 * workers),
        show("shards checked"),
        0,
        len(files),
    )
    for file, digest in zip(files, found, strict=True):
        if digest != checksums[file.name]:
            raise _damaged(file)


def _digest_now(file: Path) -> str:
    found = stat_file(file)
    return _digest_once(file.absolute(), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=2**16)
def _digest_once(file: Path, *_: int) -> str:
    """The checksum of a file that is as its size and times say."""
    return digest_file(file)


def _damaged(file: Path) -> UnfitError:
    advice = f"run `lupi prepare --out {file.parent}` again to mend it"
    return UnfitError(f"{file} is missing or damaged", advice)
