"""The tf.data feed, from files to batches; the only feed that needs TensorFlow."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lupi_jax.data.feeds.sampler import Batch
from lupi_jax.data.images import ReadRow
from lupi_jax.errors import InputError, shorten

_NARRATION = (b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")


def tfdata_batches(
    read: ReadRow,
    size: tuple[int, int],
    choose: Callable[[int], Batch],
    steps: range,
    workers: int = 4,
    prefetch: int = 4,
) -> Iterator[Batch]:
    """The feed "tfdata": the batches of `steps`, read by TensorFlow's threads.

    Args:
      read: gives the image of a row, uint8 [height, width, 3].
      size: (height, width) in pixels.
      choose: gives the rows of a step.
      steps: steps whose batches are wanted.
      workers: number of images decoded at the same time.
      prefetch: number of batches read ahead.

    Raises:
      InputError: an image cannot be read, or TensorFlow cannot be imported.
    """
    tf = import_tensorflow()
    failures: list[InputError] = []
    first = choose(steps.start)
    names = [name for name in first if name != "labels"]

    def rows() -> Iterator[np.ndarray]:
        for step in steps:
            chosen = choose(step)
            yield np.concatenate([chosen[name] for name in names])

    def decode(row: np.ndarray) -> np.ndarray:
        # tf.data calls Pillow here, for two reasons. All feeds give the same bits, and files that
        # TensorFlow cannot decode (palette BMP, progressive CMYK JPEG) work in every feed.
        try:
            return read(int(row))
        except InputError as failure:
            # The error is raised below: from here TensorFlow would log a traceback as well.
            failures.append(failure)
            return np.zeros((*size, 3), np.uint8)

    def image(row: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(decode, [row], tf.uint8), (*size, 3))

    batches = (
        tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((None,), tf.int32))
        .unbatch()
        .map(image, num_parallel_calls=workers, deterministic=True)
        .batch(len(names) * len(first["labels"]))
        .prefetch(prefetch)
    )
    for step, pixels in zip(steps, batches.as_numpy_iterator(), strict=True):
        if failures:
            raise failures[0]
        images = dict(zip(names, np.split(pixels, len(names)), strict=True))
        yield {**images, "labels": choose(step)["labels"]}


def import_tensorflow() -> Any:
    """The module `tensorflow`, set up to leave the accelerator to JAX.

    Raises:
      InputError: TensorFlow is not installed, or importing it raises anything at all, as a broken
        installation may.
    """
    try:
        with narration_held():
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")
    except KeyboardInterrupt:  # a request to stop is a subclass
        raise
    except BaseException as error:
        reason = "" if is_missing(error) else f" (importing it raises {shorten(repr(error), 150)})"
        raise InputError(
            f"data.feed = 'tfdata' needs TensorFlow{reason}: pip install 'lupi-jax[data]', or set "
            "data.feed to memmap"
        ) from error
    return tf


def is_missing(error: BaseException | None) -> bool:
    """Whether an import of TensorFlow failed because it is not installed."""
    return isinstance(error, ModuleNotFoundError) and error.name == "tensorflow"


@contextlib.contextmanager
def narration_held() -> Iterator[None]:
    """Drop the lines that TensorFlow 2.21 prints to stderr at its start at any log level."""
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not line.startswith(_NARRATION):
                    os.write(2, line)
