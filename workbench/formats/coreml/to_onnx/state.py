"""State: tensors that a model keeps between two predictions (since iOS 18).

In the hub a state is an input with its value before the run, and an output with its value after it.
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS18.states
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.to_onnx.table import MilOperation, mil
from workbench.hub import Emitter


@mil.lowers("read_state", since=18)
def read_state(op: MilOperation, emit: Emitter) -> ir.Value:
    """The value that was written last."""
    return emit.op("Identity", op.raw("input"))


@mil.lowers("write_state", since=18)
def write_state(op: MilOperation, emit: Emitter) -> list[ir.Value]:
    """Every ``read_state`` behind it reads ``data``; coremltools' ``coreml_update_state`` is this and a read."""
    op.overwrite("input", op.raw("data"))
    return []
