"""Following a graph forward: types, shapes, and the values that are known without running the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.errors import ModelError
from workbench.hub.evaluate import RANDOM, evaluate
from workbench.hub.infer import SMALL, infer_node
from workbench.hub.opset import OPSET
from workbench.hub.stored import Grid, kept
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import constant_of, has_subgraph
from workbench.lowering import CONTRADICTIONS, contradiction

Array = np.ndarray[Any, Any]


_NOT_COMPUTED = frozenset(
    {ir.DataType.STRING, ir.DataType.BFLOAT16}
    | {dtype for dtype in ir.DataType if dtype.name.startswith("FLOAT") and dtype.bitwidth < 16}
    | {ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT2, ir.DataType.UINT2}
)
"""Element types that numpy does not have; what onnxruntime makes of them cannot be handed over as arrays."""


class Follower:
    """Infers nodes one after the other and remembers the values that follow from constants and static shapes.

    Args:
        fold: follow values of any size up to ``limits.folded_elements``; else only small ones (the arithmetic of
            shapes), which is enough to infer the shapes that depend on them.
        opset: of the default domain.
        open_shapes: what is known of sizes that are open, where some are. Shapes that the model declares are then not
            believed: they might be those of one size.
    """

    def __init__(self, *, fold: bool = False, opset: int = OPSET, open_shapes: OpenShapes | None = None) -> None:
        self.fold = fold
        self.opset = opset
        self.open_shapes = open_shapes
        self._known: dict[ir.Value, Array] = {}

    def known(self, value: ir.Value | None) -> Array | None:
        """The value's array, if it is a constant or follows from what is known; else ``None``."""
        if value is None:
            return None
        found = self._known.get(value)
        return constant_of(value) if found is None else found

    def follow(self, node: ir.Node) -> Sequence[Array | Grid] | None:
        """Set the types of the node's outputs; return their values where they are known (see :mod:`stored`).

        Raises:
            ModelError: the node contradicts its schema or its inputs' types.
        """
        try:
            return self._follow(node)
        except CONTRADICTIONS as error:
            raise ModelError(f"onnx {node.op_type} {node.name!r}: {contradiction(error)}.") from error

    def _follow(self, node: ir.Node) -> Sequence[Array | Grid] | None:
        if self.open_shapes is not None and not has_subgraph(node):
            for value in node.outputs:
                value.shape = None
        infer_node(node, self._known, self.opset)
        grid = kept(node) if self.fold else None
        if grid is not None:
            return [grid]
        results = self._evaluate(node)
        if results is None and self.open_shapes is not None and self.fold:
            return self.open_shapes.follow(node)
        if results is not None and not self.fold:
            pairs = zip(node.outputs, results, strict=True)
            self._known.update((value, array) for value, array in pairs if array.size <= SMALL)
        return results

    def _evaluate(self, node: ir.Node) -> list[Array] | None:
        """The node's outputs if they are known and not larger than what is worth following."""
        if node.op_type in RANDOM or has_subgraph(node):
            return None
        if node.op_type == "Shape" and not node.domain:
            return self._shape(node)
        if node.op_type == "Size" and not node.domain:
            shape = _static_shape(node.inputs[0])
            return None if shape is None else [np.asarray(math.prod(shape), dtype=np.int64)]
        bound = limits.current.folded_elements if self.fold else SMALL
        shapes = [_static_shape(value) for value in node.outputs if value.name]
        if any(shape is not None and math.prod(shape) > bound for shape in shapes):
            return None
        if not self.fold and any(shape is None for shape in shapes):
            return None
        if not all(self._within(value, bound) for value in node.inputs if value is not None):
            return None
        if any(value.dtype in _NOT_COMPUTED for value in (*node.inputs, *node.outputs) if value is not None):
            return None
        arrays = [self.known(value) for value in node.inputs]
        return evaluate(node, arrays)

    def _within(self, value: ir.Value, bound: int) -> bool:
        """Whether the value is known and, unless everything is folded, small."""
        if value in self._known:
            return True
        tensor = None if value.is_graph_input() else value.const_value
        return tensor is not None and (self.fold or tensor.size <= bound)

    def _shape(self, node: ir.Node) -> list[Array] | None:
        source = node.inputs[0]
        if source is None or source.shape is None:
            return None
        start = node.attributes["start"].as_int() if "start" in node.attributes else 0
        end = node.attributes["end"].as_int() if "end" in node.attributes else None
        dims = list(source.shape)[start:end]
        return [np.asarray(dims, dtype=np.int64)] if all(isinstance(dim, int) for dim in dims) else None


def _static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    if value is None or value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return tuple(int(dim) for dim in value.shape)  # type: ignore[arg-type]  # checked above
