"""Synthetic pictures as files: a set on disk that is whole once its manifest is there.

The manifest, `synthetic.json`, is written last. Until then a marker, `synthetic.partial.json`,
says what is being written, so that an interrupted run can go on: every file appears at once, by a
rename, so one that is there is whole. One run at a time writes to a folder. One set is the same
bytes for one seed and one version of Pillow (which encodes JPEG), whatever the number of processes.
"""

import contextlib
import functools
import io
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lupi_jax.data.decoding import FORMATS
from lupi_jax.data.sources.manifest import MANIFEST, MARKER
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import alone
from lupi_jax.runtime.records import read_json
from lupi_jax.synthetic.cameras import CAMERAS
from lupi_jax.synthetic.render import render

Progress = Callable[[int, int], None]
"""Called with the pictures that are there so far and the pictures in all, after each one."""

VERSION = 1
"""Raised whenever the same parameters would make other bytes."""

_TEMPORARY = ".synthetic-{}.tmp"
"""The file that a process writes before it has its name."""

_CHUNK = 8
"""Pictures a process takes at a time, and finishes after an interrupt."""


class Picture(NamedTuple):
    """One file of a set: its path in the set, and the arguments of `render` that tell it."""

    path: str
    identity: int
    camera: int
    n: int


@dataclass(frozen=True)
class Content:
    """What a set holds, apart from its manifest."""

    pictures: list[Picture]
    counts: dict[str, dict[str, int]]
    """For each split, its numbers of `identities` and of `visible` and `infrared` images."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The lists, by their paths in the set."""
    folders: Collection[str] = ()
    """Paths of folders that are there even where no picture lies in them."""


def tally(
    pictures: Sequence[Picture], splits: Mapping[str, Collection[int]]
) -> dict[str, dict[str, int]]:
    """Returns the `counts` of a `Content` whose splits are made up of identities."""
    images = Counter((picture.identity, CAMERAS[picture.camera].modality) for picture in pictures)
    return {
        split: {"identities": len(members)}
        | {
            str(modality): sum(images[identity, modality] for identity in members)
            for modality in (Modality.VISIBLE, Modality.INFRARED)
        }
        for split, members in splits.items()
    }


def write_content(
    out: Path,
    parameters: dict[str, Any],
    content: Content,
    workers: int,
    progress: Progress | None,
) -> bool:
    """Writes a set in the one safe order: marker, pictures, lists, manifest, marker gone.

    Args:
        out: folder to make, absent or empty; or a set that was begun with the same parameters,
            whose pictures are kept.
        parameters: what decides the bytes of the set: `seed`, `height`, `width`, where it is
            not "hard" `difficulty`, and others.
        content: what the set holds.
        workers: number of processes that render.
        progress: called after each picture that was not there.

    Returns:
        True if the set was written, False if this very set was already there.

    Raises:
        InputError: `out` holds something else, another process writes a set there, or it cannot be
            written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder for the synthetic data")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with alone(out):
            begun = _claim(out, parameters)
            for left in out.glob(_TEMPORARY.format("*")):  # of processes that were killed
                left.unlink(missing_ok=True)
            if not begun:
                return False
            _write_file(out, MARKER, _json(parameters))
            for folder in content.folders:
                (out / folder).mkdir(parents=True, exist_ok=True)
            _write_pictures(out, parameters, content.pictures, workers, progress)
            for path, text in content.files.items():
                _write_file(out, path, text)
            _write_file(out, MANIFEST, _json({**parameters, "counts": content.counts}))
            (out / MARKER).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write synthetic data to {out} ({error.strerror or error}): "
            "check the path, its permissions and the free space"
        ) from error
    return True


def _claim(out: Path, parameters: dict[str, Any]) -> bool:
    """Returns whether the set has to be written.

    Raises:
        InputError: the folder holds anything but this set, whole or begun.
    """
    held = {path.name for path in out.iterdir() if not path.match(_TEMPORARY.format("*"))}
    if not held:
        return True
    for name in (MANIFEST, MARKER):
        if name not in held:
            continue
        try:
            found = read_json(out / name)
        except ValueError:
            found = None
        if isinstance(found, dict):
            found.pop("counts", None)
        if found != parameters:
            raise InputError(
                f"{out} holds a synthetic set with other parameters or of another version: "
                "choose another folder, or delete this one"
            )
        return name == MARKER
    raise InputError(
        f"{out} is not empty and not a synthetic set: choose an empty folder or a new one"
    )


def _write_pictures(
    out: Path,
    parameters: dict[str, Any],
    pictures: list[Picture],
    workers: int,
    progress: Progress | None,
) -> None:
    """Writes the pictures that are not there yet."""
    look = {"height": parameters["height"], "width": parameters["width"]}
    look["difficulty"] = parameters.get("difficulty", "hard")
    write = functools.partial(_write_chunk, out, parameters["seed"], look)
    missing = [picture for picture in pictures if not _is_whole(out / picture.path)]
    done = len(pictures) - len(missing)
    with _mapped(write, missing, workers) as written:
        for number in written:
            for _ in range(number):
                done += 1
                if progress is not None:
                    progress(done, len(pictures))


def _is_whole(file: Path) -> bool:
    # Where the machine itself stopped, the name may be on the disk and the bytes not.
    return file.is_file() and file.stat().st_size > 0


def _write_chunk(out: Path, seed: int, look: dict[str, Any], pictures: list[Picture]) -> int:
    """Renders and writes pictures, and returns how many."""
    for path, identity, camera, n in pictures:
        pixels = render(seed, identity, camera, n, **look)
        _write_file(out, path, _encode(pixels, path, camera))
    return len(pictures)


@contextlib.contextmanager
def _mapped(
    write: Callable[[list[Picture]], int], pictures: list[Picture], workers: int
) -> Iterator[Iterator[int]]:
    """`write` of chunks, over several processes where there is work for them.

    The processes end with the context: nothing is begun then, what is begun is finished.

    Raises:
        InputError: a process died.
    """
    workers = min(workers, -(-len(pictures) // _CHUNK))
    if workers <= 1:
        yield (write([picture]) for picture in pictures)
        return
    # A fork would copy locks that JAX's threads may hold.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    chunks = (pictures[i : i + _CHUNK] for i in range(0, len(pictures), _CHUNK))
    try:
        with _starting_processes():
            pending = deque(pool.submit(write, chunk) for chunk in islice(chunks, 4 * workers))

        def results() -> Iterator[int]:
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(write, chunk) for chunk in islice(chunks, 1))

        yield results()
    except BrokenProcessPool as error:
        raise InputError(
            "a process that renders synthetic pictures died: run the same generation again with "
            'fewer workers, in a script below `if __name__ == "__main__":`'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _starting_processes() -> Iterator[None]:
    """Processes that are started herein never see Ctrl-C: who started them tells them to end."""
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Ends this process when the one that started it is killed, which cannot tell it to."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _encode(pixels: np.ndarray, path: str, camera: int) -> bytes:
    """Returns a file's bytes; the quality is the camera's, of a JPEG file."""
    kind = FORMATS[PurePosixPath(path).suffix.lower()]
    options = {"quality": CAMERAS[camera].jpeg_quality} if kind == "JPEG" else {}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _write_file(out: Path, path: str, content: bytes) -> None:
    """Writes a file that others see whole or not at all: the temporary one is on its volume."""
    file, temporary = out / path, out / _TEMPORARY.format(os.getpid())
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
