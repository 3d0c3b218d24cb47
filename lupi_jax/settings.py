"""How to declare a field, and the settings of the views and the losses.

The parser, `lupi config` and the documentation all read this declaration. Nothing here imports
JAX, so that `--help` is quick.
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
    """A condition on a value, and the words that follow "NAME = VALUE" if the value breaks it."""

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
    """Declare a field of a `Settings` class.

    Args:
      default: its value if nothing else is set.
      help: what it is, in whole sentences.
      rules: conditions beyond its type.
      may_change: when an existing run may take another value. "resumed" says that the value does
        not change the run's numbers, "evaluated" that it does not change the network.
      path: whether the text is a path. It may begin with `~`, the home directory, and "none" means
        empty.
    """
    metadata = {"help": help, "rules": rules, "may_change": may_change, "path": path}
    return typing.cast(T, dataclasses.field(default=default, metadata=metadata))


@dataclass(frozen=True)
class Field:
    """A declared field, with its dotted name."""

    name: str
    kind: Any
    default: Any
    help: str
    rules: tuple[Rule, ...]
    may_change: tuple[Occasion, ...]
    path: bool

    def read(self, value: Any, typed: bool = False) -> Any:
        """Convert `value` to this field's type, and check it.

        Args:
          value: the value.
          typed: whether a user typed it as text. Unless the field itself holds text, the text is
            then read as a Python value. None stays None.

        Raises:
          ValueError: the value has another type or breaks a rule. The message continues the
            field's name.
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
    """Base of frozen dataclasses whose fields are declared by `field` or are themselves `Settings`.

    Their objects are hashable, so that they can be static arguments of `jax.jit`. A ValueError
    names every field that has another type or breaks a rule.
    """

    def __init_subclass__(cls) -> None:
        # `help(ViewSettings)` and the API reference list the fields from this docstring.
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
        """Make the object from {dotted name: value} that `Field.read` has already checked."""
        made = object.__new__(cls)  # `cls(...)` would check them again
        for name, kind in typing.get_type_hints(cls).items():
            group = isinstance(kind, type) and issubclass(kind, Settings)
            value = kind.of(fields, f"{prefix}{name}.") if group else fields[prefix + name]
            object.__setattr__(made, name, value)
        return made

    def __post_init__(self) -> None:
        problems = []
        for name, declared in fields_of(type(self)).items():
            try:
                if "." not in name:  # a group has checked its own fields
                    object.__setattr__(self, name, declared.read(getattr(self, name)))
            except ValueError as error:
                problems.append(f"{name} {error}")
        if problems:
            raise ValueError(f"{type(self).__name__}: {'; '.join(problems)}")


@functools.cache
def fields_of(cls: type, prefix: str = "") -> Mapping[str, Field]:
    """{dotted name: field} of a `Settings` class and its groups, in order."""
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
    """Describe the values of a type in words."""
    items = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(items)}"
    if typing.get_origin(kind) is tuple:
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a tuple of {count}{_PLURALS[items[0]]}"
    return _NOUNS[kind]


def _evaluate(text: str) -> Any:
    """Read `text` as a Python value; return `text` itself if that fails."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError):
        return text


def _convert(value: Any, kind: Any) -> Any:
    """Convert `value` to `kind`. Strings do not become numbers, and numbers are not truncated."""
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
    """Replace a leading `~` of a path by the home directory; "none" becomes ""."""
    if text.lower() == "none":
        return ""
    try:
        return str(expand(text)) if text.startswith("~") else text
    except InputError as error:
        raise ValueError(f"= {error}") from error


@dataclass(frozen=True)
class ViewSettings(Settings):
    """How training views are made."""

    pad: int = field(10, "Black pixels added on every side before the random crop.", NOT_NEGATIVE)
    flip: float = field(0.5, "Probability of a horizontal flip.", FRACTION)
    erase: float = field(
        0.5, "Probability of erasing a rectangle (Zhong et al., AAAI 2020).", FRACTION
    )
    erase_area: tuple[float, float] = field(
        (0.02, 0.4),
        "Smallest and largest share of the image to erase.",
        Rule(lambda share: 0 <= share[0] <= share[1] <= 1, "must be 0 <= low <= high <= 1"),
    )
    erase_aspect: float = field(
        0.3,
        "Smallest ratio of height to width of the erased rectangle. The largest is its inverse. "
        "The ratio is drawn uniformly between the two, as in the released code.",
        Rule(lambda ratio: 0 < ratio <= 1, "must lie in (0, 1]"),
    )
    erase_fill: Literal["zero", "mean", "released"] = field(
        "zero",
        'Value of erased pixels. "zero" is black. "mean" is the ImageNet mean, which is 0 after '
        'normalisation. "released" is (.4914, .4822, .4465) after normalisation, as in the '
        "released code.",
    )
    intermediate: Literal["random_channel", "luma"] = field(
        "random_channel",
        'Kind of intermediate images. "random_channel" is Eq. 4, "luma" is the fixed grey of the '
        "paper's ablation.",
    )
    quantize_intermediate: bool = field(
        False,
        "Whether to truncate intermediate images to whole grey levels, as the released code does.",
    )
    share_crop_and_flip: bool = field(
        False,
        "Whether an intermediate image gets the crop and flip of its visible image, so that the "
        "two match pixel by pixel. The erased rectangles differ either way.",
    )


@dataclass(frozen=True)
class LossSettings(Settings):
    """Terms and weights of the total loss. The defaults are the paper's."""

    margin: float = field(0.3, "Margin of the triplet losses.", NOT_NEGATIVE)
    triplet: Literal["sum", "mean", "weighted_regularized", "none"] = field(
        "sum",
        'Triplet loss. "sum" (paper) and "mean" (released code) combine the three triplets of '
        "Eq. 5; with one or two modalities they are the same. "
        '"weighted_regularized" is AGW\'s loss over the rows of all modalities. "none" leaves the '
        "triplet loss out.",
    )
    color_free: Literal["paper", "released", "none"] = field(
        "paper",
        'Colour-free loss. "paper" is Eq. 6, "released" is the mean squared error, "none" leaves '
        'it out. If not set, it is "none" for `modalities` without visible or intermediate.',
    )
    color_free_weight: float = field(
        10.0, "Weight of the colour-free loss, lambda of Eq. 7.", NOT_NEGATIVE
    )
    color_free_threshold: float = field(
        0.5, "Distance above which Eq. 6 minimises the distance itself.", NOT_NEGATIVE
    )
    color_free_alpha: float = field(0.5, "Weight of the divergence in Eq. 6.", NOT_NEGATIVE)
    color_free_norm: Literal["l2", "l1_mean"] = field(
        "l2", 'Norm of Eq. 6. "l2" is Euclidean, "l1_mean" the mean absolute difference.'
    )
