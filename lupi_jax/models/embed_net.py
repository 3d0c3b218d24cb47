"""EmbedNet, which maps images of one or several modalities to embeddings."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.core import Tracer

from lupi_jax.declared import Options
from lupi_jax.modality import Modality
from lupi_jax.models.backbone import Backbone
from lupi_jax.models.backbones import make_backbone
from lupi_jax.models.layers import BatchNorm, Dtype, Numerics, average_pool, generalized_mean_pool
from lupi_jax.models.operations import widened
from lupi_jax.models.resnet import SHARED_FROM

POOLINGS = {"gem": generalized_mean_pool, "average": average_pool}


class Embedding(NamedTuple):
    """The network's output for n images. Nothing is L2-normalised.

    Attributes:
      pooled: [n, d], the pooled feature, for the triplet and colour-free losses.
      neck: [n, d], the feature after the BN neck, usual for retrieval.
      logits: [n, num_classes], output of the bias-free classifier.
    """

    pooled: Array
    neck: Array
    logits: Array


class EmbedNet(nn.Module):
    """A backbone with one stem per modality, and a head that makes embeddings.

    Each modality has a stem of its own, and all share one trunk; `ResNet`, `ViT` or a `Backbone` of
    your own says which layers these are. If the trunk returns a map, it is pooled to one feature
    per image. A BN neck without shift normalises this feature, and a bias-free classifier gives
    the logits of the training identities. Only the stems of the given modalities run.

    Attributes:
      num_classes: number of training identities.
      backbone: a key of `BACKBONES`, or MODULE:NAME of a `Backbone` of your own.
      non_local: whether to use AGW's non-local blocks. "resnet18" never has them, as in the
        released code.
      pooling: "gem" (p = 3) or "average", for a trunk that returns a map. "vit_small" does not.
      stem_relu: whether a ReLU follows the stem's bn1, as in AGW and torchvision's ResNet, but not
        in the released network.
      dtype: type of the computation, see `Numerics`. Pooling, neck and classifier compute in at
        least float32.
      axis_name: mapped axis of the devices, see `Numerics`.
      precision: precision of matrix products and convolutions, as `jax.default_matmul_precision`
        takes it. None means JAX's default.
      shared_from: the first layer that all modalities share, one of `SHARED_FROM`.
      image_size: (height, width) in pixels of the training images, None if unknown. The network
        embeds images of any size, but `extract_features` refuses other sizes.
      backbone_settings: settings of a backbone of your own.
    """

    num_classes: int
    backbone: str = "resnet50"
    non_local: bool = True
    pooling: str = "gem"
    stem_relu: bool = False
    dtype: Dtype = None
    axis_name: str | None = None
    precision: str | None = None
    shared_from: str = "layer2"
    image_size: tuple[int, int] | None = None
    backbone_settings: Mapping[str, Any] = Options()

    def __post_init__(self) -> None:
        if self.shared_from not in SHARED_FROM:
            raise ValueError(
                f"shared_from: expected one of {SHARED_FROM}, got {self.shared_from!r}"
            )
        super().__post_init__()

    @property
    def features(self) -> int:
        """Length d of the embedding."""
        return self.net.features

    @property
    def net(self) -> Backbone:
        """The backbone.

        Raises:
          InputError: the module of a backbone of your own is missing, or does not follow the
            contract.
        """
        return make_backbone(
            self.backbone,
            dict(self.backbone_settings),
            non_local=self.non_local,
            stem_relu=self.stem_relu,
            shared_from=self.shared_from,
        )

    @nn.compact
    def __call__(
        self,
        images: Array | Mapping[Modality, Array],
        modality: Modality | None = None,
        train: bool = False,
    ) -> Embedding:
        """Embed images.

        Args:
          images: normalised images [n, h, w, 3] of one `modality`, or {modality: images}. The rows
            of a mapping are stacked in the order visible, infrared, intermediate.
          modality: modality of `images`, if that is one array.
          train: whether to use and record the batch's statistics (apply with
            mutable=["batch_stats"]).

        Returns:
          Embedding of all rows.

        Raises:
          ValueError: `images` is an array without a `modality`, or a mapping with one.
        """
        if isinstance(images, Mapping) == (modality is not None):
            raise ValueError("give either one array and its modality, or {modality: images}")
        if not isinstance(images, Mapping):
            assert modality is not None
            images = {Modality(modality): images}
        precision = self.precision
        with jax.default_matmul_precision(precision) if precision else nullcontext():
            return self._embed(images, train)

    def _embed(self, images: Mapping[Modality, Array], train: bool) -> Embedding:
        net, numerics = self.net, Numerics(self.dtype, self.axis_name)
        stems = [net.stem(numerics, f"stem_{m}")(images[m], train) for m in Modality if m in images]
        x = net.trunk(numerics, "trunk")(jnp.concatenate(stems), train)
        if x.ndim not in (2, 4) or x.shape[-1] != net.features:
            raise ValueError(
                f"the trunk of {self.backbone} must return [n, h, w, {net.features}] or "
                f"[n, {net.features}], not {list(x.shape)}"
            )
        pooled = POOLINGS[self.pooling](x) if x.ndim == 4 else widened(x)
        neck = BatchNorm(
            dataclasses.replace(numerics, dtype=None),  # not narrower than the pooled feature
            frozen_bias=True,
            scale_init=lambda key, shape, dtype: 1.0 + 0.01 * jax.random.normal(key, shape, dtype),
            name="neck",
        )(pooled, train)
        logits = nn.Dense(
            self.num_classes,
            use_bias=False,
            kernel_init=nn.initializers.normal(0.001),
            precision=jax.lax.Precision.HIGHEST,
            name="classifier",
        )(neck)
        return Embedding(pooled, neck, logits)


def shallow_features(model: EmbedNet, variables: Any, images: Array, modality: Modality) -> Array:
    """Summarise what a modality's stem makes of images, by its running statistics.

    Args:
      model: the network.
      variables: its parameters and running statistics.
      images: normalised images [n, h, w, 3].
      modality: the modality whose stem they go through.

    Returns:
      [n, 2 c], the mean and the deviation over the pixels of the stem's c channels.
    """
    name = f"stem_{modality}"
    own = {collection: parts[name] for collection, parts in variables.items() if name in parts}
    stem = model.net.stem(Numerics(model.dtype), name)
    x = widened(cast(Array, stem.apply(own, images, False)))
    x = x.reshape(len(x), -1, x.shape[-1])
    return jnp.concatenate([x.mean(1), jnp.sqrt(x.var(1) + 1e-6)], axis=-1)


def initialize(
    model: EmbedNet,
    key: Array,
    modalities: tuple[Modality, ...] = tuple(Modality),
    image_size: tuple[int, int] = (288, 144),
) -> dict[str, Any]:
    """Draw the variables of `model`, with one stem per modality of `modalities`.

    All stems start as copies of one, as they do with pre-trained weights. The features of the
    modalities are then aligned from the first step.

    Returns:
      {"params": ..., "batch_stats": ...}.
    """

    def draw(key: Array) -> dict[str, Any]:
        images = {modalities[0]: jnp.zeros((2, *image_size, 3))}
        return cast(dict[str, Any], model.init(key, images, train=True))

    variables = draw(key) if isinstance(key, Tracer) else _draw_on_cpu(draw, key)
    for collection in variables.values():
        stem = collection.get(f"stem_{modalities[0]}")
        for m in modalities[1:]:
            if stem is not None:  # Copies, not aliases: a training step donates its buffers.
                collection[f"stem_{m}"] = jax.tree.map(jnp.copy, stem)
    return variables


def _draw_on_cpu(draw: Callable[[Array], Any], key: Array) -> Any:
    """Compute `draw(key)` on this process's CPU, and put the results on the default device.

    The program runs once and mostly draws random numbers. A CPU compiles it in seconds, and the
    numbers do not depend on the device.
    """
    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was started without its CPU backend
        return jax.jit(draw)(key)
    with jax.default_device(cpu):
        own_key = jax.device_put(key, cpu)
        # With optimisation, compiling takes four times as long.
        quick: Any = {"xla_backend_optimization_level": "0"}
        variables = jax.jit(draw).lower(own_key).compile(quick)(own_key)
    # NumPy arrays in between, so that no array stays bound to a device.
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), variables)
