"""Writes synthetic pictures as files; a set is finished when it has a manifest.

The manifest, `synthetic.json`, is written last. Until then a marker, `synthetic.partial.json`,
holds the parameters, so that an interrupted run can continue. Files get their names by a rename, so
each one is complete. Only one process at a time may write to a folder. With the same parameters and
the same version of Pillow (which encodes JPEG), the bytes are the same for any number of processes.
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
from lupi_jax.errors import InputError, reason
from lupi_jax.modality import Modality
from lupi_jax.runtime.files import alone
from lupi_jax.runtime.records import read_json
from lupi_jax.synthetic.cameras import CAMERAS
from lupi_jax.synthetic.render import render

Progress = Callable[[int, int], None]
"""Called after each picture with the number of pictures so far and the number in all."""

VERSION = 1
"""Version of the generator, increased whenever the same parameters would give other bytes."""

_TEMPORARY = ".synthetic-{}.tmp"
"""Name of the file that a process with this number writes before it renames it."""

_CHUNK = 8
"""Number of pictures that a process takes at a time, and completes even after an interrupt."""


class Picture(NamedTuple):
    """One picture of a set: the path in the set, and the arguments of `render`."""

    path: str
    identity: int
    camera: int
    n: int


@dataclass(frozen=True)
class Content:
    """The content of a set, apart from its manifest."""

    pictures: list[Picture]
    counts: dict[str, dict[str, int]]
    """{split: the numbers of `identities`, `visible` and `infrared` images}."""
    files: dict[str, bytes] = field(default_factory=dict)
    """{path in the set: content} of the lists."""
    folders: Collection[str] = ()
    """Paths of folders to make even if they stay empty."""


def tally(
    pictures: Sequence[Picture], splits: Mapping[str, Collection[int]]
) -> dict[str, dict[str, int]]:
    """Returns the `counts` of a `Content`, for splits given as identities."""
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
    """Writes a set in a safe order: marker, pictures, lists, manifest, and removes the marker.

    Args:
        out: a folder that is missing or empty, or holds a set begun with the same parameters,
            whose pictures are kept.
        parameters: everything that determines the bytes of the set, such as `seed`, `height`,
            `width`, and `difficulty` (left out if "hard").
        content: the content of the set.
        workers: number of processes that render.
        progress: called after each picture that was missing.

    Returns:
        True if the set was written, False if the same set was already there.

    Raises:
        InputError: `out` holds something else, another process writes a set there, or `out` cannot
            be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder for the synthetic data")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with alone(out):
            begun = _claim(out, parameters)
            for left in out.glob(_TEMPORARY.format("*")):  # killed processes left them
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
            f"cannot write synthetic data to {out} ({reason(error)}): "
            "check the path, its permissions and the free space"
        ) from error
    return True


def _claim(out: Path, parameters: dict[str, Any]) -> bool:
    """Returns whether the set has to be written.

    Raises:
        InputError: the folder holds something other than this set, finished or not.
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
                f"{out} holds a synthetic set with other parameters or from another version: "
                "choose another folder, or delete this one"
            )
        return name == MARKER
    raise InputError(f"{out} is not empty and not a synthetic set: choose an empty or a new folder")


def _write_pictures(
    out: Path,
    parameters: dict[str, Any],
    pictures: list[Picture],
    workers: int,
    progress: Progress | None,
) -> None:
    """Writes the pictures that are missing."""
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
    # If the machine crashed, the file's name may be on the disk without its bytes.
    return file.is_file() and file.stat().st_size > 0


def _write_chunk(out: Path, seed: int, look: dict[str, Any], pictures: list[Picture]) -> int:
    """Renders and writes pictures, and returns their number."""
    for path, identity, camera, n in pictures:
        pixels = render(seed, identity, camera, n, **look)
        _write_file(out, path, _encode(pixels, path, camera))
    return len(pictures)


@contextlib.contextmanager
def _mapped(
    write: Callable[[list[Picture]], int], pictures: list[Picture], workers: int
) -> Iterator[Iterator[int]]:
    """Calls `write` on chunks of the pictures, in several processes if there is enough work.

    The processes end with the context. They complete the chunks that they have begun, and begin no
    others.

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
            'fewer workers; in a script, call it below `if __name__ == "__main__":`'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _starting_processes() -> Iterator[None]:
    """Processes started in this context ignore Ctrl-C; the process that started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Ends this process when the process that started it is killed, and so cannot end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _encode(pixels: np.ndarray, path: str, camera: int) -> bytes:
    """Returns a picture as the bytes of a file; a JPEG file has the camera's quality."""
    kind = FORMATS[PurePosixPath(path).suffix.lower()]
    options = {"quality": CAMERAS[camera].jpeg_quality} if kind == "JPEG" else {}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _write_file(out: Path, path: str, content: bytes) -> None:
    """Writes a file by a rename within its volume, so that others never see a part of it."""
    file, temporary = out / path, out / _TEMPORARY.format(os.getpid())
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
