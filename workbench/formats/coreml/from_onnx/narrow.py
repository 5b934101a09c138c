"""Integers of 8 and 16 bits, which int32 carries: what arithmetic does to them at their own width."""

from __future__ import annotations

import numpy as np

from workbench.formats.coreml.from_onnx.carrier import NARROW
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import HubNode
from workbench.lowering import Refused


def wrapped(t: ProgramTarget, x: Var, dtype: str) -> Var:
    """An int32 value wrapped around at the dtype's width; as it is if the dtype is not narrower.

    MIL's ``mod`` takes the divisor's sign, so the remainder is never negative.
    """
    if dtype not in NARROW:
        return x
    low, high = NARROW[dtype]
    remainder = t.op("mod", x=t.op("sub", x=x, y=np.int32(low)), y=np.int32(high - low + 1))
    return t.op("add", x=remainder, y=np.int32(low))


def refuse_narrow(node: HubNode) -> None:
    """Refuse arithmetic whose result would wrap around at less than 32 bits."""
    dtype = node.dtype(node.outputs[0])
    if dtype in NARROW:
        raise Refused(
            f"{dtype} wraps around at its own width, Core ML would compute it in int32",
            "cast to int32 before the node in the source model",
        )
