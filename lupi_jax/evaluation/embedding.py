"""From images to the features that are compared at test time and exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lupi_jax.config import Config
from lupi_jax.data import Index, make_reader, read_rows
from lupi_jax.data.images import ReadRow, naming_all, unreadable
from lupi_jax.errors import InputError
from lupi_jax.evaluation.features import Features, are_unit
from lupi_jax.evaluation.inputs import check_feature, check_pixels, check_scale, check_shape
from lupi_jax.evaluation.origin import origin_of
from lupi_jax.modality import Modality, stem_for
from lupi_jax.models import Embedding, EmbedNet
from lupi_jax.runtime import hosts
from lupi_jax.runtime.phases import phase
from lupi_jax.runtime.progress import Show, counted, silent
from lupi_jax.views import ViewSettings, make_intermediate, normalise

BATCH = 64
"""Number of images embedded at once."""


def embed_batch(
    model: EmbedNet, variables: Any, images: Array, modality: Modality
) -> tuple[Array, Array]:
    """Pooled and neck features [n, d] float32, L2-normalised, in pure JAX.

    Args:
      model: the network.
      variables: its parameters and running statistics.
      images: [n, h, w, 3], uint8, or floating and already normalised.
      modality: the modality whose stem they go through.
    """
    if images.dtype == jnp.uint8:
        images = normalise(images)
    embedding = cast(Embedding, model.apply(variables, images, modality))

    def unit(x: Array) -> Array:
        x = x.astype(jnp.float32)
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    return unit(embedding.pooled), unit(embedding.neck)


_embed = jax.jit(embed_batch, static_argnums=(0, 3))


def _padded(images: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of exactly `size` images, with the number of real ones; zeros fill the last batch."""
    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield np.stack(batch), size
            batch = []
    if batch:
        filler = [np.zeros_like(batch[0])] * (size - len(batch))
        yield np.stack(batch + filler), len(batch)


def embed_images(
    model: EmbedNet,
    variables: Any,
    images: Iterable[np.ndarray],
    modality: Modality,
    batch_size: int = BATCH,
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled and neck features [n, d] float32, L2-normalised, of n images in the given order.

    Args:
      model: the network.
      variables: its parameters and running statistics.
      images: n images, each [h, w, 3], uint8, or floating and already normalised.
      modality: the modality whose stem they go through.
      batch_size: number of images that this process's devices embed at once, rounded up to a
        multiple of their number. Each batch is filled up, so that one compiled program serves all.

    Raises:
      ValueError: `images` is empty, `check_pixels` refuses an image, or the network has no stem for
        `modality`.
    """
    pooled, neck = [], []
    devices = jax.local_device_count()
    whole, rows = hosts.over_local_devices()
    variables = jax.device_put(_through(Modality(modality), variables), whole)
    for batch, count in _padded(images, -(-batch_size // devices) * devices):
        check_pixels(model, batch)
        batch = jax.device_put(batch, rows)
        with nullcontext() if pooled else phase("compiling, and embedding the first batch"):
            features = _embed(model, variables, batch, Modality.VISIBLE)
            pooled.append(np.asarray(features[0])[:count])
        neck.append(np.asarray(features[1])[:count])
    if not pooled:
        raise ValueError("no images to embed")
    return np.concatenate(pooled), np.concatenate(neck)


def _through(modality: Modality, variables: Any) -> Any:
    """The variables with only this stem, named as the visible one.

    So one compiled program embeds all modalities.
    """
    if modality not in stems_of(variables):
        raise ValueError(f"the network has no {modality} stem")
    named = {f"stem_{modality}": f"stem_{Modality.VISIBLE}"}
    return {
        collection: {
            named.get(name, name): part
            for name, part in parts.items()  # a stem may lack running statistics
            if name in named or not name.startswith("stem_")
        }
        for collection, parts in variables.items()
    }


def extract_features(
    model: EmbedNet,
    variables: Any,
    images: np.ndarray,
    modality: Modality,
    feature: str = "neck",
) -> np.ndarray:
    """Features of images in memory that have the network's own size.

    For files, and for images of any size, use `lupi_jax.extractor`, which resizes as training does.

    Args:
      model: the network.
      variables: the network's parameters and running statistics, as `lupi_jax.load` gives them.
      images: [n, h, w, 3] RGB, resized by Lanczos; uint8 from 0 to 255, or floating and already
        normalised by `lupi_jax.normalise`. OpenCV gives BGR: convert it by `images[..., ::-1]`.
      modality: the modality whose stem they go through.
      feature: "neck" (after the BN neck) or "pooled" (before it).

    Returns:
      [n, d] float32, L2-normalised.

    Raises:
      ValueError: `images` has another shape, dtype or size, or n is 0; floating images are not
        finite, or their range shows that they are not normalised; or `feature` is unknown.
    """
    images = np.asarray(images)
    check_shape(images.shape)
    check_feature(feature)
    check_pixels(model, images)
    check_scale(images)
    pooled, neck = embed_images(model, variables, images, modality, min(BATCH, len(images)))
    return neck if feature == "neck" else pooled


def stems_of(variables: Any) -> list[Modality]:
    """The modalities for which a network has a stem.

    These are all modalities if no stem has parameters, because then the stems do not differ.
    """
    own = [m for m in Modality if f"stem_{m}" in variables["params"]]
    return own or list(Modality)


def require_stem(variables: Any, modality: Modality) -> Modality:
    """The modality whose stem images of `modality` go through (`modality.stem_for`).

    Raises:
      InputError: the network was trained without that stem.
    """
    stems = stems_of(variables)
    stem = stem_for(modality, stems)
    if stem is None:
        raise InputError(
            f"this network was trained on {' and '.join(stems)} images and cannot embed "
            f"{modality} images: use a network that was trained on them"
        )
    return stem


def with_intermediate(index: Index) -> Index:
    """`index`, and after its rows one intermediate row per visible image."""
    visible = np.flatnonzero(index.modalities == Modality.VISIBLE)
    both = index[np.concatenate([np.arange(len(index)), visible])]
    modalities = np.concatenate(
        [index.modalities, np.full(len(visible), str(Modality.INTERMEDIATE))]
    )
    return dataclasses.replace(both, modalities=modalities)


@partial(jax.jit, static_argnums=2)
def _intermediate_batch(key: Array, images: Array, views: ViewSettings, first: Array) -> Array:
    return normalise(make_intermediate(key, images, views, first))


def _intermediate(
    config: Config, images: Iterable[np.ndarray], batch_size: int, first: int
) -> Iterator[np.ndarray]:
    """Normalised intermediate images made of visible ones, which are numbered from `first`."""
    key = jax.random.key(config.seed)
    for number, (batch, count) in enumerate(_padded(images, batch_size)):
        start = jnp.asarray(first + number * batch_size)
        yield from np.asarray(_intermediate_batch(key, batch, config.views, start))[:count]


def embed_index(
    config: Config,
    model: EmbedNet,
    variables: Any,
    index: Index,
    batch_size: int = BATCH,
    show: Show = silent,
    read: ReadRow | None = None,
) -> Features:
    """Features of every image of `index`, each through its stem (`modality.stem_for`).

    If there are several processes, each embeds a share and returns all features.

    Args:
      config: the configuration; `data` says how images are read, `views` and `seed` how
        intermediate images are made.
      model: the network.
      variables: the network's parameters and running statistics.
      index: n images; an intermediate row names the visible image that it is made of.
      batch_size: number of images embedded at once.
      show: shows how many images are embedded.
      read: function that gives the pixels of a row; None reads them as `config` says.

    Raises:
      InputError: images cannot be read (the message names them), the network was trained without
        the modality of an image, or a feature is zero or not finite.
    """
    data = config.data
    read = read or make_reader(index, data.image_size, data.prepared, data.workers, show)
    with naming_all(read, len(index), data.workers, partial(unreadable, index)) as reading:
        pooled, neck = _embed_rows(config, model, variables, index, batch_size, show, reading)
    if not (are_unit(pooled) and are_unit(neck)):
        raise InputError(
            f"{index.root}: this network gives features that are zero or not finite for some of "
            "these images: its training went wrong, use another network"
        )
    return Features(pooled, neck, index, origin_of(model, variables, config.data.image_size))


def _embed_rows(
    config: Config,
    model: EmbedNet,
    variables: Any,
    index: Index,
    batch_size: int,
    show: Show,
    read: ReadRow,
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled and neck features [n, d] of `embed_index`; `read` gives the pixels of a row."""
    width = model.features
    pooled, neck = (np.empty((len(index), width), np.float32) for _ in range(2))
    of_modality = {m: np.flatnonzero(index.modalities == m) for m in Modality}
    advance, done = show("images"), 0
    own = sum(len(hosts.share(len(rows))) for rows in of_modality.values())
    for modality, rows in of_modality.items():
        if not len(rows):
            continue
        stem = require_stem(variables, modality)
        share = hosts.share(len(rows))
        parts = tuple(np.empty((0, width), np.float32) for _ in range(2))
        if share:
            batch = min(batch_size, len(share))
            images = read_rows(read, rows[share], config.data.workers)
            images = counted(images, advance, done, own)
            done += len(share)
            if modality == Modality.INTERMEDIATE:
                images = _intermediate(config, images, batch, share.start)
            parts = embed_images(model, variables, images, stem, batch)
        pooled[rows], neck[rows] = (hosts.gather(part, len(rows)) for part in parts)
    return pooled, neck
