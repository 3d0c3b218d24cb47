"""A run as one page: figures as pure functions of arrays, and the page that holds them."""

from lupi_jax.report.page import make_page, require_libraries

__all__ = ["make_page", "require_libraries"]
