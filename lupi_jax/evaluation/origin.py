"""Which network made a set of features, and how it read the images.

Distances between features mean something only if the same network made both from images that were
read in the same way. An origin has plain values that survive JSON: `network_fingerprint`, and other
facts about the run of an export. Exports of older versions have no fingerprint.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lupi_jax.data.decoding import DECODING
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.digest import digest
from lupi_jax.views import IMAGENET_MEAN, IMAGENET_STD

Origin = Mapping[str, Any]

NETWORK = "network_fingerprint"

_ARCHITECTURE = ("backbone", "non_local", "pooling", "stem_relu", "shared_from")


def fingerprint_network(model: EmbedNet, variables: Any, size: tuple[int, int]) -> str:
    """16 hexadecimal digits that change with everything that decides a feature.

    That is every weight and statistic that retrieval reads (not the classifier), the layers between
    them, and how a file becomes the network's input. Devices and precision, which change only a
    feature's last bits, do not change the fingerprint.

    Args:
      model: the network.
      variables: the network's parameters and running statistics, as `lupi_jax.load` gives them.
      size: (height, width) of the images in pixels.
    """
    read = {
        collection: {name: part for name, part in parts.items() if name != "classifier"}
        for collection, parts in variables.items()
    }
    layers = {name: getattr(model, name) for name in _ARCHITECTURE}
    if model.backbone_settings:  # left out if empty, as in the fingerprints of older exports
        layers["backbone_settings"] = dict(model.backbone_settings)
    images = ["Lanczos", DECODING, list(size), IMAGENET_MEAN, IMAGENET_STD]
    said = json.dumps([digest(read), layers, images], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def origin_of(model: EmbedNet, variables: Any, size: tuple[int, int]) -> dict[str, Any]:
    """The origin of features that a network makes from images of `size` = (height, width)."""
    return {NETWORK: fingerprint_network(model, variables, size), "image_size": list(size)}


def describe_origin(origin: Origin) -> str:
    """An origin in words, "network 0123456789abcdef (runs/demo, step 600, 96 x 48 pixels)"."""
    said = [str(origin[name]) for name in ("run", "checkpoint") if origin.get(name)]
    size = origin.get("image_size")
    if size and isinstance(size, list | tuple):
        said.append(f"{' x '.join(map(str, size))} pixels")
    return f"network {origin.get(NETWORK, 'unknown')}" + (f" ({', '.join(said)})" if said else "")


def same_origin(origin: Origin, own: Origin) -> bool | None:
    """Whether one network made both from images of one size; None if an origin does not say."""
    made = [each.get(NETWORK) for each in (origin, own)]
    return made[0] == made[1] if all(isinstance(name, str) and name for name in made) else None
