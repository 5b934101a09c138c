"""Compare two models layer by layer: which layer makes the error, and which only inherit it."""

from workbench.compare.counterfactual import Counterfactual
from workbench.compare.detail import Detail, summarize
from workbench.compare.given import Images
from workbench.compare.metrics import Metrics, measure
from workbench.compare.noise import Noise
from workbench.compare.recorder import record
from workbench.compare.report import Report, Side, load_report
from workbench.compare.rows import Row
from workbench.compare.run import compare
from workbench.compare.signature import Signature
from workbench.compare.tolerance import Allowance, Tolerance

__all__ = [
    "Allowance",
    "Counterfactual",
    "Detail",
    "Images",
    "Metrics",
    "Noise",
    "Report",
    "Row",
    "Side",
    "Signature",
    "Tolerance",
    "compare",
    "load_report",
    "measure",
    "record",
    "summarize",
]
