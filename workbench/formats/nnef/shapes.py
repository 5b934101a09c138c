"""Shapes of the results of every standard operation, from the shapes of its tensors and its attributes.

NNEF aligns shapes on the left when it broadcasts, keeps reduced axes with extent 1, and takes an empty ``padding`` to
mean "as many as keep the extent divided by the stride".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench import limits
from workbench.formats.nnef.binding import Mismatch, standard_operations
from workbench.formats.nnef.graph import NnefOperation, TensorRef, Value
from workbench.formats.nnef.syntax import Fragment

Shape = tuple[int, ...]
Arguments = Mapping[str, Any]
"""Parameter → shape (of a tensor; ``()`` for a number), list of shapes, or attribute value."""


def result_shapes(operation: NnefOperation, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Tensor name → shape, for every result of a standard operation.

    Raises:
        Mismatch: the shapes or attributes contradict one another.
    """
    rule = _RULES.get(operation.name)
    if rule is None:
        raise Mismatch(f"the shape that {operation.name} makes is not known")
    return shapes_by(rule, standard_operations()[operation.name], operation, shapes)


def shapes_by(
    rule: Callable[[Arguments], Any], declaration: Fragment, operation: NnefOperation, shapes: Mapping[str, Shape]
) -> dict[str, Shape]:
    """As :func:`result_shapes`, by a rule that takes the shapes and attributes by name."""
    given = {
        parameter.name: _shape_of(operation.arguments[parameter.name], shapes)
        if "tensor" in str(parameter.type)
        else operation.arguments[parameter.name]
        for parameter in declaration.parameters
    }
    found = rule(given)
    parts = found if isinstance(found, Several) else [found]
    result: dict[str, Shape] = {}
    for value, shape in zip(operation.results.values(), parts, strict=True):
        if isinstance(value, list):
            if len(value) != len(shape):
                raise Mismatch(f"{operation.name} makes {len(shape)} tensors, {len(value)} are named")
            result.update((ref.name, tuple(item)) for ref, item in zip(value, shape, strict=True))
        else:
            result[value.name] = tuple(shape)
    for name, shape in result.items():
        if any(extent < 0 for extent in shape):
            raise Mismatch(f"{operation.name} would make '{name}' of shape {shape}")
        limits.check("tensor_elements", math.prod(shape), f"elements of '{name}', made by {operation.name}")
    return result


class Several(list[Any]):
    """Shapes of several results (a list alone is the result of array type)."""


def _shape_of(value: Value, shapes: Mapping[str, Shape]) -> Any:
    if isinstance(value, TensorRef):
        return shapes[value.name]
    if isinstance(value, list):
        return [_shape_of(item, shapes) for item in value]
    return ()


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Mismatch(message)


def _require_axes(axes: Sequence[int], rank: int) -> None:
    _require(
        all(0 <= axis < rank for axis in axes) and len(set(axes)) == len(axes),
        f"the axes {list(axes)} do not fit rank {rank}",
    )


def broadcast(*shapes: Sequence[int]) -> Shape:
    """The common shape of operands aligned on the left. Raises :class:`Mismatch`."""
    rank = max(len(shape) for shape in shapes)
    result = []
    for axis in range(rank):
        extents = {shape[axis] for shape in shapes if axis < len(shape)} - {1}
        _require(len(extents) <= 1, f"the shapes {', '.join(str(list(shape)) for shape in shapes)} do not broadcast")
        result.append(extents.pop() if extents else 1)
    return tuple(result)


def _broadcast_of(*names: str) -> Callable[[Arguments], Shape]:
    return lambda given: broadcast(*(given[name] for name in names))


def _same_as(name: str) -> Callable[[Arguments], Shape]:
    return lambda given: tuple(given[name])


def _declared(given: Arguments) -> Shape:
    return tuple(given["shape"])


def _affine(given: Arguments) -> Shape:
    shape = tuple(given["input"])
    others = [given[name] for name in ("mean", "variance", "offset", "scale")]
    _require(broadcast(shape, *others) == shape, "mean, variance, offset and scale must broadcast to the input")
    return shape


# data movement


def reshaped(input: Shape, shape: Sequence[int], axis_start: int, axis_count: int) -> Shape:
    """The shape after ``reshape``: 0 keeps an extent, -1 takes what is left."""
    _require(0 <= axis_start <= len(input), f"axis_start {axis_start} does not fit rank {len(input)}")
    end = len(input) if axis_count == -1 else axis_start + axis_count
    _require(axis_start <= end <= len(input), f"axis_count {axis_count} does not fit rank {len(input)}")
    wanted = [_kept(input, axis_start + i) if extent == 0 else extent for i, extent in enumerate(shape)]
    _require(all(extent >= -1 for extent in wanted) and wanted.count(-1) <= 1, f"reshape to {list(shape)}")
    volume = math.prod(input[axis_start:end])
    rest = math.prod(extent for extent in wanted if extent != -1)
    if -1 in wanted:
        _require(rest > 0 and volume % rest == 0, f"{volume} items do not reshape to {list(shape)}")
        wanted[wanted.index(-1)] = volume // rest
    else:
        _require(rest == volume, f"{volume} items do not reshape to {list(shape)}")
    return (*input[:axis_start], *wanted, *input[end:])


def _kept(input: Shape, axis: int) -> int:
    _require(axis < len(input), f"reshape keeps the extent of axis {axis}, which is not there")
    return input[axis]


def _reshape(given: Arguments) -> Shape:
    return reshaped(tuple(given["input"]), given["shape"], given["axis_start"], given["axis_count"])


def _transpose(given: Arguments) -> Shape:
    shape, axes = given["input"], given["axes"]
    _require(sorted(axes) == list(range(len(axes))) and len(axes) <= len(shape), f"{axes} is no permutation")
    return (*(shape[axis] for axis in axes), *shape[len(axes) :])


def _concat(given: Arguments) -> Shape:
    values, axis = given["values"], given["axis"]
    _require(bool(values), "concat of nothing")
    _require_axes([axis], len(values[0]))
    for value in values:
        same = len(value) == len(values[0]) and all(
            a == b for i, (a, b) in enumerate(zip(value, values[0], strict=True)) if i != axis
        )
        _require(same, f"the shapes {[list(v) for v in values][:6]} do not join along axis {axis}")
    return _with(values[0], axis, sum(value[axis] for value in values))


def _with(shape: Sequence[int], axis: int, extent: int) -> Shape:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _split(given: Arguments) -> list[Shape]:
    value, axis, ratios = given["value"], given["axis"], given["ratios"]
    _require_axes([axis], len(value))
    total = sum(ratios)
    _require(bool(ratios) and min(ratios) > 0 and value[axis] % total == 0, f"{value[axis]} does not split as {ratios}")
    return [_with(value, axis, value[axis] // total * ratio) for ratio in ratios]


def slice_bounds(extent: int, begin: int, end: int, stride: int) -> tuple[int, int]:
    """Begin and end as positions; ``end = 0`` with stride 1 means the end; -1 is "before the first"."""
    _require(stride != 0, "a slice has stride 0")
    first = begin + extent if begin < 0 else begin
    last = end + extent if end < 0 else extent if end == 0 and stride == 1 else end
    return min(max(first, -1), extent), min(max(last, -1), extent)


def _slice(given: Arguments) -> Shape:
    shape, axes = list(given["input"]), given["axes"]
    strides = given["stride"] or [1] * len(axes)
    _require_axes(axes, len(shape))
    lengths = {len(given["begin"]), len(given["end"]), len(strides), len(axes)}
    _require(len(lengths) == 1, "the lists of slice differ in length")
    for axis, begin, end, stride in zip(axes, given["begin"], given["end"], strides, strict=True):
        extent = shape[axis]
        first, last = slice_bounds(extent, begin, end, stride)
        valid = 0 <= first <= last if stride > 0 else last <= first < extent
        _require(valid, f"the slice {begin}:{end}:{stride} does not fit extent {extent}")
        shape[axis] = -((first - last) // stride) if stride > 0 else -((last - first) // -stride)
    return tuple(shape)


def _squeeze(given: Arguments) -> Shape:
    shape, axes = given["input"], given["axes"]
    _require_axes(axes, len(shape))
    _require(all(shape[axis] == 1 for axis in axes), f"squeeze of axes {axes} of shape {list(shape)}")
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)


def _unsqueeze(given: Arguments) -> Shape:
    shape = list(given["input"])
    _require_axes(given["axes"], len(shape) + len(given["axes"]))
    for axis in sorted(given["axes"]):
        shape.insert(axis, 1)
    return tuple(shape)


def _stack(given: Arguments) -> Shape:
    values, axis = given["values"], given["axis"]
    _require(bool(values) and all(value == values[0] for value in values), "stack needs tensors of one shape")
    _require_axes([axis], len(values[0]) + 1)
    return (*values[0][:axis], len(values), *values[0][axis:])


def _unstack(given: Arguments) -> list[Shape]:
    value, axis = given["value"], given["axis"]
    _require_axes([axis], len(value))
    return [(*value[:axis], *value[axis + 1 :])] * value[axis]


def _tile(given: Arguments) -> Shape:
    _require(len(given["repeats"]) == len(given["input"]), "tile needs one repeat for each axis")
    return tuple(extent * repeat for extent, repeat in zip(given["input"], given["repeats"], strict=True))


def _pad(given: Arguments) -> Shape:
    _require(len(given["padding"]) == len(given["input"]), "pad needs one pair for each axis")
    pairs = zip(given["input"], given["padding"], strict=True)
    return tuple(before + extent + after for extent, (before, after) in pairs)


def _gather(given: Arguments) -> Shape:
    _require_axes([given["axis"]], len(given["input"]))
    return (*given["input"][: given["axis"]], *given["indices"], *given["input"][given["axis"] + 1 :])


# linear algebra and windows


def _matmul(given: Arguments) -> Shape:
    a, b = given["A"], given["B"]
    _require(len(a) == len(b) >= 2, f"matmul of ranks {len(a)} and {len(b)}")
    rows, inner = (a[-1], a[-2]) if given["transposeA"] else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if given["transposeB"] else (b[-2], b[-1])
    _require(inner == inner_b, f"matmul of {list(a)} and {list(b)}")
    return (*broadcast(a[:-2], b[:-2]), rows, columns) if len(a) > 2 else (rows, columns)


def _linear(given: Arguments) -> Shape:
    input, filter = given["input"], given["filter"]
    _require(len(input) == len(filter) == 2 and input[1] == filter[1], f"linear of {list(input)} and {list(filter)}")
    return input[0], filter[0]


def same_padding(extents: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    """The pairs that an empty ``padding`` stands for, given the extents of the larger side."""
    pairs = []
    for extent, size, step, dilate in zip(extents, kernel, stride, dilation, strict=True):
        total = max((-(-extent // step) - 1) * step + (size - 1) * dilate + 1 - extent, 0)
        pairs.append((total // 2, total - total // 2))
    return pairs


def _windowed(extents: Sequence[int], kernel: Sequence[int], given: Arguments, transposed: bool = False) -> Shape:
    rank = len(extents)
    stride, dilation, padding = given["stride"] or [1] * rank, given["dilation"] or [1] * rank, given["padding"]
    _require(len(kernel) == len(stride) == len(dilation) == rank, "size, stride and dilation do not fit the rank")
    _require(not padding or len(padding) == rank, f"padding needs {rank} pairs")
    _require(min([*stride, *dilation, *kernel], default=1) > 0, "size, stride and dilation must be positive")
    if not padding:
        if transposed:
            return tuple(extent * step for extent, step in zip(extents, stride, strict=True))
        return tuple(-(-extent // step) for extent, step in zip(extents, stride, strict=True))
    result = []
    for extent, size, step, dilate, (before, after) in zip(extents, kernel, stride, dilation, padding, strict=True):
        window = (size - 1) * dilate + 1
        if transposed:
            result.append((extent - 1) * step + window - before - after)
        else:
            result.append((extent + before + after - window) // step + 1)
    return tuple(result)


def _conv(given: Arguments) -> Shape:
    input, filter = given["input"], given["filter"]
    _require(len(input) == len(filter) >= 2, f"conv of ranks {len(input)} and {len(filter)}")
    groups = given["groups"] or input[1]
    _require(
        groups > 0 and filter[1] * groups == input[1] and filter[0] % groups == 0,
        f"conv of {list(input)} with filter {list(filter)} in {groups} groups",
    )
    return (input[0], filter[0], *_windowed(input[2:], filter[2:], given))


def _deconv(given: Arguments) -> Shape:
    input, filter, wanted = given["input"], given["filter"], given["output_shape"]
    _require(len(input) == len(filter) >= 2, f"deconv of ranks {len(input)} and {len(filter)}")
    groups = given["groups"] or (wanted[1] if wanted else input[1])
    _require(
        groups > 0 and filter[0] == input[1] and filter[0] % groups == 0,
        f"deconv of {list(input)} with filter {list(filter)} in {groups} groups",
    )
    if wanted:
        expected = (input[0], filter[0], *_windowed(wanted[2:], filter[2:], given))
        _require(
            len(wanted) == len(input) and expected == tuple(input) and wanted[1] == filter[1] * groups,
            f"deconv of {list(input)} to output_shape {wanted}",
        )
        return (input[0], *wanted[1:])
    return (input[0], filter[1] * groups, *_windowed(input[2:], filter[2:], given, transposed=True))


def _separable_conv(given: Arguments) -> Shape:
    input, plane, point = given["input"], given["plane_filter"], given["point_filter"]
    _require(point[1] * given["groups"] == plane[0] and plane[0] % input[1] == 0, "the filters of separable_conv")
    return (input[0], point[0], *_windowed(input[2:], plane[2:], given))


def _separable_deconv(given: Arguments) -> Shape:
    input, plane, point = given["input"], given["plane_filter"], given["point_filter"]
    _require(point[0] == input[1] and plane[1] == 1, "the filters of separable_deconv")
    if given["output_shape"]:
        return (input[0], *given["output_shape"][1:])
    return (input[0], plane[0], *_windowed(input[2:], plane[2:], given, transposed=True))


def _pool(given: Arguments) -> Shape:
    if "index" in given:
        _require(given["index"] == given["input"], "index and input differ in shape")
    return _windowed(given["input"], given["size"], given)


def _unpool(given: Arguments) -> Shape:
    if given["output_shape"]:
        expected = _windowed(given["output_shape"], given["size"], given)
        _require(expected == tuple(given["input"]), f"{list(given['input'])} to output_shape {given['output_shape']}")
        return tuple(given["output_shape"])
    return _windowed(given["input"], given["size"], given, transposed=True)


def _sample(given: Arguments) -> Shape:
    if given["index"] == given["input"]:  # as the reference shape function has it
        return _windowed(given["input"], given["size"], given)
    return tuple(given["index"])


def _downsample(given: Arguments) -> Shape:
    input, factor = given["input"], given["factor"]
    _require(len(factor) == len(input) - 2, "factor needs one number for each spatial axis")
    _require(all(f > 0 and e % f == 0 for e, f in zip(input[2:], factor, strict=True)), f"{factor} does not divide")
    return (*input[:2], *(extent // f for extent, f in zip(input[2:], factor, strict=True)))


def _upsample(given: Arguments) -> Shape:
    input, factor = given["input"], given["factor"]
    positive = len(factor) == len(input) - 2 and min(factor, default=1) > 0
    _require(positive, "factor needs one positive number for each spatial axis")
    return (*input[:2], *(extent * f for extent, f in zip(input[2:], factor, strict=True)))


def _reduce(given: Arguments) -> Shape:
    _require_axes(given["axes"], len(given["input"]))
    return tuple(1 if axis in given["axes"] else extent for axis, extent in enumerate(given["input"]))


def _softmax(given: Arguments) -> Shape:
    _require_axes(given["axes"], len(given["x"]))
    return tuple(given["x"])


def _normalized(given: Arguments) -> Shape:
    if "axes" in given:
        _require_axes(given["axes"], len(given["input"]))
    else:
        _require(len(given["size"]) == len(given["input"]), "size needs one number for each axis")
    return tuple(given["input"])


def _roi(given: Arguments) -> Shape:
    input, rois, size = given["input"], given["rois"], given["output_size"]
    _require(len(rois) == 2 and rois[1] == 4, "rois must be [n, 4]")
    _require(tuple(given["batch_index"]) in ((rois[0],), (rois[0], 1)), "batch_index needs one number for each region")
    _require(len(size) == len(input) - 2, "output_size needs one number for each spatial axis")
    return (rois[0], input[1], *size)


def _add_n(given: Arguments) -> Shape:
    _require(bool(given["x"]), "add_n of nothing")
    return broadcast(*given["x"])


_UNARY = (
    "neg rcp exp log log2 sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh abs sign floor ceil round sqr "
    "sqrt rsqr rsqrt not copy relu sigmoid softabs softplus elu selu gelu silu leaky_relu"
).split()
_BINARY = "add sub mul div pow min max lt gt le ge eq ne and or".split()
_REDUCE = "sum_reduce max_reduce min_reduce mean_reduce argmax_reduce argmin_reduce any_reduce all_reduce".split()
_POOL = "box argmax_pool max_pool avg_pool rms_pool".split()
_QUANTIZE = "min_max_linear_quantize zero_point_linear_quantize linear_quantize logarithmic_quantize".split()
_NORMALIZE = (
    "local_response_normalization local_mean_normalization local_variance_normalization "
    "local_contrast_normalization l1_normalization l2_normalization"
).split()
_ROI = "avg_roi_pool max_roi_pool roi_resample avg_roi_align max_roi_align".split()

_RULES: dict[str, Callable[[Arguments], Any]] = {
    **dict.fromkeys(("external", "variable", "constant"), _declared),
    **dict.fromkeys(_UNARY, _same_as("x")),
    **dict.fromkeys(_BINARY, _broadcast_of("x", "y")),
    **dict.fromkeys(_REDUCE, _reduce),
    **dict.fromkeys(_POOL, _pool),
    **dict.fromkeys(_QUANTIZE, _same_as("x")),
    **dict.fromkeys(_NORMALIZE, _normalized),
    **dict.fromkeys(_ROI, _roi),
    "update": _same_as("variable"),
    "reshape": _reshape,
    "transpose": _transpose,
    "concat": _concat,
    "split": _split,
    "slice": _slice,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "stack": _stack,
    "unstack": _unstack,
    "tile": _tile,
    "pad": _pad,
    "gather": _gather,
    "cast": _same_as("input"),
    "copy_n": lambda given: [given["x"]] * given["times"],
    "select": _broadcast_of("condition", "true_value", "false_value"),
    "clamp": _broadcast_of("x", "a", "b"),
    "prelu": _broadcast_of("x", "alpha"),
    "add_n": _add_n,
    "softmax": _softmax,
    "matmul": _matmul,
    "linear": _linear,
    "conv": _conv,
    "deconv": _deconv,
    "separable_conv": _separable_conv,
    "separable_deconv": _separable_deconv,
    "debox": _unpool,
    "avg_unpool": _unpool,
    "max_unpool": _unpool,
    "desample": _unpool,
    "sample": _sample,
    "max_pool_with_index": lambda given: Several([_pool(given)] * 2),
    "nearest_downsample": _downsample,
    "area_downsample": _downsample,
    "nearest_upsample": _upsample,
    "multilinear_upsample": _upsample,
    "moments": lambda given: Several([_reduce(given)] * 2),
    "batch_normalization": _affine,
}
