"""A loss of a user's own, beside the losses of the method."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from lupi_jax.declared import Options
from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.parts import calling, check_settings, name_of
from lupi_jax.settings import LossSettings

if TYPE_CHECKING:
    from lupi_jax.models import Embedding

FIELD = "loss.extra"
RESERVED = ("total", "identity", "triplet", "direct", "color_free", "modality")
"""Names of the method's own terms."""

Terms = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class ExtraLoss:
    """A loss of a user's own, with its weight and its settings.

    The loss is a pure function::

        loss(embeddings, labels, **settings) -> {name: scalar}

    of `embeddings` {modality: Embedding of n rows} and `labels` [n], the class numbers. The rows
    are the whole batch, on any number of devices. Row i has the same identity in all modalities,
    and row i of visible and of intermediate come from the same image. Nothing is normalised. Each
    term is added to the total, and logged as `loss/<name>`.

    A loss with parameters of its own is a Flax module class with the settings as its fields, which
    is called as `module(embeddings, labels)`. The optimiser trains its parameters at the rate of
    the neck and the classifier. They live in the checkpoint beside the network.

    Attributes:
      part: the function, or the class of the module.
      name: MODULE:NAME of `part`, for messages.
      weight: factor of all terms.
      settings: settings of `part`.
    """

    part: Callable[..., Any]
    name: str
    weight: float
    settings: Options

    @classmethod
    def of(cls, part: Callable[..., Any], settings: LossSettings) -> "ExtraLoss":
        """Make the loss of a part with the weight and settings of a configuration.

        Raises:
          InputError: the part does not accept its settings.
        """
        if isinstance(part, nn.Module):
            raise InputError(
                f"{FIELD} = {name_of(part)}: give the class of the module instead of an object; "
                "its fields are loss.extra_settings"
            )
        inputs = 0 if _is_module(part) else 2
        check_settings(FIELD, part, inputs, settings.extra_settings)
        name = settings.extra or name_of(part)
        return cls(part, name, settings.extra_weight, settings.extra_settings)

    def init(self, key: Array, embeddings: Mapping[Modality, "Embedding"], labels: Array) -> Any:
        """Draw the parameters; {} for a function.

        Raises:
          InputError: the module fails, or has variables other than parameters.
        """
        if not _is_module(self.part):
            return {}
        with calling(FIELD, self.name):
            variables = self.part(**self.settings).init(key, embeddings, labels)
        others = sorted(variables.keys() - {"params"})
        if others:
            raise InputError(
                f"{FIELD} = {self.name} has the collection {others[0]}: a loss may only have params"
            )
        return variables.get("params", {})

    def __call__(
        self, params: Any, embeddings: Mapping[Modality, "Embedding"], labels: Array
    ) -> dict[str, Array]:
        """Compute the terms, times `weight`."""
        if _is_module(self.part):
            terms = self.part(**self.settings).apply({"params": params}, embeddings, labels)
        else:
            terms = self.part(embeddings, labels, **self.settings)
        if not isinstance(terms, Mapping) or not all(n and isinstance(n, str) for n in terms):
            got = "other names" if isinstance(terms, Mapping) else f"a {type(terms).__name__}"
            raise InputError(
                f"{FIELD} = {self.name} returns {got}: return a dict from texts to scalars"
            )
        return {name: self.weight * jnp.asarray(term) for name, term in terms.items()}

    def check(self, params: Any, embeddings: Mapping[Modality, "Embedding"], labels: Array) -> None:
        """Compute the terms' shapes, and check them.

        Raises:
          InputError: the loss fails, or does not return {name: floating scalar} with new names.
        """
        names = list(embeddings)  # a dict that JAX passes on loses its order

        def call(params: Any, embeddings: Sequence["Embedding"], labels: Array) -> Terms:
            return self(params, dict(zip(names, embeddings, strict=True)), labels)

        with calling(FIELD, self.name):
            terms = jax.eval_shape(call, params, list(embeddings.values()), labels)
        for name, term in terms.items():
            if name in RESERVED:
                raise InputError(
                    f"{FIELD} = {self.name} returns a term named {name!r}: choose another name "
                    f"than {', '.join(RESERVED)}"
                )
            if term.shape or not jnp.issubdtype(term.dtype, jnp.floating):
                raise InputError(
                    f"{FIELD} = {self.name} returns {name} with the shape {list(term.shape)} and "
                    f"the type {term.dtype}: return a floating scalar"
                )
        if not terms:
            raise InputError(f"{FIELD} = {self.name} returns no terms")


def _is_module(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, nn.Module)
