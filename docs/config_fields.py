"""The directive `config-fields`: every field of the configuration, from the code."""

from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from lupi_jax.config import Config
from lupi_jax.config.help import summary
from lupi_jax.settings import fields_of


def entries() -> dict[str, str]:
    """{dotted field: its Markdown definition}, with name, values, defaults and help text."""
    return {
        name: f"`{name}`: {summary(field, code=lambda text: f'`{text}`')}\n: {field.help}"
        for name, field in fields_of(Config).items()
    }


class ConfigFields(SphinxDirective):
    """The directive `config-fields`, without arguments."""

    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """The definitions as nodes."""
        return self.parse_text_to_nodes("\n\n".join(entries().values()))
