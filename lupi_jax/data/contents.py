"""Sizes, times and checksums of image files, to notice when a file changes."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from lupi_jax.data.images import parallel_map
from lupi_jax.data.index import Index
from lupi_jax.errors import InputError, reason
from lupi_jax.runtime.files import is_endless
from lupi_jax.runtime.progress import Show, counted, silent


class File(NamedTuple):
    """An image file at the time it was looked at.

    Attributes:
      path: path below the root of the data set.
      bytes: size of the file.
      mtime_ns: modification time in nanoseconds.
      digest: SHA-256 in hexadecimal, "" if the content was not read.
    """

    path: str
    bytes: int
    mtime_ns: int
    digest: str


def look_at(index: Index) -> list[File]:
    """The files of `index` as they are now, in the order of the index; no content is read.

    Raises:
      InputError: a file is missing; the message names it.
    """
    stats = (stat_file(index.root / path) for path in index.paths)
    paths = index.paths.tolist()
    return [File(p, s.st_size, s.st_mtime_ns, "") for p, s in zip(paths, stats, strict=True)]


def summary(index: Index, files: Sequence[File]) -> str:
    """16 hexadecimal digits that change with any image's path, identity or size in bytes.

    Args:
      index: n images.
      files: `look_at(index)`.
    """
    digest = hashlib.sha256(index.fingerprint.encode())
    for file in files:
        digest.update(b"%d\n" % file.bytes)
    return digest.hexdigest()[:16]


def parse_files(plain: Any) -> list[File]:
    """Files of a record, [path, bytes, mtime_ns, digest] each; `plain` may be anything.

    Raises:
      ValueError: `plain` has another form.
    """
    try:
        fits = all(
            type(path) is str and type(size) is int and type(time) is int and type(digest) is str
            for path, size, time, digest in plain
        )
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError("its files are not [path, bytes, time, checksum] each")
    return [File(*file) for file in plain]


def stat_file(file: Path) -> os.stat_result:
    """Size and times of a file.

    Raises:
      InputError: the file is missing, or its directory cannot be read.
    """
    with _named(file):
        return os.stat(file)


def digest_file(file: Path) -> str:
    """SHA-256 of a file in hexadecimal, at about 300 MB per second and core.

    Raises:
      InputError: the file cannot be read, or is a pipe or a device.
    """
    with _named(file):
        if is_endless(file):
            raise InputError(f"{file} is a pipe or a device; replace or remove it")
    with _named(file), file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest_files(
    files: Sequence[Path], workers: int, show: Show = silent, what: str = "files read"
) -> list[str]:
    """`digest_file` of each of `files`, `workers` at a time; `show` counts them as `what`."""
    if not files:
        return []
    digests = parallel_map(digest_file, iter(files), workers, 8 * workers)
    return list(counted(digests, show(what), 0, len(files)))


def has_changed(root: Path, file: File, fully: bool = False) -> bool:
    """Whether the content of a file is known to have changed.

    A copy of a data set has the same content but other times. So a file is read if its size is the
    same and its time differs. If both are the same, it is read only if `fully` is set.

    Raises:
      InputError: the file cannot be read.
    """
    found = stat_file(root / file.path)
    if found.st_size != file.bytes:
        return True
    if not file.digest or (found.st_mtime_ns == file.mtime_ns and not fully):
        return False
    return digest_file(root / file.path) != file.digest


def changed(
    root: Path,
    files: Sequence[File],
    workers: int = 4,
    fully: bool = False,
    show: Show = silent,
) -> list[str]:
    """The paths of the `files` that are missing, or have changed according to `has_changed`.

    Raises:
      InputError: a file exists and cannot be read.
    """
    if not files:
        return []

    def differs(file: File) -> bool:
        return not os.path.isfile(root / file.path) or has_changed(root, file, fully)

    found = parallel_map(differs, iter(files), workers, 8 * workers)
    found = counted(found, show("files compared"), 0, len(files))
    return [file.path for file, other in zip(files, found, strict=True) if other]


def with_digests(files: Sequence[File], known: Sequence[File]) -> list[File]:
    """`files` with missing checksums taken from `known`, by path and size; the first one counts."""
    digests = {(file.path, file.bytes): file.digest for file in reversed(known) if file.digest}
    return [
        file._replace(digest=file.digest or digests.get((file.path, file.bytes), ""))
        for file in files
    ]


@contextlib.contextmanager
def digesting(root: Path, files: Sequence[File]) -> Iterator[Callable[[bool], list[File]]]:
    """Compute the missing checksums of `files` on a separate thread, until the context ends.

    Yields:
      A function (wait) that returns `files` with the checksums known so far, or with all if `wait`
      is true. A file that cannot be read stays without a checksum; the code that needs its content
      reports the error.
    """
    stopped, found = threading.Event(), list(files)

    def read() -> None:
        for row, file in enumerate(files):
            if stopped.is_set():
                return
            if not file.digest:
                with contextlib.suppress(InputError):
                    found[row] = file._replace(digest=digest_file(root / file.path))

    with ThreadPoolExecutor(1, "digests") as pool:
        reading = pool.submit(read)

        def known(wait: bool) -> list[File]:
            if wait:
                reading.result()
            return list(found)

        try:
            yield known
        finally:
            stopped.set()


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{file}: {reason(error)}; replace or remove it") from error
