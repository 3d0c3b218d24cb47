"""One page about a run: charts as pure functions of arrays, and the page that contains them."""

from lupi_jax.report.drawing import draw_comparison, draw_results, draw_search
from lupi_jax.report.making import ReportPage, make_report
from lupi_jax.report.page import make_page, require_libraries

__all__ = [
    "ReportPage",
    "draw_comparison",
    "draw_results",
    "draw_search",
    "make_page",
    "make_report",
    "require_libraries",
]
