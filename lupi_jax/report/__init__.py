"""One page about a run: charts as pure functions of arrays, and the page that contains them."""

from lupi_jax.report.page import make_page, require_libraries

__all__ = ["make_page", "require_libraries"]
