"""Make the network's inputs (views) from a uint8 batch, on the device and inside `jit`.

Visible and infrared images are augmented. The intermediate view is made from the visible images
(Eq. 4), with its own crop, flip and erased rectangle. The paper calls these "different distortions
for RGB and intermediate images". At test time images are only normalised (`normalise`).

Paper: Alehdaghi, Josi, Cruz, Granger, "Visible-Infrared Person Re-Identification Using Privileged
Intermediate Information", ECCV Workshops 2022.
"""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lupi_jax.modality import Modality
from lupi_jax.settings import ViewSettings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)

Images = Array | np.ndarray

# The released code writes these values, the means of CIFAR-10, into normalised images.
_RELEASED_FILL = (0.4914, 0.4822, 0.4465)

# At the default area and aspect, an attempt fails with probability 0.06 on 2:1 images and 0.12 on
# 3:1 ones. All ten fail once in 10^12 or 10^9 times. The released code tries 100 times.
_ERASE_ATTEMPTS = 10

# Each modality has a fixed number in the keys, so that its views do not depend on which other
# modalities are asked for.
_STREAMS = {Modality.VISIBLE: 0, Modality.INFRARED: 1, Modality.INTERMEDIATE: 2}


def normalise(images: Images) -> Array:
    """Normalise images with the ImageNet statistics.

    Args:
        images: [..., 3] RGB, uint8 or floating point, 0 to 255.

    Returns:
        [..., 3] float32, (x / 255 - mean) / std per channel.

    Raises:
        ValueError: if the last dimension is not 3, or the type is neither uint8 nor floating.
    """
    _check_channels(images)
    mean = np.asarray(IMAGENET_MEAN) * 255
    scale = 1 / (np.asarray(IMAGENET_STD) * 255)
    # Subtract first. The compiler could fuse x * scale + offset, which would change some bits.
    centred = jnp.asarray(images, jnp.float32) - _per_channel(mean, images)
    return centred * _per_channel(scale, images)


def random_channel(key: Array, images: Images) -> Array:
    """Make intermediate images by Eq. 4, (aR + bG + cB) / (a + b + c) with a, b, c ~ U(0, 1).

    Each image has its own draw. Row i uses `jax.random.uniform(jax.random.fold_in(key, i), (3,))`.

    Args:
        key: a JAX random key.
        images: [n, h, w, 3] RGB, uint8 or floating point.

    Returns:
        [n, h, w, 3], one grey channel repeated three times, on the scale of `images`. float32 for
        uint8 images, else the type of `images`.

    Raises:
        ValueError: if `images` has another shape or type.
    """
    _check_channels(images, batch=True)
    return jax.vmap(_mix)(images, jax.vmap(_draw_weights)(_row_keys(key, len(images))))


def luma(images: Images) -> Array:
    """Make the fixed grey of the paper's ablation, 0.299 R + 0.587 G + 0.114 B.

    Args:
        images: [..., 3] RGB, uint8 or floating point.

    Returns:
        [..., 3], one grey channel repeated three times, on the scale of `images`. float32 for
        uint8 images, else the type of `images`.

    Raises:
        ValueError: if the last dimension is not 3, or the type is neither uint8 nor floating.
    """
    _check_channels(images)
    return _mix(images, jnp.asarray(LUMA))


def make_intermediate(
    key: Array, images: Images, settings: ViewSettings, first_row: int | Array = 0
) -> Array:
    """Make intermediate images as in training, but without augmentation.

    Args:
        key: a JAX random key; row i draws its weights with `fold_in(key, first_row + i)`.
        images: [n, h, w, 3] RGB uint8.
        settings: only `intermediate` and `quantize_intermediate` are used.
        first_row: the number of row 0 among all images.

    Returns:
        [n, h, w, 3] float32, 0 to 255.

    Raises:
        ValueError: if `images` has another shape or type.
    """
    _check_channels(images, batch=True)
    keys = _row_keys(key, len(images), first_row)
    return jax.vmap(partial(_grey, settings=settings))(keys, jnp.asarray(images))


def make_views(
    key: Array,
    visible: Images | None,
    infrared: Images | None,
    settings: ViewSettings,
    modalities: Iterable[str] = ("visible", "infrared", "intermediate"),
    first_row: int | Array = 0,
) -> dict[Modality, Array]:
    """Make the training views of a batch: pad, crop, flip, grey, normalise, erase.

    Every row has its own key, `fold_in(fold_in(key, stream), first_row + i)` with stream 0, 1, 2
    for visible, infrared, intermediate. A view therefore depends only on `key` and on the row's
    number in the whole batch. The division among devices and the other modalities do not change
    it. With `settings.share_crop_and_flip` an intermediate row draws its crop and flip with
    stream 0.

    Args:
        key: a JAX random key, a new one each step.
        visible: [n, h, w, 3] RGB uint8; None if neither visible nor intermediate is asked for.
        infrared: [n, h, w, 3] uint8, its channel repeated three times; None if not asked for.
        settings: how views are made.
        modalities: names of the views to make.
        first_row: the number of row 0 in the whole batch.

    Returns:
        {modality: [n, h, w, 3] float32}, normalised.

    Raises:
        ValueError: if `modalities` is empty or has an unknown name, or if the images that a
            modality needs are missing, not uint8 or not [n, h, w, 3].
    """
    wanted = {Modality(name) for name in modalities}
    if not wanted:
        raise ValueError("make_views: no modality asked for")

    views: dict[Modality, Array] = {}
    for modality, stream in _STREAMS.items():
        if modality not in wanted:
            continue
        images = infrared if modality is Modality.INFRARED else visible
        if images is None or images.dtype != jnp.uint8 or images.ndim != 4:
            got = "None" if images is None else f"{images.dtype} {images.shape}"
            raise ValueError(f"make_views: {modality} needs uint8 [n, h, w, 3] images, got {got}")
        _check_channels(images)
        grey = modality is Modality.INTERMEDIATE
        keys = _row_keys(jax.random.fold_in(key, stream), len(images), first_row)
        twins = None
        if grey and settings.share_crop_and_flip:
            twin_key = jax.random.fold_in(key, _STREAMS[Modality.VISIBLE])
            twins = _row_keys(twin_key, len(images), first_row)
        views[modality] = jax.vmap(partial(_view, settings=settings, grey=grey))(
            keys, twins, jnp.asarray(images)
        )
    return views


def _view(
    key: Array, twin: Array | None, image: Array, settings: ViewSettings, grey: bool
) -> Array:
    """Augment one image [h, w, 3] uint8 to a view [h, w, 3] float32.

    If `twin` is not None, the view shares the crop and flip of the row with this key.
    """
    crop_key, flip_key, erase_key, weights_key = jax.random.split(key, 4)
    if twin is not None:
        crop_key, flip_key, *_ = jax.random.split(twin, 4)
    # Crop and flip move bytes, a quarter of the memory traffic of floats. Grey can come after them
    # because a sum over channels commutes with both.
    if settings.pad:
        image = _pad_and_crop(crop_key, image, settings.pad)
    flipped = jax.random.uniform(flip_key, dtype=jnp.float32) < settings.flip
    image = jnp.where(flipped, image[:, ::-1], image)
    if grey:
        image = _grey(weights_key, image, settings)
    view = normalise(image)
    return _erase(erase_key, view, settings) if settings.erase else view


def _grey(key: Array, image: Array, settings: ViewSettings) -> Array:
    """Make the intermediate image [h, w, 3] float32 of one visible image [h, w, 3]."""
    random = settings.intermediate == "random_channel"
    image = _mix(image, _draw_weights(key) if random else jnp.asarray(LUMA))
    return jnp.floor(image) if settings.quantize_intermediate else image


def _pad_and_crop(key: Array, image: Array, pad: int) -> Array:
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    # float32 draws end at 1 - 2^-23, so the floor stays below its bound, here and in `_erase`.
    top, left = jnp.floor(jax.random.uniform(key, (2,), jnp.float32) * (2 * pad + 1)).astype(
        jnp.int32
    )
    return jax.lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), image.shape)


def _erase(key: Array, view: Array, settings: ViewSettings) -> Array:
    """Fill a random rectangle. If no attempt fits, fill nothing, as the released code does."""
    full_height, full_width, _ = view.shape
    size_key, place_key = jax.random.split(key)
    shares, ratios = jax.random.uniform(size_key, (2, _ERASE_ATTEMPTS), jnp.float32)
    decide, vertical, horizontal = jax.random.uniform(place_key, (3,), jnp.float32)

    low, high = settings.erase_area
    area = (low + (high - low) * shares) * (full_height * full_width)
    flattest, tallest = settings.erase_aspect, 1 / settings.erase_aspect
    aspect = flattest + (tallest - flattest) * ratios
    heights = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (heights < full_height) & (widths < full_width)
    first = jnp.argmax(fits)
    height, width = heights[first], widths[first]
    top = jnp.floor(vertical * (full_height - height + 1))
    left = jnp.floor(horizontal * (full_width - width + 1))

    rows, columns = jnp.arange(full_height), jnp.arange(full_width)
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    erased = (decide < settings.erase) & fits[first]
    inside = (in_rows & erased)[:, None, None] & in_columns[None, :, None]
    fill = {
        "zero": normalise(jnp.zeros((1, 1, 3))),
        "mean": jnp.zeros((1, 1, 3)),
        "released": jnp.reshape(jnp.asarray(_RELEASED_FILL), (1, 1, 3)),
    }[settings.erase_fill]
    return jnp.where(inside, fill.astype(view.dtype), view)


def _row_keys(key: Array, rows: int, first_row: int | Array = 0) -> Array:
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(first_row + jnp.arange(rows))


def _draw_weights(key: Array) -> Array:
    return jax.random.uniform(key, (3,), jnp.float32)


def _mix(images: Images, weights: Array) -> Array:
    """Weighted mean over the channels of [..., 3], repeated three times."""
    floats = jnp.asarray(images, jnp.promote_types(images.dtype, jnp.float32))
    a, b, c = weights / jnp.sum(weights)
    grey = a * floats[..., 0] + b * floats[..., 1] + c * floats[..., 2]
    kept = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else floats.dtype
    return jnp.broadcast_to(grey[..., None].astype(kept), images.shape)


def _per_channel(values: np.ndarray, like: Images) -> Array:
    return jnp.asarray(values, jnp.float32).reshape((1,) * (like.ndim - 1) + (3,))


def _check_channels(images: Images, batch: bool = False) -> None:
    wanted = "[n, h, w, 3]" if batch else "[..., 3]"
    if images.ndim < 1 or images.shape[-1] != 3 or (batch and images.ndim != 4):
        raise ValueError(f"expected images {wanted}, got {images.shape}")
    if images.dtype != jnp.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"expected images of uint8 or a floating type, got {images.dtype}")
