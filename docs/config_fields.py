"""The directive `config-fields`: every field of the configuration, from the code."""

import dataclasses
import inspect
import re
import typing
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from lupi_jax.config import Config, field_types, to_fields
from lupi_jax.config.recipes import RECIPES


def described(cls: type) -> dict[str, str]:
    """{attribute: text} of the `Attributes:` of a docstring in Google's style."""
    _, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    section = re.split(r"\n\n?(?=\S)", rest)[0]
    indent = re.match(r" *", section)
    depth = len(indent[0]) if indent else 0
    entry = re.compile(rf"^ {{{depth}}}(\w+): ((?:.|\n)*?)(?=^ {{{depth}}}\w+: |\Z)", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entry.findall(section)}


def documentation(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """{dotted field: what its class says of it} of all leaves; "" where it says nothing."""
    texts, result = described(cls), {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            result.update(documentation(typing.cast(type, kind), f"{prefix}{name}."))
        else:
            result[prefix + name] = texts.get(name, "")
    return result


def _values(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        if items[-1] is Ellipsis:
            return f"tuple of {items[0].__name__}"
        return f"{len(items)} {items[0].__name__}"
    return kind.__name__


def _default(name: str, value: Any) -> str:
    """The default, and after it each recipe's own value."""
    own: dict[str, list[str]] = {}
    for recipe, fields in RECIPES.items():
        if name in fields and fields[name] != value:
            own.setdefault(repr(fields[name]), []).append(recipe)
    rest = [f"{', '.join(recipes)}: `{text}`" for text, recipes in own.items()]
    return "; ".join([f"default `{value!r}`", *rest])


def entries() -> dict[str, str]:
    """{dotted field: a Markdown definition of it}: name, values, defaults, what it is."""
    types, defaults, texts = field_types(), to_fields(Config()), documentation()
    return {
        name: f"`{name}`: {_values(kind)}; {_default(name, defaults[name])}\n: {texts[name]}"
        for name, kind in types.items()
    }


class ConfigFields(SphinxDirective):
    """`config-fields`, without arguments."""

    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """The definitions as nodes."""
        return self.parse_text_to_nodes("\n\n".join(entries().values()))
