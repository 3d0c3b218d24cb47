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
from lupi_jax.errors import InputError

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
      InputError: an image cannot be read, or TensorFlow is not installed.
    """
    try:
        with narration_held():
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")  # the accelerator is JAX's
    except ImportError as error:
        raise InputError(
            "data.feed = 'tfdata' needs TensorFlow: pip install 'lupi-jax[data]', or set it to "
            "memmap"
        ) from error
    failures: list[InputError] = []

    first = choose(steps.start)
    names = [name for name in first if name != "labels"]

    def rows(step: np.ndarray) -> np.ndarray:
        chosen = choose(int(step))
        return np.concatenate([chosen[name] for name in names])

    def labels(step: np.ndarray) -> np.ndarray:
        return choose(int(step))["labels"]

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

    numbers = tf.data.Dataset.range(steps.start, steps.stop)
    images = (
        numbers.flat_map(
            lambda step: tf.data.Dataset.from_tensor_slices(
                tf.numpy_function(rows, [step], tf.int32)
            )
        )
        .map(image, num_parallel_calls=workers, deterministic=True)
        .batch(len(names) * len(first["labels"]))
    )
    of_step = numbers.map(lambda step: tf.numpy_function(labels, [step], tf.int32))
    batches = tf.data.Dataset.zip((images, of_step)).prefetch(prefetch)
    for pixels, label in batches.as_numpy_iterator():
        if failures:
            raise failures[0]
        yield {**dict(zip(names, np.split(pixels, len(names)), strict=True)), "labels": label}


@contextlib.contextmanager
def narration_held() -> Iterator[None]:
    """Keep off stderr what TensorFlow narrates as it starts: 2.21 does so whatever it is told."""
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
