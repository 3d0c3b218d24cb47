"""Make the training views of a batch."""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from lupi_jax.modality import Modality
from lupi_jax.settings import ViewSettings
from lupi_jax.views.adaptive import Adaptive
from lupi_jax.views.channels import exchange_channels
from lupi_jax.views.erasing import erase
from lupi_jax.views.intermediate import intermediate_of
from lupi_jax.views.own import call_own
from lupi_jax.views.pixels import Images, check_channels, normalise_as, row_keys

# What younger steps draw with: siblings of the four keys that each row has been split into from the
# start, so that older configurations keep their views.
_EXTRA, _EXCHANGE = 4, 5

# Each modality has a fixed number in the keys, so that its views do not depend on which other
# modalities are asked for.
_STREAMS = {Modality.VISIBLE: 0, Modality.INFRARED: 1, Modality.INTERMEDIATE: 2}


def make_views(
    key: Array,
    visible: Images | None,
    infrared: Images | None,
    settings: ViewSettings,
    modalities: Iterable[str] = ("visible", "infrared", "intermediate"),
    first_row: int | Array = 0,
    adaptive: Adaptive | None = None,
) -> dict[Modality, Array]:
    """Make the training views of a batch.

    The order is: pad, crop, flip, make the intermediate image, apply `settings.extra`, normalise,
    erase, exchange channels.

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
        adaptive: what makes learnt intermediate images; only used for `settings.intermediate` =
            "adaptive", which needs it.

    Returns:
        {modality: [n, h, w, 3] float32}, normalised.

    Raises:
        ValueError: if `modalities` is empty or has an unknown name, or if the images that a
            modality needs are missing, not uint8 or not [n, h, w, 3].
        InputError: if `settings` names a function of a user's own that cannot be used.
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
        check_channels(images)
        keys = row_keys(jax.random.fold_in(key, stream), len(images), first_row)
        twins = None
        if modality is Modality.INTERMEDIATE and settings.share_crop_and_flip:
            twin_key = jax.random.fold_in(key, _STREAMS[Modality.VISIBLE])
            twins = row_keys(twin_key, len(images), first_row)
        make = partial(_view, settings=settings, modality=modality, adaptive=adaptive)
        views[modality] = jax.vmap(make)(keys, twins, jnp.asarray(images))
    return views


def _view(
    key: Array,
    twin: Array | None,
    image: Array,
    settings: ViewSettings,
    modality: Modality,
    adaptive: Adaptive | None,
) -> Array:
    """Augment one image [h, w, 3] uint8 to a view [h, w, 3] float32.

    If `twin` is not None, the view shares the crop and flip of the row with this key.
    """
    crop_key, flip_key, erase_key, intermediate_key = jax.random.split(key, 4)
    if twin is not None:
        crop_key, flip_key, *_ = jax.random.split(twin, 4)
    # Crop and flip move bytes, a quarter of the memory traffic of floats. Grey can come after them
    # because a sum over channels commutes with both.
    if settings.pad:
        image = _pad_and_crop(crop_key, image, settings.pad)
    flipped = jax.random.uniform(flip_key, dtype=jnp.float32) < settings.flip
    image = jnp.where(flipped, image[:, ::-1], image)
    if modality is Modality.INTERMEDIATE:
        image = intermediate_of(intermediate_key, image, settings, adaptive)
    if settings.extra:
        name, own = settings.extra, settings.extra_settings
        extra_key = jax.random.fold_in(key, _EXTRA)
        image = call_own("views.extra", name, own, extra_key, image, modality)
    # A learnt image passes its gradient on in the type of the generator's parameters.
    learnt = modality is Modality.INTERMEDIATE and adaptive is not None
    view = normalise_as(image, image.dtype if learnt else jnp.float32)
    if settings.erase:
        view = erase(erase_key, view, settings)
    frequencies = _frequencies(settings, modality)
    if any(frequencies[:-1]):
        view = exchange_channels(jax.random.fold_in(key, _EXCHANGE), view, frequencies)
    return view


def _frequencies(settings: ViewSettings, modality: Modality) -> tuple[float, ...]:
    """The frequencies for `exchange_channels`, which leaves intermediate views as they are."""
    return {
        Modality.VISIBLE: settings.exchange_visible,
        Modality.INFRARED: settings.exchange_infrared,
    }.get(modality, (0.0,))


def _pad_and_crop(key: Array, image: Array, pad: int) -> Array:
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    # float32 draws end at 1 - 2^-23, so the floor stays below its bound, here and in `_erase`.
    top, left = jnp.floor(jax.random.uniform(key, (2,), jnp.float32) * (2 * pad + 1)).astype(
        jnp.int32
    )
    return jax.lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), image.shape)
