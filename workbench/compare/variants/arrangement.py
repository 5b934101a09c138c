"""What stands where: axes, orders, indices, operands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.variants.kit import (
    Variant,
    exchanging,
    giving,
    integer,
    ints,
    known_array,
    renamed,
    setting,
    shape_of,
    varies,
)

Array = np.ndarray[Any, Any]


@varies("Softmax LogSoftmax Hardmax ArgMax ArgMin Concat LpNormalization LayerNormalization Gather CumSum Split")
def along_axis(node: ir.Node) -> Iterator[Variant]:
    """Another axis."""
    shape = shape_of(node, 0)
    if shape is None or node.op_type == "CumSum":
        return
    default = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LpNormalization": -1, "LayerNormalization": -1}
    own = integer(node, "axis", default.get(node.op_type, 0)) % max(len(shape), 1)
    for axis in range(len(shape)):
        if axis != own and (shape[axis] > 1 or shape[own] > 1):
            yield Variant("axis", f"axis {axis} instead of {own}", setting("axis", axis))
    if node.op_type == "Softmax" and own != 1 and len(shape) > 2:
        yield Variant("axis", "over all axes from the first on at once", _flat_softmax(shape))


def _flat_softmax(shape: tuple[int, ...]) -> Callable[[ir.Node], None]:
    """Softmax as opsets before 13 have it: from axis 1 on as one axis."""

    def change(node: ir.Node) -> None:
        source = node.inputs[0]
        flat = ir.Node("", "Flatten", [source], [ir.AttrInt64("axis", 1)], num_outputs=1, name=f"{node.name}//flat")
        flat.outputs[0].name = f"{node.name}//flat"
        normal = ir.Node("", "Softmax", [flat.outputs[0]], [ir.AttrInt64("axis", 1)], num_outputs=1)
        normal.name = normal.outputs[0].name = f"{node.name}//normal"
        assert node.graph is not None
        node.graph.insert_before(node, (flat, normal))
        node.op_type = "Reshape"
        node.attributes.clear()
        node.resize_inputs(2)
        node.replace_input_with(0, normal.outputs[0])
        giving(1, np.asarray(shape, np.int64))(node)

    return change


@varies("Concat")
def joined(node: ir.Node) -> Iterator[Variant]:
    """Inputs in another order."""
    count = len(node.inputs)
    if not 2 <= count <= 4:
        return
    for order in itertools.permutations(range(count)):
        if list(order) != sorted(order):
            yield Variant("input order", f"the inputs in the order {list(order)}", _reordering(order))


def _reordering(order: Sequence[int]) -> Callable[[ir.Node], None]:
    def change(node: ir.Node) -> None:
        values = [node.inputs[index] for index in order]
        for index, value in enumerate(values):
            node.replace_input_with(index, value)

    return change


@varies("ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceProd ReduceSumSquare ReduceLogSumExp")
def reduction(node: ir.Node) -> Iterator[Variant]:
    """Other axes, another reduction."""
    shape, axes = shape_of(node, 0), known_array(node, 1)
    if shape is not None and axes is not None and axes.ndim == 1:
        own = sorted(int(axis) % len(shape) for axis in axes)
        for others in itertools.combinations(range(len(shape)), len(own)):
            if list(others) != own:
                yield Variant("axis", f"axes {list(others)} instead of {own}", giving(1, np.asarray(others, np.int64)))
    for other in ("ReduceMean", "ReduceSum", "ReduceMax"):
        if other != node.op_type:
            yield Variant("pooling kind", f"{other} instead of {node.op_type}", renamed(other))


@varies("Transpose")
def transposition(node: ir.Node) -> Iterator[Variant]:
    """Another order of the axes."""
    perm = ints(node, "perm")
    if perm and len(perm) <= 4:
        for other in itertools.permutations(range(len(perm))):
            if list(other) != perm:
                yield Variant("permuted axes", f"perm {list(other)} instead of {perm}", setting("perm", list(other)))


@varies("Gather GatherElements GatherND")
def gathering(node: ir.Node) -> Iterator[Variant]:
    """Indices that count from elsewhere, or in other steps."""
    shape = shape_of(node, 0)
    axis = integer(node, "axis", 0)
    size = shape[axis] if shape is not None and node.op_type != "GatherND" else None
    for text, factor, offset in (("one more", 1, 1), ("one less", 1, -1), ("doubled", 2, 0), ("halved", 0, 0)):
        yield Variant("indices", f"indices {text}", _reindexed(factor, offset, size))


def _reindexed(factor: int, offset: int, size: int | None) -> Callable[[ir.Node], None]:
    """Indices in other steps, kept within the size."""

    def change(node: ir.Node) -> None:
        source = node.inputs[1]
        assert node.graph is not None
        kind = np.int32 if source is not None and source.dtype is ir.DataType.INT32 else np.int64

        def emit(operator: str, number: int) -> None:
            index = len(made)
            made.append(ir.Node("", operator, [made[-1].outputs[0] if made else source, None], num_outputs=1))
            made[-1].name = made[-1].outputs[0].name = f"{node.name}//index_{index}"
            giving(1, np.asarray(number, kind))(made[-1])

        made: list[ir.Node] = []
        emit("Div" if not factor else "Mul", factor or 2)
        emit("Add", offset)
        if size is not None:
            emit("Min", size - 1)
            emit("Max", -size)
        node.graph.insert_before(node, made)
        node.replace_input_with(1, made[-1].outputs[0])

    return change


@varies("Sub Div Pow Less Greater LessOrEqual GreaterOrEqual BitShift Mod")
def operands(node: ir.Node) -> Iterator[Variant]:
    """The operands exchanged."""
    yield Variant("input order", "the operands exchanged", exchanging(0, 1))


@varies("Where")
def branches(node: ir.Node) -> Iterator[Variant]:
    """What is taken when, exchanged."""
    yield Variant("input order", "the two branches exchanged", exchanging(1, 2))


@varies("DepthToSpace")
def blocks(node: ir.Node) -> Iterator[Variant]:
    """Depth before or after the block."""
    attribute = node.attributes.get("mode")
    own = attribute.as_string() if attribute is not None else "DCR"
    other = "CRD" if own == "DCR" else "DCR"
    yield Variant("channel order", f"mode {other} instead of {own}", setting("mode", other))
