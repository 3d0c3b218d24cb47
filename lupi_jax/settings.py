"""How a field is declared, and the settings of the views and the losses.

The parser, `lupi config` and the documentation read a field where it is declared. Nothing
here imports JAX, so help is quick.
"""

import ast
import dataclasses
import functools
import inspect
import math
import numbers
import textwrap
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self, TypeVar

from lupi_jax.errors import InputError
from lupi_jax.runtime.files import expand

T = TypeVar("T")
Occasion = Literal["resumed", "evaluated"]


class Rule(NamedTuple):
    """What a value must fulfil, and the words that follow "NAME = VALUE" where it does not."""

    holds: Callable[[Any], bool]
    message: str


POSITIVE = Rule(lambda value: value > 0, "must be positive")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "must not be negative")
FRACTION = Rule(lambda value: 0 <= value <= 1, "must lie in [0, 1]")


def field(
    default: T,
    help: str,
    *rules: Rule,
    may_change: tuple[Occasion, ...] = (),
    path: bool = False,
) -> T:
    """Declare a field of a `Settings` class: `help` in sentences, `rules` beyond its type.

    `may_change` says when a run that exists may take another value: "resumed", because its numbers
    stay the same, or "evaluated", because its network does. Text that is a `path` may begin with
    `~`, the home directory; "none" leaves it empty.
    """
    metadata = {"help": help, "rules": rules, "may_change": may_change, "path": path}
    return typing.cast(T, dataclasses.field(default=default, metadata=metadata))


@dataclass(frozen=True)
class Field:
    """A declared field, by its dotted name."""

    name: str
    kind: Any
    default: Any
    help: str
    rules: tuple[Rule, ...]
    may_change: tuple[Occasion, ...]
    path: bool

    def read(self, value: Any, typed: bool = False) -> Any:
        """`value` as this field's type.

        One that a user `typed` is text, which writes a Python value where the field holds no text.
        If it writes None, so is the result.

        Raises:
          ValueError: it has another type or breaks a rule. The message follows the field's name.
        """
        if typed and self.kind is not str and typing.get_origin(self.kind) is not Literal:
            value = _evaluate(value)
            if value is None:
                return None
        try:
            result = _convert(value, self.kind)
        except (TypeError, ValueError):
            raise ValueError(f"= {value!r} is not {describe(self.kind)}") from None
        result = _read_path(result) if self.path else result
        for rule in self.rules:
            if not rule.holds(result):
                raise ValueError(f"= {result!r} {rule.message}")
        return result


class Settings:
    """Base of frozen dataclasses whose fields are declared by `field`, or are such dataclasses.

    Their objects are hashable, to be static under `jax.jit`. A ValueError names every field that
    has another type or breaks a rule.
    """

    def __init_subclass__(cls) -> None:
        # `help(ViewSettings)` and the reference show the fields as if they were written there.
        entries = [
            textwrap.fill(f"{name}: {f.metadata['help']}", 88, subsequent_indent="    ")
            for name, f in vars(cls).items()
            if isinstance(f, dataclasses.Field) and f.metadata
        ]
        attributes = textwrap.indent("\n".join(entries), "    ")
        cls.__doc__ = (
            f"{inspect.cleandoc(cls.__doc__ or '')}\n\nAttributes:\n{attributes}\n\n"
            "Raises:\n    ValueError: names every field that is out of range.\n"
        )

    @classmethod
    def of(cls, fields: Mapping[str, Any], prefix: str = "") -> Self:
        """The object with `fields`, by their dotted names, which `Field.read` has read already."""
        made = object.__new__(cls)  # `cls(...)` would read them again
        for name, kind in typing.get_type_hints(cls).items():
            group = isinstance(kind, type) and issubclass(kind, Settings)
            value = kind.of(fields, f"{prefix}{name}.") if group else fields[prefix + name]
            object.__setattr__(made, name, value)
        return made

    def __post_init__(self) -> None:
        problems = []
        for name, declared in fields_of(type(self)).items():
            try:
                if "." not in name:  # a group has checked its own
                    object.__setattr__(self, name, declared.read(getattr(self, name)))
            except ValueError as error:
                problems.append(f"{name} {error}")
        if problems:
            raise ValueError(f"{type(self).__name__}: {'; '.join(problems)}")


@functools.cache
def fields_of(cls: type, prefix: str = "") -> Mapping[str, Field]:
    """{dotted name: field} of a `Settings` class and of the groups in it, in their order."""
    kinds = typing.get_type_hints(cls)
    result: dict[str, Field] = {}
    for each in dataclasses.fields(cls):
        name, kind = prefix + each.name, kinds[each.name]
        if dataclasses.is_dataclass(kind):
            result |= fields_of(typing.cast(type, kind), f"{name}.")
        else:
            result[name] = Field(name, kind, each.default, **each.metadata)
    return MappingProxyType(result)


_NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def describe(kind: Any) -> str:
    """The values of a type, in words."""
    items = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(items)}"
    if typing.get_origin(kind) is tuple:
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a tuple of {count}{_PLURALS[items[0]]}"
    return _NOUNS[kind]


def _evaluate(text: str) -> Any:
    """The Python value that `text` writes, or `text` itself where it writes none."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError):
        return text


def _convert(value: Any, kind: Any) -> Any:
    """`value` as `kind`; numbers are not made of strings, nor truncated."""
    items = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value not in items:
            raise ValueError
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        items = items[:1] * len(value) if items[-1] is Ellipsis else items
        return tuple(_convert(v, k) for v, k in zip(value, items, strict=True))
    accepted = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    if kind is float and not math.isfinite(value):
        raise ValueError
    return kind(value)


def _read_path(text: str) -> str:
    """A path without `~`, as it is written otherwise; "" for "none"."""
    if text.lower() == "none":
        return ""
    try:
        return str(expand(text)) if text.startswith("~") else text
    except InputError as error:
        raise ValueError(f"= {error}") from error


@dataclass(frozen=True)
class ViewSettings(Settings):
    """How training views are made."""

    pad: int = field(10, "Pixels of black on every side before the random crop.", NOT_NEGATIVE)
    flip: float = field(0.5, "Probability of a horizontal flip.", FRACTION)
    erase: float = field(
        0.5, "Probability of erasing a rectangle (Zhong et al., AAAI 2020).", FRACTION
    )
    erase_area: tuple[float, float] = field(
        (0.02, 0.4),
        "Smallest and largest share of the image that is erased.",
        Rule(lambda share: 0 <= share[0] <= share[1] <= 1, "must be 0 <= low <= high <= 1"),
    )
    erase_aspect: float = field(
        0.3,
        "Smallest ratio of height to width of what is erased; the largest is its inverse. The "
        "ratio is drawn uniformly between them, as in the released code.",
        Rule(lambda ratio: 0 < ratio <= 1, "must lie in (0, 1]"),
    )
    erase_fill: Literal["zero", "mean", "released"] = field(
        "zero",
        '"zero" erases to black, "mean" to the ImageNet mean pixel (0 once normalised) and '
        '"released" to (.4914, .4822, .4465) after normalisation, as the released code does.',
    )
    intermediate: Literal["random_channel", "luma"] = field(
        "random_channel",
        'Intermediate images: "random_channel" is Eq. 4, "luma" the fixed grey of the ablation.',
    )
    quantize_intermediate: bool = field(
        False, "Truncates the intermediate image to whole grey levels, as the released code does."
    )
    share_crop_and_flip: bool = field(
        False,
        "Crops and flips an intermediate image as its visible twin, so that the two match pixel "
        "by pixel, instead of on its own. It draws its own erased rectangle either way.",
    )


@dataclass(frozen=True)
class LossSettings(Settings):
    """What the total loss is made of. The defaults are the paper's."""

    margin: float = field(0.3, "Margin of the triplet losses.", NOT_NEGATIVE)
    triplet: Literal["sum", "mean", "weighted_regularized", "none"] = field(
        "sum",
        'How the three triplets of Eq. 5 are combined: "sum" (paper) or "mean" (released); with '
        'one or two modalities these are the same. "weighted_regularized" is AGW\'s loss over the '
        'rows of all modalities instead, "none" leaves the triplet loss out.',
    )
    color_free: Literal["paper", "released", "none"] = field(
        "paper",
        'The colour-free loss: "paper" (Eq. 6), "released" (mean squared error) or "none". '
        'Not set, it is "none" where `modalities` lack visible or intermediate.',
    )
    color_free_weight: float = field(10.0, "Weight of that loss, lambda of Eq. 7.", NOT_NEGATIVE)
    color_free_threshold: float = field(
        0.5, "Distance above which Eq. 6 minimises the distance itself.", NOT_NEGATIVE
    )
    color_free_alpha: float = field(0.5, "Weight of the divergence in Eq. 6.", NOT_NEGATIVE)
    color_free_norm: Literal["l2", "l1_mean"] = field(
        "l2", 'Norm of Eq. 6: "l2", or "l1_mean", the mean absolute difference.'
    )
