"""Make the backbone that a configuration names."""

from collections.abc import Mapping
from typing import Any

from lupi_jax.errors import InputError
from lupi_jax.models.backbone import Backbone
from lupi_jax.models.resnet import RESNETS, ResNet, ResNetShape
from lupi_jax.models.vit import VITS
from lupi_jax.parts import calling, check_settings, load_part

BACKBONES: dict[str, ResNetShape | Backbone] = {**RESNETS, **VITS}
"""The names of `model.backbone`. The other fields of `model` complete a ResNet's `ResNetShape`."""

_FIELD = "model.backbone"


def make_backbone(
    name: str, settings: Mapping[str, Any], *, non_local: bool, stem_relu: bool, shared_from: str
) -> Backbone:
    """Make a backbone from its name and its settings.

    Args:
      name: a key of `BACKBONES`, or MODULE:NAME of a `Backbone` of a user's own.
      settings: settings of a user's own backbone.
      non_local: see `ResNet`.
      stem_relu: see `ResNet`.
      shared_from: see `ResNet`.

    Raises:
      InputError: the module of a user's own backbone is missing or fails, or the object is not a
        `Backbone` or does not accept the settings.
    """
    known = BACKBONES.get(name)
    if isinstance(known, ResNetShape):
        return ResNet(known, non_local, stem_relu, shared_from)
    if known is not None:
        return known
    part = load_part(name, _FIELD)
    if not (isinstance(part, type) and issubclass(part, Backbone)):
        raise InputError(f"{_FIELD} = {name} must be a subclass of lupi_jax.models.Backbone")
    check_settings(_FIELD, part, 0, settings)
    with calling(_FIELD, name):
        return part(**settings)
