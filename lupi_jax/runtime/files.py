"""Files that are written whole or not at all, and never in place of what others wrote."""

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
"""How the name of a file or directory begins that has not been written to its end."""


_LOCK = ".lock"
_CHUNK = 2**24  # bytes


def expand(path: str | os.PathLike[str]) -> Path:
    """`path`, with a `~` or `~user` that begins it replaced by that home directory.

    A shell does it for `--out ~/x`, and not for `--out=~/x`.

    Raises:
      InputError: there is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        begin = Path(path).parts[0]
        raise InputError(
            f"{path}: {begin} names no home directory here: write the path out, or ./{begin} for a "
            "directory of that name"
        ) from error


_REFUSED = re.compile(r"[\\?#\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")


def check_name(workdir: Path) -> None:
    """Refuse the path of a run's directory where Orbax would write or read at another one.

    It takes paths for addresses: a backslash becomes a slash, `?` and `#` end a path, and `%41` is
    a letter. Bytes that are not UTF-8 and control characters cannot be told in a message.

    Raises:
      InputError: names the character.
    """
    path = str(workdir.absolute())
    if found := _REFUSED.search(path):
        raise InputError(
            f"{shown(path)}: the directory of a run cannot have {shown(found[0])} in its path; "
            "give another --workdir"
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file or a directory to; in the end it replaces `path`.

    What stood at `path` stays until then. A directory replaces none but an empty one: see
    `replacing_files`. An exception removes what was written. What a killed process left behind is
    removed by the next one that writes to `path`.

    Raises:
      OSError: nothing can be written there; names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _partial(path.parent, path.name) as folder:
            part = folder / path.name
            yield part
            _sync(part)
            part.replace(path)
    except OSError as error:
        if error.filename is None or PARTIAL in str(error.filename):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def replacing_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A directory to write files to, some of `names`; in the end they replace those of `folder`.

    Other files of `folder`, which may be a volume or a link, stay. Where a file cannot be replaced,
    the old ones all stay. A file of `names` that was not written anew is removed. One process at a
    time does this to a directory. What one that was killed had begun to replace is put back, or put
    in its place, before anything else.

    Args:
      folder: the directory, made where it is absent.
      names: file names. Readers take `folder` for whole where it has the last of them, which
        therefore leaves first and comes last.

    Raises:
      InputError: another process is writing there.
      OSError: nothing can be written there.
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
    """Keep other processes and threads that ask for the same out of a directory while this lasts.

    The operating system takes the lock back however the process ends. On Windows and on some
    network volumes, which know no locks on directories, this keeps nobody out.

    Args:
      folder: the directory, which exists.
      wait: whether to wait for another one that is there, rather than raise.

    Raises:
      InputError: another one is there.
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
                f"{folder}: another process is writing there: wait until it is done, or name "
                "another directory"
            ) from None
        except OSError:
            pass  # this volume knows no locks
        yield
    finally:
        os.close(opened)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, in place of `path`: all of it or nothing.

    Raises:
      OSError: it cannot be written there.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def unreadable(folder: Path) -> OSError | None:
    """Why a file or directory below `folder` cannot be read, None where all can.

    A file that is missing, or shorter than it was, can be read: that is damage, not an error.
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
                error.filename = error.filename or os.path.join(place, name)  # where reading failed
                errors.append(error)
    return next((error for error in errors if not isinstance(error, FileNotFoundError)), None)


def is_endless(file: Path) -> bool:
    """Whether a file is a pipe, a socket or a device: reading it may wait, or never end.

    Raises:
      OSError: it is missing, or cannot be looked at.
    """
    mode = file.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_vacant(folder: Path) -> bool:
    """Whether a directory holds nothing but what killed processes of ours left behind."""
    return all(entry.name.startswith(PARTIAL) for entry in folder.iterdir())


def is_cut_off(folder: Path, marker: str) -> bool:
    """Whether a process was killed while it replaced files of a directory, of which `marker` is the
    last: `replacing_files` puts that right before it does anything else."""
    return any(folder.glob(f"{PARTIAL}{glob.escape(marker)}-????????/old"))


@contextlib.contextmanager
def _partial(
    parent: Path, name: str, recover: Callable[[Path], None] = lambda left: None
) -> Iterator[Path]:
    """A directory below `parent` that is ours while this lasts.

    A lock in it says that its process lives: what others are writing is left alone. `recover` takes
    what it needs out of those that killed processes left.
    """
    prefix = f"{PARTIAL}{name}-"
    for left in parent.glob(f"{glob.escape(prefix)}????????"):
        # The lock is held until all is gone: who began just now then finds it taken, and moves on.
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
    """A new directory and its lock, which is held where the volume knows locks."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(folder)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):
            continue  # another process took it for one that was left behind
        except (NotImplementedError, OSError):
            return folder, lock
        if (folder / _LOCK).exists():  # else the lock is of a file that is gone
            return folder, lock
        lock.release()


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / _LOCK, timeout=0)


def _swap(folder: Path, place: Path, names: Sequence[str]) -> None:
    """Move the files `names` of a directory to `place`/old, and those in `place`/new to theirs.

    Once the old ones are all out, "new" is called "placing": `_recover` goes by that.
    """
    new, placing, old = (place / name for name in ("new", "placing", "old"))
    old.mkdir()
    moves = [(folder / name, old / name) for name in reversed(names)]
    moves += [(new, placing), *((placing / name, folder / name) for name in names)]
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
    """Undo the exchange that a killed process had begun, or finish it where it was past half."""
    placing, old = left / "placing", left / "old"
    source = placing if placing.is_dir() else old
    for name in names:
        if (source / name).exists():
            (source / name).replace(folder / name)


def _sync(path: Path) -> None:
    """Have a file, or the files of a directory, on disk: a full one shows here at the latest."""
    for file in path.iterdir() if path.is_dir() else (path,):
        with file.open("rb+") as written:
            os.fsync(written.fileno())
