"""Layers that rearrange elements, ask for shapes, or make tensors of nothing."""

from __future__ import annotations

import onnx_ir as ir

from workbench.formats.coreml.neuralnetwork.table import NetworkLayer, batched, floats, integers, network
from workbench.formats.coreml.tensors import like, rank_of, shape_of
from workbench.formats.coreml.to_onnx.shape import interleaved, reversed_sequences, stacked_along
from workbench.hub import Emitter
from workbench.lowering import Refused


@network.lowers("reshapeStatic", "rankPreservingReshape")
def reshape_static(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """A zero keeps the size of its dimension, a -1 takes what is left."""
    return emit.op("Reshape", layer.x(), emit.const(layer.ints("targetShape")))


@network.lowers("reshapeDynamic")
def reshape_dynamic(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The second input is the shape."""
    return emit.op("Reshape", layer.x(0), integers(emit, layer.x(1)))


@network.lowers("reshapeLike")
def reshape_like(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The second input has the shape."""
    return emit.op("Reshape", layer.x(0), emit.op("Shape", layer.x(1)))


@network.lowers("reshape")
def reshape(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """[S, 1, C, H, W] to [C, H, W] or [S, C, H, W]; ``CHANNEL_LAST`` reads and writes channels fastest."""
    x, target = layer.x(), layer.ints("targetShape")
    if rank_of(x) != 5 or len(target) not in (3, 4):
        raise Refused(f"a tensor of rank {rank_of(x)} to {target}; five dimensions to three or four are specified")
    sequence = target[0] if len(target) == 4 else 0
    channels, height, width = target[-3:]
    if layer.choice("mode") == "CHANNEL_FIRST":
        return emit.op("Reshape", x, emit.const([sequence, 1, channels, height, width]))
    last = emit.op("Transpose", x, perm=[0, 1, 3, 4, 2])
    made = emit.op("Reshape", last, emit.const([sequence, 1, height, width, channels]))
    return emit.op("Transpose", made, perm=[0, 1, 4, 2, 3])


@network.lowers("flatten")
def flatten(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """[*, C, H, W] → [*, C H W, 1, 1]"""
    x = layer.x()
    rank = rank_of(x)
    outer = emit.op("Shape", x, start=0, end=-3)
    if layer.choice("mode") == "CHANNEL_LAST":
        x = emit.op("Transpose", x, perm=[*range(rank - 3), rank - 2, rank - 1, rank - 3])
    return emit.op("Reshape", x, emit.op("Concat", outer, emit.const([-1, 1, 1]), axis=0))


@network.lowers("flattenTo2D")
def flatten_to_2d(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """All dimensions before ``axis`` become one, and all from it on."""
    return emit.op("Flatten", layer.x(), axis=layer.integer("axis"))


@network.lowers("permute")
def permute(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """[S, B, C, H, W] with S, C, H, W (numbered 0 to 3) in the order ``axis``."""
    x, order = layer.x(), layer.ints("axis", (0, 1, 2, 3))
    if sorted(order) != [0, 1, 2, 3]:
        raise Refused(f"axis = {order} is no order of four dimensions")
    if rank_of(x) == 4 and order[0] == 0:  # the batch takes the place of the sequence
        return emit.op("Transpose", x, perm=order)
    if rank_of(x) != 5:
        raise Refused(f"a tensor of rank {rank_of(x)}; five dimensions are specified")
    places = [0, 2, 3, 4]
    first, *others = (places[axis] for axis in order)
    return emit.op("Transpose", x, perm=[first, 1, *others])


@network.lowers("transpose")
def transpose(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Dimensions in the order ``axes``."""
    return emit.op("Transpose", layer.x(), perm=layer.ints("axes"))


@network.lowers("squeeze")
def squeeze(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Without the dimensions ``axes``, or without all of size 1; a vector of one element stays one."""
    x, axes = layer.x(), layer.ints("axes")
    if layer.flag("squeezeAll"):
        axes = [axis for axis, size in enumerate(shape_of(x)) if size == 1]
    if len(axes) == rank_of(x):
        return emit.op("Reshape", x, emit.const([1]))
    return emit.op("Squeeze", x, emit.const(axes))


@network.lowers("expandDims")
def expand_dims(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """New dimensions of size 1 at ``axes`` of the result."""
    return emit.op("Unsqueeze", layer.x(), emit.const(layer.ints("axes")))


@network.lowers("getShape")
def get_shape(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The sizes, as floats."""
    return floats(emit, emit.op("Shape", layer.x()))


@network.lowers("concat")
def concat(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Along channels (-3) or the sequence (-5)."""
    return emit.op("Concat", *layer.inputs, axis=-5 if layer.flag("sequenceConcat") else -3)


@network.lowers("concatND")
def concat_nd(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Along ``axis``; ``interleave`` takes one slice of each in turn."""
    axis = layer.integer("axis")
    if layer.flag("interleave"):
        return interleaved(emit, list(layer.inputs), axis)
    return emit.op("Concat", *layer.inputs, axis=axis)


@network.lowers("stack")
def stack(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Joined along a new dimension."""
    return stacked_along(emit, list(layer.inputs), layer.integer("axis"))


@network.lowers("split")
def split(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Equal parts along the channels."""
    layer.ignore("nOutputs")  # the number of outputs says the same
    return emit.ops("Split", layer.x(), outputs=layer.outputs, axis=-3, num_outputs=layer.outputs)


@network.lowers("splitND")
def split_nd(layer: NetworkLayer, emit: Emitter) -> list[ir.Value]:
    """Parts of ``splitSizes`` along ``axis``, or equal ones."""
    layer.ignore("numSplits")  # the number of outputs says the same
    axis, sizes = layer.integer("axis"), layer.ints("splitSizes")
    if sizes:
        return emit.ops("Split", layer.x(), emit.const(sizes), outputs=layer.outputs, axis=axis)
    return emit.ops("Split", layer.x(), outputs=layer.outputs, axis=axis, num_outputs=layer.outputs)


@network.lowers("tile")
def tile(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Repeated ``reps`` times along the last dimensions, or as the second input says."""
    x = layer.x()
    if len(layer.inputs) > 1:
        layer.ignore("reps")
        return emit.op("Tile", x, integers(emit, layer.x(1)))
    reps = layer.ints("reps")
    return emit.op("Tile", x, emit.const([1] * (rank_of(x) - len(reps)) + reps))


@network.lowers("sequenceRepeat")
def sequence_repeat(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Repeated along dimension -5."""
    rank, count = rank_of(layer.x()), layer.integer("nRepetitions", 1)
    return emit.op("Tile", layer.x(), emit.const([1] * (rank - 5) + [count, 1, 1, 1, 1]))


@network.lowers("broadcastToStatic")
def broadcast_to_static(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Expanded to ``targetShape``."""
    return emit.op("Expand", layer.x(), emit.const(layer.ints("targetShape")))


@network.lowers("broadcastToLike")
def broadcast_to_like(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Expanded to the shape of the second input."""
    return emit.op("Expand", layer.x(0), emit.op("Shape", layer.x(1)))


@network.lowers("broadcastToDynamic")
def broadcast_to_dynamic(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Expanded to the shape that the second input holds."""
    return emit.op("Expand", layer.x(0), integers(emit, layer.x(1)))


@network.lowers("reverse")
def reverse(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Backwards along the dimensions whose flag is set."""
    axes = [axis for axis, flag in enumerate(layer.ints("reverseDim")) if flag]
    if not axes:
        return emit.op("Identity", layer.x())
    steps = emit.const([-1] * len(axes))
    return emit.op("Slice", layer.x(), steps, emit.const([-(2**62)] * len(axes)), emit.const(axes), steps)


@network.lowers("reverseSeq")
def reverse_seq(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """The first elements along ``sequenceAxis`` backwards, as many as the second input says."""
    lengths = integers(emit, layer.x(1))
    return reversed_sequences(emit, layer.x(0), lengths, layer.integer("sequenceAxis"), layer.integer("batchAxis"))


@network.lowers("reorganizeData")
def reorganize_data(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """Channels to space and back; channels are ordered (row, column, channel), PIXEL_SHUFFLE (channel, row, column)."""
    mode, size = layer.choice("mode"), layer.integer("blockSize")
    if mode == "SPACE_TO_DEPTH":
        return batched(emit, layer.x(), lambda x: emit.op("SpaceToDepth", x, blocksize=size))
    order = "DCR" if mode == "DEPTH_TO_SPACE" else "CRD"
    return batched(emit, layer.x(), lambda x: emit.op("DepthToSpace", x, blocksize=size, mode=order))


@network.lowers("loadConstant")
def load_constant(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """[1, 1, C, H, W]"""
    return layer.weights(emit, "data", [1, 1, *layer.ints("shape")])


@network.lowers("loadConstantND")
def load_constant_nd(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """A constant of any shape."""
    return layer.weights(emit, "data", layer.ints("shape"))


@network.lowers("fillStatic")
def fill_static(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``value`` everywhere in ``targetShape``."""
    return emit.op("Expand", emit.const(layer.number("value")), emit.const(layer.ints("targetShape")))


@network.lowers("fillLike")
def fill_like(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``value`` everywhere in the shape of the input."""
    return emit.op("Expand", like(emit, layer.number("value"), layer.x()), emit.op("Shape", layer.x()))


@network.lowers("fillDynamic")
def fill_dynamic(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``value`` everywhere in the shape that the input holds."""
    return emit.op("Expand", emit.const(layer.number("value")), integers(emit, layer.x()))


@network.lowers("rangeStatic")
def range_static(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """``start``, ``start + step``, … before ``end``."""
    names = ("startValue", "endValue", "stepSizeValue")
    return emit.op("Range", *(emit.const(layer.number(name)) for name in names))


@network.lowers("rangeDynamic")
def range_dynamic(layer: NetworkLayer, emit: Emitter) -> ir.Value:
    """As ``rangeStatic``; the inputs are end, start and step as far as they are given."""
    end, *others = (emit.op("Squeeze", value) for value in layer.inputs)
    start = others[0] if others else emit.const(layer.number("startValue"))
    step = others[1] if len(others) > 1 else emit.const(layer.number("stepSizeValue"))
    layer.ignore("startValue", "stepSizeValue")
    return emit.op("Range", start, end, step)
