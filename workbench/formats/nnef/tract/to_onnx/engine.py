"""Flat graph of the tract dialect → hub graph; dtypes are those that tract's rules give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.graph import NnefGraph, NnefOperation
from workbench.formats.nnef.quantization import Quantization
from workbench.formats.nnef.to_onnx.engine import Engine
from workbench.formats.nnef.to_onnx.node import INTEGER
from workbench.formats.nnef.tract.declarations import DATUM_TYPES
from workbench.formats.nnef.tract.extents import factor_of, is_symbolic
from workbench.formats.nnef.tract.to_onnx.node import TABLE, TractNode
from workbench.lowering import Refused

_KINDS = {"integer": INTEGER, "logical": "bool"}


class TractEngine(Engine):
    """See :class:`Engine`."""

    table = TABLE

    def __init__(
        self,
        graph: NnefGraph,
        tensors: Mapping[str, ir.TensorProtocol],
        quantization: Mapping[str, Quantization],
        subject: str,
    ) -> None:
        super().__init__(graph, tensors, quantization, "float32", subject)
        self._sizes: dict[str, ir.Value] = {}

    def _input(self, operation: NnefOperation) -> ir.Value:
        datum = operation.arguments.get("datum_type")
        dtype = _KINDS.get(operation.dtype or "", "float32") if datum is None else DATUM_TYPES[datum.lower()]
        dims = [str(extent) if is_symbolic(extent) else extent or None for extent in operation.arguments["shape"]]
        return self.emitter.input(operation.outputs[0], dtype, dims)

    def _node(self, operation: NnefOperation) -> TractNode:
        return TractNode(operation, self.values, self.emitter, self._size_of)

    def _size_of(self, symbol: str) -> ir.Value:
        """A symbol's size: that of the axis of an input which it names."""
        if symbol not in self._sizes:
            self._sizes[symbol] = self._measured(symbol)
        return self._sizes[symbol]

    def _measured(self, symbol: str) -> ir.Value:
        e = self.emitter
        for operation in (op for op in self.graph.operations if op.name == "external"):
            for axis, extent in enumerate(operation.arguments["shape"]):
                factor, name = factor_of(extent) or (0, "")
                if name == symbol:
                    row = e.op("Shape", self.values[operation.outputs[0]], start=axis, end=axis + 1)
                    size = e.op("Reshape", row, e.const(np.zeros(0, np.int64)))
                    return size if factor == 1 else e.op("Div", size, e.const(np.asarray(factor)))
        raise Refused(f"the symbol {symbol} is the size of no axis of an input")
