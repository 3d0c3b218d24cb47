"""How to declare a field of the configuration, and how to read its value.

The parser, `lupi config` and the documentation all read this declaration. Nothing here imports
JAX, so that `--help` is quick.
"""

import ast
import dataclasses
import functools
import inspect
import math
import numbers
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

_PART = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
PART_OR_EMPTY = Rule(
    lambda name: not name or is_part(name),
    "must name a part of your own as MODULE:NAME, such as my_module:my_part",
)


def is_part(name: str) -> bool:
    """Whether `name` has the form MODULE:NAME, which names an object in a Python module."""
    return bool(_PART.fullmatch(name))


class Options(dict[str, Any]):
    """The settings of a user's own part, {name: number, text, true or false, or a tuple of these}.

    A field of this type is an open group: any `FIELD.NAME` sets one of them. Do not change an
    object, because it is hashable.
    """

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(sorted(self.items())))


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
        if self.path and isinstance(value, os.PathLike):
            value = os.fspath(value)
        if typed and not _is_text(self.kind):
            value = evaluate(value)
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
    return types.MappingProxyType(result)


_NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def describe(kind: Any) -> str:
    """Describe the values of a type in words."""
    items = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(items)}"
    if _is_union(kind):
        return f"{describe(items[0])}, or MODULE:NAME of your own"
    if kind is Options:
        return "a mapping of names to numbers, texts, true or false, or tuples of these"
    if typing.get_origin(kind) is tuple:
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a tuple of {count}{_PLURALS[items[0]]}"
    return _NOUNS[kind]


def _is_union(kind: Any) -> bool:
    """Whether a field takes one of a few names, or the MODULE:NAME of a user's part."""
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _is_text(kind: Any) -> bool:
    return kind is str or typing.get_origin(kind) is Literal or _is_union(kind)


def evaluate(text: str) -> Any:
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
    if _is_union(kind):
        if not isinstance(value, str) or not (value in typing.get_args(items[0]) or is_part(value)):
            raise ValueError
        return value
    if kind is Options:
        return Options({str(name): _plain(each) for name, each in dict(value).items()})
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


def _plain(value: Any) -> Any:
    """Convert a value of an `Options` to a plain, hashable one; JSON gives lists for tuples."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    for kind in (bool, str, int, float):
        try:
            return _convert(value, kind)
        except (TypeError, ValueError):
            continue
    raise TypeError


def _read_path(text: str) -> str:
    """Replace a leading `~` of a path by the home directory; "none" becomes ""."""
    if text.lower() == "none":
        return ""
    try:
        return str(expand(text)) if text.startswith("~") else text
    except InputError as error:
        raise ValueError(f"= {error}") from error
