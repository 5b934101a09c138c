"""Compare two models layer by layer: which layer makes the error, and which only inherit it."""

from workbench.compare.detail import Detail, summarize
from workbench.compare.metrics import Metrics, measure
from workbench.compare.report import Report, Side, load_report
from workbench.compare.rows import Row
from workbench.compare.run import compare
from workbench.compare.tolerance import Allowance, Tolerance

__all__ = [
    "Allowance",
    "Detail",
    "Metrics",
    "Report",
    "Row",
    "Side",
    "Tolerance",
    "compare",
    "load_report",
    "measure",
    "summarize",
]
