"""Make a `Config` of a mapping, and report all mistakes at once."""

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from typing import Any

from lupi_jax.config.fields import Config
from lupi_jax.config.recipes import RECIPES, SETTINGS
from lupi_jax.config.rules import contradictions
from lupi_jax.declared import Occasion, Options, evaluate, fields_of
from lupi_jax.errors import InputError
from lupi_jax.modality import has_twins


def parse_config(values: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Config:
    """Check a mapping (a ConfigDict, or a checkpoint's) and freeze it.

    Args:
      values: fields by their dotted names, or nested. A field that is absent or None takes the
        value of the setting or the recipe if they set it, else its default.
      overrides: fields that win over `values`, by their dotted names, or nested. A value is a
        Python value, or text as on a command line, "(64, 32)". An override of `steps` also removes
        `epochs` from `values`, and the reverse.

    Raises:
      InputError: one line that names every unknown, mistyped or out-of-range field, and all fields
        that contradict each other.
    """
    known, said = fields_of(Config), _flatten(overrides or {})
    texts = {name for name, value in said.items() if isinstance(value, str)}
    given = _gathered(_flatten(values), said, texts)
    problems = {}
    for name in sorted(given.keys() - known.keys()):
        close = difflib.get_close_matches(name, known, 1)
        problems[name] = "is not a field" + (f" (did you mean {close[0]}?)" if close else "")
    read: dict[str, Any] = {}
    for name, field in known.items():
        if given.get(name) is not None:
            try:
                typed = name in texts and isinstance(given[name], str)
                read[name] = field.read(given[name], typed)
            except ValueError as error:
                problems[name] = str(error)
    for name, other in (("steps", "epochs"), ("epochs", "steps")):
        if name in said and read.get(name) and other not in said:
            read.pop(other, None)
            problems.pop(other, None)
    read = {name: value for name, value in read.items() if value is not None}
    fields = {**_left_out(read), **read}
    lines = [f"{name} {problem}" for name, problem in problems.items()]
    lines += contradictions(fields, problems)
    if lines:
        raise InputError(f"config: {'; '.join(lines)}")
    return Config.of(fields)


def check_config(config: Config) -> Config:
    """Return a configuration that was made in Python, after a check between its fields.

    `Config(...)` itself checks only each field alone, because it may be changed before it is used.

    Raises:
      InputError: fields contradict each other; one line names them all.
    """
    if lines := contradictions(to_fields(config), ()):
        raise InputError(f"config: {'; '.join(lines)}")
    return config


def parse_record(values: Mapping[str, Any]) -> Config:
    """`parse_config` for the configuration in a checkpoint, which has every field.

    A field that the checkpoint lacks is younger than the checkpoint. It takes the value that
    describes what the code did before the field existed, whatever today's recipe says. That value
    is the field's default, with three exceptions. A ResNet-18 had non-local blocks. SYSU-MM01 was
    searched within a modality by Market-1501's rule. A network was evaluated in the device's
    precision; `evaluation.precision` is nevertheless "highest" for these checkpoints, which
    changes the rounding.

    Raises:
      InputError: see `parse_config`.
    """
    given = _flatten(values)
    old = "model.shared_from" not in given and given.get("model.non_local")
    if old and given["model.backbone"] == "resnet18":
        given["model.backbone"] = "resnet18_non_local"
    # For other data sets "auto" describes what was done, and "released" leaves no choice of rule.
    if given.get("data.name") == "sysu" and given.get("evaluation.protocol") != "released":
        given.setdefault("evaluation.same_modality", "identity_and_camera")
    return parse_config({**to_fields(Config()), **given})


def field_types() -> dict[str, Any]:
    """{dotted field name: type} of all fields of the configuration."""
    return {name: field.kind for name, field in fields_of(Config).items()}


def changeable(occasion: Occasion) -> tuple[str, ...]:
    """Dotted names of the fields that may change when a run is "resumed" or "evaluated"."""
    return tuple(n for n, field in fields_of(Config).items() if occasion in field.may_change)


def to_fields(config: Config) -> dict[str, Any]:
    """{dotted field name: value} of all fields."""
    return _flatten(dataclasses.asdict(config))


def defaults_of(config: Config) -> dict[str, Any]:
    """{dotted field name: value} of a configuration that sets only this recipe and setting."""
    return _left_out({"recipe": config.recipe, "setting": config.setting})


def differences(a: Config, b: Config) -> list[str]:
    """Dotted names of the fields in which two configurations differ."""
    before, after = to_fields(a), to_fields(b)
    return [name for name in before if before[name] != after[name]]


def _gathered(
    values: Mapping[str, Any], said: Mapping[str, Any], typed: Collection[str]
) -> dict[str, Any]:
    """Lay `said` over `values`, and put the fields FIELD.NAME of each `Options` into one value.

    A FIELD in `said` replaces all that `values` has of it. A FIELD.NAME changes one setting.

    Args:
      values: fields by their dotted names.
      said: fields that win over them.
      typed: the names of `said` whose values a user typed as text.
    """

    def read(name: str) -> Any:
        return evaluate(result[name]) if name in typed else result[name]

    result = {**values, **said}
    for group in (name for name, field in fields_of(Config).items() if field.kind is Options):
        inside = sorted(name for name in result if name.startswith(f"{group}."))
        kept = [name for name in inside if name in said or group not in said]
        whole = read(group) if group in result else None
        if kept and (whole is None or isinstance(whole, Mapping)):
            options = {name.removeprefix(f"{group}."): read(name) for name in kept}
            result[group] = {**(whole or {}), **options}
        result = {name: value for name, value in result.items() if name not in inside}
    return result


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and not isinstance(value, Options):
            result |= _flatten(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


def _left_out(read: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each field that is left out, given the fields that were `read`."""
    recipe = RECIPES[read.get("recipe", Config.recipe)]
    setting = SETTINGS[read.get("setting", Config.setting)]
    fields = {**to_fields(Config()), **recipe, **setting}
    if "steps" in read or "epochs" in read:
        fields["epochs"] = Config.epochs
    modalities = read.get("modalities", fields["modalities"])
    if not has_twins(modalities):
        fields["loss.color_free"] = "none"
    if read.get("views.intermediate") == "adaptive":
        fields["views.quantize_intermediate"] = False
    return fields
