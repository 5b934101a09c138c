"""Lists of tensors of one shape, held as one tensor whose dimension 0 is the list.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.control_flow
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.tensors import rank_of
from workbench.formats.coreml.to_onnx.table import MilOperation, dtype_of, mil
from workbench.hub import Emitter, dtype_name
from workbench.lowering import Refused

# A tensor of sizes that are not known before an element is written begins with sizes of 0; the first write gives them.


def _scalar(emit: Emitter, value: ir.Value) -> ir.Value:
    """An integer without dimensions as int64."""
    return emit.op("Reshape", value, emit.const([], "int64"))


def _grown(emit: Emitter, held: ir.Value, length: ir.Value, element: ir.Value) -> ir.Value:
    """The list ``[L, *E]`` with zeros behind it, so that it has at least ``length`` elements of the shape ``element``.

    Args:
        length: int64 ``[1]``.
        element: int64 ``[rank of an element]``.
    """
    sizes = emit.op("Shape", held)
    wanted = emit.op("Max", sizes, emit.op("Concat", length, element, axis=0))
    before = emit.op("Mul", sizes, emit.const(0))
    return emit.op("Pad", held, emit.op("Concat", before, emit.op("Sub", wanted, sizes), axis=0))


def _written(emit: Emitter, held: ir.Value, indices: ir.Value, values: ir.Value) -> ir.Value:
    """The list ``[L, *E]`` with ``values [K, *E]`` at ``indices [K]``, grown to hold them all."""
    if held.dtype is not values.dtype:
        raise Refused(f"a list of {dtype_name(held.dtype)} is given elements of {dtype_name(values.dtype)}")
    nothing = emit.const([0])  # without indices there is nothing to take the largest of
    last = emit.op("ReduceMax", emit.op("Concat", nothing, emit.op("Add", indices, emit.const(1)), axis=0), keepdims=1)
    held = _grown(emit, held, last, emit.op("Shape", values, start=1))
    return emit.op("ScatterND", held, emit.op("Unsqueeze", indices, emit.const([-1])), values)


@mil.lowers("make_list")
def make_list(op: MilOperation, emit: Emitter) -> ir.Value:
    """``init_length`` elements of zeros, ``[L, *elem_shape]``."""
    op.ignore("dynamic_length")  # writing behind the end of a list of fixed length is not defined
    length = op.integers(emit, "init_length") if op.has("init_length") else emit.const(1)
    sizes: list[int] = []
    for size in op.arrays("elem_shape") if op.has("elem_shape") else ():
        for item in size.reshape(-1).tolist():
            sizes.append(0 if isinstance(item, str) else int(item))
    op.ignore("elem_shape")
    dtype = dtype_of(op.text("dtype", "fp32"))
    shape = emit.op("Concat", emit.op("Reshape", length, emit.const([1])), emit.const(sizes, "int64"), axis=0)
    return emit.op("Expand", emit.const(0, dtype), shape)


@mil.lowers("list_length")
def list_length(op: MilOperation, emit: Emitter) -> ir.Value:
    """The number of elements, int32."""
    length = emit.op("Squeeze", emit.op("Shape", op.raw("ls"), start=0, end=1))
    return emit.op("Cast", length, to=ir.DataType.INT32.value)


@mil.lowers("list_read")
def list_read(op: MilOperation, emit: Emitter) -> ir.Value:
    """The element at ``index``."""
    return emit.op("Gather", op.raw("ls"), _scalar(emit, op.integers(emit, "index")), axis=0)


@mil.lowers("list_gather")
def list_gather(op: MilOperation, emit: Emitter) -> ir.Value:
    """The elements at ``indices [K]``: ``[K, *E]``."""
    return emit.op("Gather", op.raw("ls"), op.integers(emit, "indices"), axis=0)


@mil.lowers("list_write")
def list_write(op: MilOperation, emit: Emitter) -> ir.Value:
    """The list with ``value`` at ``index``; it grows where that is behind its end."""
    index = emit.op("Reshape", op.integers(emit, "index"), emit.const([1]))
    value = op.raw("value")
    if rank_of(op.raw("ls")) != rank_of(value) + 1:
        raise Refused(f"an element of rank {rank_of(value)} for a list of rank {rank_of(op.raw('ls'))}")
    return _written(emit, op.raw("ls"), index, emit.op("Unsqueeze", value, emit.const([0])))


@mil.lowers("list_scatter")
def list_scatter(op: MilOperation, emit: Emitter) -> ir.Value:
    """The list with ``value [K, *E]`` at ``indices [K]``; it grows where one is behind its end."""
    return _written(emit, op.raw("ls"), op.integers(emit, "indices"), op.raw("value"))
