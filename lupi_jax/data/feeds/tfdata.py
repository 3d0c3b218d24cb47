"""The tf.data feed: files to batches. The only one that needs TensorFlow."""

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

    `read` gives the image of a row at `size` = (height, width), `choose` the rows of a step.

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
        # Pillow inside tf.data, for two reasons: the feeds agree bit for bit, and a file that
        # TensorFlow's decoders do not know (palette BMP, progressive CMYK JPEG) works in both.
        try:
            return read(int(row))
        except InputError as failure:
            # Raised below instead: TensorFlow would log a traceback beside the one line.
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
    """The module, which leaves the accelerator to JAX.

    Raises:
      InputError: it is not installed, or its import fails, with whatever a broken installation
        raises.
    """
    try:
        with narration_held():
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")
    except KeyboardInterrupt:  # and a request to stop, which is one
        raise
    except BaseException as error:
        reason = "" if is_missing(error) else f" (importing it raises {shorten(repr(error), 150)})"
        raise InputError(
            f"data.feed = 'tfdata' needs TensorFlow{reason}: pip install 'lupi-jax[data]', or set "
            "it to memmap"
        ) from error
    return tf


def is_missing(error: BaseException | None) -> bool:
    """Whether an import of TensorFlow failed because it is not installed."""
    return isinstance(error, ModuleNotFoundError) and error.name == "tensorflow"


@contextlib.contextmanager
def narration_held() -> Iterator[None]:
    """Keep off stderr what TensorFlow 2.21 says as it starts, whatever its log level."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
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
