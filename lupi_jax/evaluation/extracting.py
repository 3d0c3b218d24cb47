"""From pictures of any kind and size to features; pictures are read as in training."""

import dataclasses
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lupi_jax.data.decoding import KINDS, as_shown
from lupi_jax.data.images import fit_image, naming_all, parallel_map, read_image
from lupi_jax.errors import InputError, shorten, some
from lupi_jax.evaluation.embedding import embed_images, require_stem
from lupi_jax.evaluation.features import are_unit
from lupi_jax.evaluation.inputs import check_feature
from lupi_jax.evaluation.opening import Checkpoint, open_run
from lupi_jax.evaluation.readable import colour_spread, doubt
from lupi_jax.modality import Modality

if TYPE_CHECKING:
    from lupi_jax.training import Run

Picture = str | os.PathLike[str] | Image.Image | np.ndarray

_PILLOW = threading.Lock()
"""Pillow must load an image in one thread only, and the same image may be given twice."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Extractor:
    """A network that takes pictures of any kind and size; `lupi_jax.extractor` makes one.

    Attributes:
      run: the network and its configuration.
      batch_size: number of pictures embedded at once. Each batch is filled up, so that one compiled
        program serves all.
    """

    run: "Run"
    batch_size: int

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels to which pictures are resized."""
        return self.run.config.data.image_size

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Extractor({self.run.name}, {height} x {width} pixels)"

    def __call__(
        self,
        images: Iterable[Picture],
        modality: Modality | str,
        *,
        bgr: bool = False,
        feature: str = "neck",
    ) -> np.ndarray:
        """Features of n pictures in the given order.

        Each picture is read, converted and resized as in training. So a file, its PIL image and its
        pixels give the same features, bit for bit.

        Args:
          images: a sequence of paths, PIL images and uint8 arrays, mixed and of any size; or one
            array of all pictures. An array of one picture is RGB from 0 to 255, [h, w, 3], or grey,
            [h, w] or [h, w, 1]; an array of all is [n, h, w, 3], [n, h, w, 1] or [n, h, w].
          modality: "visible" or "infrared".
          bgr: whether arrays with three channels are BGR, as OpenCV reads files. Paths and PIL
            images are not affected.
          feature: "neck" (after the BN neck, the usual one) or "pooled" (before it).

        Returns:
          [n, d] float32, rows of length 1; [0, d] without pictures.

        Warns:
          UserWarning: some infrared pictures look coloured, or all visible pictures look grey.

        Raises:
          ValueError: a picture has another kind, dtype or shape; pictures cannot be decoded (the
            message gives their paths, or their places from 0); the network cannot embed `modality`,
            or gives a feature that is zero or not finite; or `feature` is unknown.
        """
        check_feature(feature)
        stem = self._stem(modality)
        items = [_checked(f"image {i}", item) for i, item in enumerate(_items(images))]
        if not items:
            return np.empty((0, self.run.model.features), np.float32)
        spreads: list[float] = []

        def prepare(place: int) -> np.ndarray:
            image = _pixels(f"image {place}", items[place], self.image_size, bgr)
            spreads.append(colour_spread(image))
            return image

        def tell(faults: Mapping[int, str]) -> str:
            several = f"{len(faults)} of {len(items)} images cannot be read: "
            return f"{several * (len(faults) > 1)}{some(faults.values(), 5)}"

        run, workers = self.run, self.run.config.data.workers
        with naming_all(prepare, len(items), workers, tell) as read:
            pixels = parallel_map(read, iter(range(len(items))), workers, 2 * self.batch_size)
            pooled, neck = embed_images(run.model, run.variables, pixels, stem, self.batch_size)
        found = neck if feature == "neck" else pooled
        if not are_unit(found):
            raise ValueError("the network gives features that are zero or not finite")
        what, other = doubt(np.array(spreads), modality)
        if what:
            note = f"{what}, but go through the {modality} stem: if they are {other}, say {other}"
            warnings.warn(note, stacklevel=2)
        return found

    def _stem(self, modality: Modality | str) -> Modality:
        if modality not in (Modality.VISIBLE, Modality.INFRARED):
            made = " (training makes intermediate images of visible ones)"
            why = made if modality == Modality.INTERMEDIATE else ""
            raise ValueError(f"modality must be visible or infrared, not {modality!r}{why}")
        return require_stem(self.run.variables, Modality(modality))


def extractor(
    run: "str | os.PathLike[str] | Run",
    *,
    checkpoint: Checkpoint | None = None,
    overrides: Mapping[str, Any] | None = None,
    batch_size: int = 16,
) -> Extractor:
    """Make a function from pictures to features.

    For example `lupi_jax.extractor("runs/mine")(paths, "visible")`.

    Args:
      run: directory of a run of `lupi train`, or a loaded network, see `open_run`.
      checkpoint: the checkpoint in the directory; None is "newest".
      overrides: fields to change, as in `evaluate`.
      batch_size: number of pictures embedded at once.

    Raises:
      InputError: the run cannot be read, or fields are wrong or may not change.
      ValueError: `batch_size` is not positive, or `open_run` raises it.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, not {batch_size}")
    return Extractor(open_run(run, checkpoint, overrides), batch_size)


def _items(images: Any) -> list[Any]:
    """The pictures of a sequence, or of an array of all pictures."""
    if isinstance(images, str | bytes | os.PathLike | Image.Image):
        raise ValueError("images must be a sequence: give one image as [image]")
    if isinstance(images, Iterable) and not hasattr(images, "__array__"):
        return list(images)
    array = np.asarray(images)
    if array.ndim and not len(array):
        return []
    if array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OU"):
        return list(array)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4):
        return list(array)
    what = f"an array of shape {array.shape}" if array.ndim else f"a {type(images).__name__}"
    raise ValueError(
        f"images must be a sequence, or an array [n, h, w, 3] or (grey) [n, h, w], not {what}: "
        "give one image as [image]"
    )


def _checked(name: str, item: Any) -> Picture:
    """One picture as given, an array as NumPy's; pixels are not read yet.

    Raises:
      ValueError: the picture is of another kind, or the array has another dtype or shape.
    """
    if isinstance(item, str | os.PathLike | Image.Image):
        return item
    if not hasattr(item, "__array__"):
        raise ValueError(
            f"{name} is a {type(item).__name__}: give a path, a PIL image or a uint8 array"
        )
    array = np.asarray(item)
    shape = array.shape
    if array.dtype != np.uint8:
        raise ValueError(
            f"{name} is {array.dtype}, whose range is not known: give uint8 from 0 to 255"
        )
    advice = "give [h, w, 3], or grey [h, w]"
    if array.ndim == 3 and shape[-1] == 4:
        advice = "leave out the fourth channel, image[..., :3], or give a PIL image"
    elif array.ndim == 3 and shape[0] in (1, 3, 4):
        advice = "put the channels last, image.transpose(1, 2, 0)"
    if not (array.ndim == 2 or (array.ndim == 3 and shape[-1] in (1, 3))) or not array.size:
        raise ValueError(f"{name} has shape {shape}: {advice}")
    return array


def _pixels(name: str, item: Picture, size: tuple[int, int], bgr: bool) -> np.ndarray:
    """The pixels of one picture at the given size, [h, w, 3] uint8."""
    if isinstance(item, str | os.PathLike):
        return read_image(Path(item), size)
    if isinstance(item, np.ndarray):
        array = item[..., 0] if item.ndim == 3 and item.shape[-1] == 1 else item
        array = array[..., ::-1] if bgr and array.ndim == 3 else array
        return fit_image(Image.fromarray(np.ascontiguousarray(array)).convert("RGB"), size)
    if item.format not in (None, "MPO", *KINDS):  # Pillow would start Ghostscript for an EPS file
        raise InputError(
            f"{name} has the format {item.format}, not one of {', '.join(KINDS)}: give "
            'image.convert("RGB")'
        )
    try:
        with _PILLOW:
            return fit_image(as_shown(item, name), size)
    except InputError:
        raise
    except Exception as error:  # on damaged files Pillow raises errors of many kinds
        raise InputError(f"{name} cannot be decoded ({shorten(error)}): replace it") from error
