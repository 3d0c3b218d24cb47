"""The parts of a run that come from a user's own modules: load, record and compare them."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp

from lupi_jax.config import Config, to_fields
from lupi_jax.declared import fields_of, is_part
from lupi_jax.errors import InputError
from lupi_jax.losses import ExtraLoss
from lupi_jax.losses.extra import FIELD as LOSS
from lupi_jax.modality import Modality
from lupi_jax.models import Embedding, EmbedNet
from lupi_jax.parts import calling, check_settings, digest_of, load_part, name_of
from lupi_jax.training.hooks import Hook, Moment
from lupi_jax.training.network import as_parameters
from lupi_jax.training.step import TrainState

HOOKS = "log.hooks"

_USED_LATER = ("model.backbone", "views.intermediate")
"""The fields whose parts an evaluation may use."""

PartsRecord = dict[str, dict[str, str]]
"""{dotted field: {"name": MODULE:NAME, "digest": SHA-256 of its file, "" if unknown}}."""


def named_parts(config: Config) -> dict[str, str]:
    """{dotted field: MODULE:NAME} of the parts that change a run's numbers."""
    fields = fields_of(Config)
    return {
        name: value
        for name, value in to_fields(config).items()
        if isinstance(value, str) and is_part(value) and not fields[name].path
    }


def parts_record(config: Config, loss: Callable[..., Any] | None = None) -> PartsRecord:
    """Describe the user's own parts of a run for its record.

    Args:
      config: the run's configuration.
      loss: a loss that was given as an object instead of by name.

    Raises:
      InputError: a part cannot be imported.
    """
    found = {field: (name, load_part(name, field)) for field, name in named_parts(config).items()}
    if loss is not None:
        found[LOSS] = (name_of(loss), loss)
    return {
        field: {"name": name, "digest": digest_of(part)} for field, (name, part) in found.items()
    }


def changed_parts(saved: Mapping[str, Any], now: PartsRecord) -> list[str]:
    """Name the parts whose code differs, or that only one of the two has.

    Args:
      saved: the `PartsRecord` in a checkpoint.
      now: the parts of the new command.
    """
    return [
        f"the code of {field} = {(saved.get(field) or now[field])['name']}"
        for field in sorted(saved.keys() | now.keys())
        if saved.get(field) != now.get(field)
    ]


def changed_network(record: Mapping[str, Any], config: Config) -> list[str]:
    """Name the backbone and the maker of intermediate images if their code has changed.

    Args:
      record: the run's `run_record`.
      config: its configuration.
    """
    saved = {f: part for f, part in record.get("parts", {}).items() if f in _USED_LATER}
    now: PartsRecord = {}
    for field, name in named_parts(config).items():
        with contextlib.suppress(InputError):  # where a missing part is needed, it is an error
            if field in saved:
                now[field] = {"name": name, "digest": digest_of(load_part(name, field))}
    return changed_parts({field: saved[field] for field in now}, now)


def own_loss(config: Config, loss: Callable[..., Any] | None) -> ExtraLoss | None:
    """The loss of a user's own that a run adds to the method's, or None.

    Args:
      config: the run's configuration. Its `loss.extra_settings` and `loss.extra_weight` apply to
        either loss.
      loss: a loss given as an object, instead of `config.loss.extra`.

    Raises:
      InputError: the loss cannot be imported or does not accept its settings, or there are
        settings without a loss.
      ValueError: both `loss` and `config.loss.extra` are given.
    """
    if loss is not None and config.loss.extra:
        raise ValueError("give either loss or config.loss.extra, not both")
    part = load_part(config.loss.extra, LOSS) if config.loss.extra else loss
    if part is None and config.loss.extra_settings:  # no rule of a configuration knows `loss`
        raise InputError(f"config: {LOSS}_settings needs a part of your own in {LOSS}")
    if part is None:
        return None
    return ExtraLoss.of(part, config.loss)


def parameters_of_loss(config: Config, model: EmbedNet, extra: ExtraLoss) -> Any:
    """Draw the parameters of a loss of a user's own; {} without parameters.

    Raises:
      InputError: the loss fails, or returns something else than named scalars.
    """
    rows = config.batch.identities * config.batch.images
    dtype = jnp.float64 if config.dtype == "float64" else jnp.float32
    feature, logits = (jnp.zeros((rows, n), dtype) for n in (model.features, model.num_classes))
    trained = [m for m in Modality if m in config.modalities]  # in the order of the step
    embeddings = {m: Embedding(feature, feature, logits) for m in trained}
    labels = jnp.arange(rows) // config.batch.images
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    params = as_parameters(config, extra.init(key, embeddings, labels))
    extra.check(params, embeddings, labels)
    return params


def own_hooks(config: Config, workdir: Path) -> list[Hook]:
    """Make the hooks that a configuration names, each by calling it with `config` and `workdir`.

    Raises:
      InputError: a hook cannot be imported or made, or is not a `Hook`.
    """
    hooks = []
    for name in config.log.hooks:
        part = load_part(name, HOOKS)
        check_settings(HOOKS, part, 2, {})
        with calling(HOOKS, name):
            hook = part(config, workdir)
        if not isinstance(hook, Hook):
            raise InputError(f"{HOOKS} = {name} does not make a lupi_jax.Hook: extend that class")
        hooks.append(_Named(hook, name))
    return hooks


@dataclasses.dataclass
class _Named(Hook):
    """A hook that a configuration names. Its errors are reported in one line."""

    hook: Hook
    name: str

    def __enter__(self) -> Self:
        with calling(HOOKS, self.name):
            self.hook.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with calling(HOOKS, self.name):
            self.hook.__exit__(*error)

    def before(self, step: int, state: TrainState) -> None:
        with calling(HOOKS, self.name):
            self.hook.before(step, state)

    def after(self, now: Moment) -> None:
        with calling(HOOKS, self.name):
            self.hook.after(now)

    def logged(self, row: Mapping[str, Any]) -> None:
        with calling(HOOKS, self.name):
            self.hook.logged(row)
