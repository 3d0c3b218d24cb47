"""What image files hold, so that somebody notices when it changes: sizes, times, checksums."""

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
from lupi_jax.errors import InputError
from lupi_jax.runtime.files import is_endless
from lupi_jax.runtime.progress import Show, counted, silent


class File(NamedTuple):
    """An image file as it was.

    Attributes:
      path: below the root of its data set.
      bytes: its length.
      mtime_ns: its modification time.
      digest: SHA-256 in hexadecimal, "" where nobody read it.
    """

    path: str
    bytes: int
    mtime_ns: int
    digest: str


def look_at(index: Index) -> list[File]:
    """The files of `index` in its order, as they are now; their content is not read.

    Raises:
      InputError: names one that is missing.
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
    """Files of a record, [path, bytes, mtime_ns, digest] each, which may say anything.

    Raises:
      ValueError: they are nothing of the kind.
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
      InputError: it cannot be looked at.
    """
    with _named(file):
        return os.stat(file)


def digest_file(file: Path) -> str:
    """SHA-256 of a file in hexadecimal, at some 300 MB/s of one core.

    Raises:
      InputError: it cannot be read, or is a pipe or a device.
    """
    with _named(file):
        if is_endless(file):
            raise InputError(f"{file} is a pipe or a device; replace or remove it")
    with _named(file), file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest_files(
    files: Sequence[Path], workers: int, show: Show = silent, what: str = "files read"
) -> list[str]:
    """`digest_file` of many, `workers` at once; shows how many there are of `what`."""
    if not files:
        return []
    digests = parallel_map(digest_file, iter(files), workers, 8 * workers)
    return list(counted(digests, show(what), 0, len(files)))


def has_changed(root: Path, file: File, fully: bool = False) -> bool:
    """Whether the content of a file is known to be another one now.

    A copy of a data set has other times and the same content: a file is read only where its time is
    another and its size is not, or where `fully` asks for it.

    Raises:
      InputError: it cannot be read.
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
    """The paths of `files` that are missing or have changed, as `has_changed` finds out.

    Raises:
      InputError: a file that is there cannot be read.
    """
    if not files:
        return []

    def differs(file: File) -> bool:
        return not os.path.isfile(root / file.path) or has_changed(root, file, fully)

    found = parallel_map(differs, iter(files), workers, 8 * workers)
    found = counted(found, show("files compared"), 0, len(files))
    return [file.path for file, other in zip(files, found, strict=True) if other]


def with_digests(files: Sequence[File], known: Sequence[File]) -> list[File]:
    """`files`, with the checksums that the first of `known` of the same path and length has."""
    digests = {(file.path, file.bytes): file.digest for file in reversed(known) if file.digest}
    return [
        file._replace(digest=file.digest or digests.get((file.path, file.bytes), ""))
        for file in files
    ]


@contextlib.contextmanager
def digesting(root: Path, files: Sequence[File]) -> Iterator[Callable[[bool], list[File]]]:
    """Reads those of `files` that have no checksum, on a thread of its own while this lasts.

    Yields:
      What gives `files` with the checksums that are known by then, or (for True) waits for all. A
      file that cannot be read gets none: whoever needs its content will say so.
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
        raise InputError(f"{file}: {error.strerror}; replace or remove it") from error
