"""The shipped network with a fault in one of its layers, for the tests that need real formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import workbench as wb
from workbench.model import Model

SHAPES = {"image": (1, 1, 8, 8)}


def faulty(layer: str = "dense1", factor: float = 1.1) -> Model:
    """The digits network with the weight of a layer multiplied by a factor."""
    proto = onnx.load(str(wb.samples.digits()))
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == f"{layer}.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(factor), weight.name))
    return wb.load(proto)


def compared(target: str, *, layer: str = "dense1", factor: float = 1.1, **options: Any) -> wb.Report:
    """The network against a conversion of the faulty one."""
    made = faulty(layer, factor).convert(target, shapes=SHAPES, **options)
    return wb.compare(wb.load(wb.samples.digits()), made)
