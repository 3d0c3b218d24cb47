"""Images that are decoded and resized once, kept on disk as uint8, and read through memory maps.

A prepared set is a directory with shards, `images-<n>.npy` [rows, h, w, 3], and a manifest,
`prepared.json`. The manifest is written last; a set without one is unfinished, and not read.
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
from lupi_jax.errors import InputError, reason
from lupi_jax.runtime.files import alone, expand, replacing, write_whole
from lupi_jax.runtime.progress import Advance, Show, counted, silent

SHARD_BYTES = 128 * 2**20


class Prepared(NamedTuple):
    """What `prepare` did.

    Attributes:
      images: number of images in the set.
      decoded: number of images decoded.
      kept: number of shards that were whole already.
      damaged: names of the shards that were damaged or missing.
    """

    images: int
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
    """Decode and resize every image of `index` into `folder`, or finish or check a set there.

    A shard gets its name when it is complete. The manifest, which holds the checksums, is written
    when all shards are complete. After an interruption, another call continues. If the set is
    whole, all its shards are read. A shard is made again if its checksum differs or its images
    have changed.

    Args:
      index: n images.
      size: (height, width) in pixels to which images are resized.
      folder: a directory that is missing, empty, or holds a set of images with the same paths and
        size, finished or not.
      workers: number of files decoded, and of shards checked, at the same time.
      show: shows how many files are read, shards are checked, and images are decoded.
      wait: whether to wait, rather than raise, if another process prepares images in `folder`.

    Returns:
      How many images were decoded, how many shards were whole, and which were damaged.

    Raises:
      InputError: an image cannot be read, `folder` holds something else, another process prepares
        images there, or `folder` cannot be written (it needs n * h * w * 3 bytes).
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
            f"cannot prepare images in {folder} ({reason(error)}): check the path, its "
            "permissions and the free space; complete shards are kept"
        ) from error


def _fill(folder: Path, index: Index, plan: Plan, workers: int, show: Show) -> Prepared:
    """`prepare` in a directory that this process alone writes to."""
    expected = _claim(folder, plan, index.root)
    there = [name for name in plan.shards if (folder / name).is_file()]
    digests = digest_files([folder / name for name in there], workers, show, "shards checked")
    found = dict(zip(there, digests, strict=True))
    damaged = tuple(name for name in expected if found.get(name) != expected[name])
    kept = {name: digest for name, digest in found.items() if name not in damaged}
    missing = [name for name in plan.shards if name not in kept]
    if missing:
        _write_json(folder / MARKER, plan.record)
        # Damaged shards go first: without the manifest they cannot be told from whole ones.
        for name in damaged:
            (folder / name).unlink(missing_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        advance = show("images decoded")
        for name in missing:
            done = plan.count(kept)
            kept[name] = _write_shard(folder / name, index, plan, workers, advance, done)
    # Written even if only times have changed, so that the next call need not read those files.
    checksums = {name: kept[name] for name in plan.shards}
    _write_json(folder / MANIFEST, {**plan.record, "checksums": checksums})
    (folder / MARKER).unlink(missing_ok=True)
    for left in folder.glob(".images-*.partial"):  # killed processes of older versions left them
        left.unlink(missing_ok=True)
    whole = len(plan.shards) - len(missing)
    return Prepared(len(index), plan.count(missing), whole, damaged)


def prepared_reader(
    folder: str | Path, index: Index, size: tuple[int, int], workers: int = 4, show: Show = silent
) -> ReadRow:
    """A function that reads images of `index` from a prepared set; it keeps no image in memory.

    Each shard that holds some of these images is read first and compared with its checksum, at
    about 300 MB per second and core. A process checks a shard again only if its size or times have
    changed. A shard that changes after the check is not noticed.

    Args:
      folder: directory of the set.
      index: n images, all or some of those in the set, in any order.
      size: (height, width) in pixels.
      workers: number of shards checked at the same time.
      show: shows how many shards are checked.

    Raises:
      UnfitError: the set is missing, unfinished or damaged, lacks images of `index`, has another
        size, or an image has changed since the set was made.
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
        # One map per image: with one map per file, every page that was ever read would count as
        # memory of this process.
        try:
            return np.array(np.memmap(files[shard], np.uint8, "r", start, shape))
        except (OSError, ValueError) as error:
            raise InputError(f"{files[shard]}: {error}; run `lupi prepare` again") from error

    return read


def _load_whole(folder: Path) -> tuple[Plan, dict[str, str]]:
    try:
        return load(folder / MANIFEST)
    except OSError as error:
        what = "unfinished set" if (folder / MARKER).is_file() else "no prepared images"
        fault = f"{what} at {folder} ({reason(error)})"
        raise UnfitError(fault, f"run `lupi prepare --out {folder}` first") from None


def _find_rows(folder: Path, plan: Plan, index: Index, size: tuple[int, int]) -> dict[str, int]:
    """{path: row of the set}, after a check that the set fits the images of `index`."""
    if plan.size != tuple(size):
        raise UnfitError(
            f"{folder} holds images of {plan.size} pixels, not {tuple(size)}",
            "set data.image_size to the former, or prepare the latter in another folder",
        )
    rows = {file.path: row for row, file in enumerate(plan.files)}
    paths = index.paths.tolist()
    lacking = [path for path in paths if path not in rows]
    if lacking:
        raise UnfitError(
            f"{folder} lacks {len(lacking)} images of {index.root}, the first {lacking[0]}",
            "prepare the data set again, in another folder",
        )
    again = "run `lupi prepare` again with the same folder"
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
            f"{folder} comes from an older version, which decoded {len(other)} images differently "
            f"(orientation, transparency or colours), the first {other[0]}",
            again,
        )
    return rows


def prepared_files(folder: str | Path) -> list[File]:
    """The image files that a prepared set was made from, with their checksums.

    Raises:
      UnfitError: the set is missing, unfinished or damaged.
    """
    return _load_whole(expand(folder))[0].files


def _claim(folder: Path, plan: Plan, root: Path) -> dict[str, str]:
    """Remove the folder's outdated shards; return the known checksums of the other shards."""
    record = next((f for f in (folder / MANIFEST, folder / MARKER) if f.exists()), None)
    if record is None:
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            what = f"{folder} is not empty and holds no prepared images"
            raise UnfitError(what, "choose another folder")
        return {}
    before, checksums = load(record)
    paths = [file.path for file in plan.files]
    same_shards = (before.size, before.rows_per_shard) == (plan.size, plan.rows_per_shard)
    if not same_shards or [file.path for file in before.files] != paths:
        what = f"{folder} holds other images, or the same at another size"
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
    """Decode the images of a shard and write it; return its SHA-256."""
    rows = plan.shards[file.name]
    # No memory map here: on a full disk a write raises, but a map kills the process.
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
    """Raise UnfitError if a shard does not have the checksum given for it."""
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
    """The checksum of a file, computed once per size and times."""
    return digest_file(file)


def _damaged(file: Path) -> UnfitError:
    advice = f"run `lupi prepare --out {file.parent}` again to mend it"
    return UnfitError(f"{file} is missing or damaged", advice)
