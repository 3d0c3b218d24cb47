"""How Sphinx builds this site (`make docs`). It downloads nothing and executes no notebook."""

import re
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "lupi_jax"
author = "the authors of lupi_jax"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "lupi_jax"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

# The notebooks are committed with the outputs of `make notebooks`.
nb_execution_mode = "off"
nb_merge_streams = True
myst_heading_anchors = 3

# Docstrings write code between single backticks.
default_role = "code"
smartquotes = False  # quoted values stay as they are written
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

_LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def _name_what_is_outside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace links to files of the repository that are not pages by the files' names.

    Such links work where the repository is hosted, but not on this site.
    """
    folder = (HERE / docname).parent

    def named(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(HERE) and not target.is_relative_to(HERE / "examples"):
            return link[0]
        name = target.relative_to(HERE.parent).as_posix()
        text = link[1].strip("`")
        return f"`{name}`" if text in name else f"{text} (`{name}`)"

    source[0] = _LINK.sub(named, source[0])


def _skip_aliases(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """Leave out the single fields of a named tuple, because its docstring describes them."""
    alias = (getattr(thing, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias else None


def setup(app: Sphinx) -> None:
    """Register the functions above and the directive."""
    app.connect("source-read", _name_what_is_outside)
    app.connect("autodoc-skip-member", _skip_aliases)
