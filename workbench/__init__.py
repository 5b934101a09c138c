"""Convert neural networks between ONNX, NNEF and Core ML, and see layer by layer whether they compute the same.

>>> import workbench as wb
>>> model = wb.load(wb.samples.digits())
>>> converted = model.convert("coreml", shapes={"image": (1, 1, 8, 8)})
>>> wb.compare(model, converted).ok
True
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench._version import __version__
from workbench.errors import (
    Cancelled,
    CompressionWarning,
    ConversionError,
    ExecutionError,
    LimitError,
    ModelError,
    OptionError,
    Refusal,
    SaveError,
    StateWarning,
    WorkbenchError,
)

if TYPE_CHECKING:
    from workbench import limits, samples, widgets
    from workbench.compare import Images, Report, compare, load_report, record
    from workbench.document import Layer, Provenance, TensorSpec
    from workbench.formats.coreml.options import ImageInput
    from workbench.hub.ranges import Range
    from workbench.model import Model, load
    from workbench.plan import Plan, PlanRow, Verdict
    from workbench.session import Session
    from workbench.widgets import Workbench

__all__ = [
    "Cancelled",
    "CompressionWarning",
    "ConversionError",
    "ExecutionError",
    "ImageInput",
    "Images",
    "Layer",
    "LimitError",
    "Model",
    "ModelError",
    "OptionError",
    "Plan",
    "PlanRow",
    "Provenance",
    "Range",
    "Refusal",
    "Report",
    "SaveError",
    "Session",
    "StateWarning",
    "TensorSpec",
    "Verdict",
    "Workbench",
    "WorkbenchError",
    "__version__",
    "compare",
    "limits",
    "load",
    "load_report",
    "record",
    "samples",
    "widgets",
]

# Loaded when first used, so that `import workbench` costs next to nothing and never imports Jupyter by itself.
_LAZY = {
    "Layer": "workbench.document",
    "Provenance": "workbench.document",
    "TensorSpec": "workbench.document",
    "ImageInput": "workbench.formats.coreml.options",
    "Range": "workbench.hub.ranges",
    "Model": "workbench.model",
    "load": "workbench.model",
    "Plan": "workbench.plan",
    "PlanRow": "workbench.plan",
    "Verdict": "workbench.plan",
    "Images": "workbench.compare",
    "Report": "workbench.compare",
    "compare": "workbench.compare",
    "load_report": "workbench.compare",
    "record": "workbench.compare",
    "Session": "workbench.session",
    "Workbench": "workbench.widgets",
}
_MODULES = ("coreml", "limits", "plots", "precision", "samples", "widgets")


class _Package(ModuleType):
    """Keeps ``wb.compare`` the function: importing the package of that name would put the package in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(_LAZY[name]), name)
    elif name in _MODULES:
        found = import_module(f"workbench.{name}")
    else:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
