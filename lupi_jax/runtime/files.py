"""Write files completely or not at all, and never over another process's files."""

import contextlib
import glob
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from lupi_jax.errors import InputError, shown

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

PARTIAL = ".lupi-partial-"
"""Prefix of the name of a file or directory that is not complete."""


_LOCK = ".lock"
_CHUNK = 2**24  # bytes


def expand(path: str | os.PathLike[str]) -> Path:
    """Replace a leading `~` or `~user` of `path` by the home directory.

    A shell does this for `--out ~/x`, but not for `--out=~/x`.

    Raises:
      InputError: the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        begin = Path(path).parts[0]
        raise InputError(
            f"{path}: {begin} is not a known home directory: write the full path, or ./{begin} for "
            "a directory of that name"
        ) from error


_REFUSED = re.compile(r"[\\?#\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")


def check_name(workdir: Path) -> None:
    """Refuse a run's directory if Orbax would read or write at another path.

    Orbax reads paths as addresses. A backslash becomes a slash, `?` and `#` end a path, and `%41`
    is a letter. Control characters and bytes that are not UTF-8 are refused because messages
    cannot show them.

    Raises:
      InputError: the path has such a character, which the message names.
    """
    path = str(workdir.absolute())
    if found := _REFUSED.search(path):
        raise InputError(
            f"{shown(path)}: the directory of a run cannot have {shown(found[0])} in its path; "
            "give another --workdir"
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place for a new file or directory, which replaces `path` when the block ends.

    Until then the old `path` stays. A directory can only replace an empty one (otherwise use
    `replacing_files`). If the block raises an exception, the new files are removed. Files of a
    killed process are removed by the next process that writes to `path`.

    Raises:
      OSError: the place cannot be written; names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _partial(path.parent, path.name) as folder:
            part = folder / path.name
            yield part
            _sync(part)
            part.replace(path)
    except OSError as error:
        named = error.filename is not None and PARTIAL not in str(error.filename)
        if error.errno is not None and not named:  # safetensors' errors are only text
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def replacing_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Give a directory for new files, which replace files of `folder` when the block ends.

    Other files of `folder` stay; it may be a volume or a link. If one file cannot be replaced, all
    old files stay. Files of `names` that the block did not write are removed. Only one process at
    a time can do this in a directory. What a killed process had begun to replace is first put back,
    or put in place.

    Args:
      folder: the directory; it is made if missing.
      names: names of the files that may be written. Readers consider `folder` complete if it has
        the last of them, so that one is removed first and added last.

    Raises:
      InputError: another process is writing there.
      OSError: the directory cannot be written.
    """
    if not folder.exists():
        with replacing(folder) as part:
            part.mkdir()
            yield part
        return
    with (
        alone(folder),
        _partial(folder, names[-1], lambda left: _recover(folder, left, names)) as place,
    ):
        (place / "new").mkdir()
        yield place / "new"
        _sync(place / "new")
        _swap(folder, place, names)


@contextlib.contextmanager
def alone(folder: Path, wait: bool = False) -> Iterator[None]:
    """Lock a directory against other processes and threads that call this, during the block.

    The operating system releases the lock however the process ends. Windows and some network
    volumes cannot lock directories; there this does nothing.

    Args:
      folder: an existing directory.
      wait: whether to wait for the lock instead of raising an error.

    Raises:
      InputError: another process or thread has the lock.
      OSError: the directory cannot be opened.
    """
    if fcntl is None:
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise InputError(
                f"{folder}: another process is writing there: wait until it is done, or give "
                "another directory"
            ) from None
        except OSError:
            pass  # this volume cannot lock directories
        yield
    finally:
        os.close(opened)


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace the file `path` by `content` (text as UTF-8), completely or not at all.

    Raises:
      OSError: the file cannot be written.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def unreadable(folder: Path) -> OSError | None:
    """Find an error that keeps a file or directory below `folder` from being read, or None.

    A file that is missing or cut short does not count. That is damage, not a read error.
    """
    errors: list[OSError] = []
    for place, _, names in os.walk(folder, onerror=errors.append):
        for name in names:
            try:
                if is_endless(Path(place, name)):
                    continue
                with open(os.path.join(place, name), "rb") as file:
                    while file.read(_CHUNK):
                        pass
            except OSError as error:
                error.filename = error.filename or os.path.join(place, name)  # reading sets no name
                errors.append(error)
    return next((error for error in errors if not isinstance(error, FileNotFoundError)), None)


def is_endless(file: Path) -> bool:
    """Whether a file is a pipe, a socket or a device, so that reading it may never end.

    Raises:
      OSError: the file is missing, or its kind cannot be read.
    """
    mode = file.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_vacant(folder: Path) -> bool:
    """Whether a directory is empty, apart from partial files of this package's killed processes."""
    return all(entry.name.startswith(PARTIAL) for entry in folder.iterdir())


def is_cut_off(folder: Path, marker: str) -> bool:
    """Whether a process was killed while it replaced the files of a directory.

    `marker` is the last of these files. The next `replacing_files` repairs the directory.
    """
    return any(folder.glob(f"{PARTIAL}{glob.escape(marker)}-????????/old"))


@contextlib.contextmanager
def _partial(
    parent: Path, name: str, recover: Callable[[Path], None] = lambda left: None
) -> Iterator[Path]:
    """Make a directory below `parent` for use in this block.

    A lock in it shows that its process is alive, so that other processes leave it alone. `recover`
    takes what it needs from the directories of killed processes.
    """
    prefix = f"{PARTIAL}{name}-"
    for left in parent.glob(f"{glob.escape(prefix)}????????"):
        # The lock is held until all is removed. A process that has just begun there sees the lock
        # and makes another directory.
        with contextlib.suppress(Timeout, NotImplementedError, OSError), _lock(left):
            recover(left)
            shutil.rmtree(left)
    folder, lock = _begin(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _begin(parent: Path, prefix: str) -> tuple[Path, FileLock]:
    """Make a new directory and lock it, if the volume can lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(folder)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):
            continue  # another process took it for an abandoned one
        except (NotImplementedError, OSError):
            return folder, lock
        if (folder / _LOCK).exists():  # else the locked file is gone
            return folder, lock
        lock.release()


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / _LOCK, timeout=0)


def _swap(folder: Path, place: Path, names: Sequence[str]) -> None:
    """Move the files `names` of a directory to `place`/old, and those in `place`/new to theirs.

    When all old files are out, "new" is renamed to "placing". When all is done, "old" is renamed to
    "gone". `_recover` relies on these names.
    """
    new, placing, old = (place / name for name in ("new", "placing", "old"))
    old.mkdir()
    moves = [(folder / name, old / name) for name in reversed(names)]
    moves += [(new, placing), *((placing / name, folder / name) for name in names)]
    moves.append((old, place / "gone"))
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            if os.path.lexists(source):
                source.rename(target)
                done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        raise


def _recover(folder: Path, left: Path, names: Sequence[str]) -> None:
    """Undo the exchange that a killed process had begun, or finish it if all old files were out."""
    placing, old = left / "placing", left / "old"
    source = placing if placing.is_dir() else old
    for name in names:
        if (source / name).exists():
            (source / name).replace(folder / name)


def _sync(path: Path) -> None:
    """Flush a file, or a directory's files, to disk. A full disk shows here at the latest."""
    for file in path.iterdir() if path.is_dir() else (path,):
        with file.open("rb+") as written:
            os.fsync(written.fileno())
