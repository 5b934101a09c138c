"""Random ONNX graphs: hypothesis chooses operators, shapes, dtypes, broadcasting, padding; onnxruntime computes along.

Each node is run as it is chosen, so what it makes is known: a node that onnxruntime refuses, or whose result is not
finite or large, is left out. Operators that jump (Floor, Cast to integers, comparisons) only read what every format
holds exactly, so that no rounding can turn into a difference of a whole step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

OPSET = 18
LARGEST = 1e4


@dataclass
class Graph:
    """A graph that grows.

    Attributes:
        values: every tensor's value, by name.
        exact: tensors that were not rounded.
        feeds: the names that are inputs.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    values: dict[str, Array] = field(default_factory=dict)
    exact: set[str] = field(default_factory=set)
    feeds: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)

    def constant(self, array: Array) -> str:
        """A new initializer."""
        name = f"c{len(self.values)}"
        self.values[name] = array
        self.exact.add(name)
        self.constants.append(name)
        return name

    def add(
        self, operator: str, inputs: list[str], outputs: int = 1, exact: bool = False, **attributes: Any
    ) -> list[str]:
        """Append a node, if it can be run; the names of what it makes."""
        names = [f"t{len(self.values) + index}" for index in range(outputs)]
        node = helper.make_node(operator, inputs, names, **attributes)
        results = _computed(node, {name: self.values[name] for name in inputs if name})
        if results is None or not all(_sound(result) for result in results):
            return []
        self.nodes.append(node)
        self.values.update(zip(names, results, strict=True))
        if exact and self.exact.issuperset(name for name in inputs if name):
            self.exact.update(names)
        return names

    def model(self) -> onnx.ModelProto:
        """The graph; its outputs are all tensors that no node reads."""
        read = {name for node in self.nodes for name in node.input}
        outputs = [name for node in self.nodes for name in node.output if name not in read]
        made = helper.make_graph(
            self.nodes, "random", [_info(name, self.values[name]) for name in self.feeds],
            [_info(name, self.values[name]) for name in outputs],
            [numpy_helper.from_array(self.values[name], name) for name in self.constants if name in read],
        )  # fmt: skip
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _info(name: str, array: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _computed(node: onnx.NodeProto, given: dict[str, Array]) -> list[Array] | None:
    graph = helper.make_graph(
        [node], "node", [_info(name, array) for name, array in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return computed(model, given)


def computed(proto: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array] | None:
    """What onnxruntime computes of a model as it stands, without optimization; ``None`` where it has no kernel for it,
    or it is not valid."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found: list[Array] = session.run(None, feeds)
    except Exception:  # classes of onnxruntime's own
        return None
    return found


def _sound(array: Array) -> bool:
    if array.size == 0 or array.size > 5000 or array.ndim > 5:
        return False
    return array.dtype.kind != "f" or bool(np.isfinite(array).all() and np.abs(array).max() < LARGEST)


# -- what a step may add --------------------------------------------------------------------------------------------

SMOOTH = (
    "Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Softplus", "Erf", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Selu",
    "Softsign", "ThresholdedRelu", "Celu", "Mish", "Sin", "Cos", "Atan", "Exp", "Identity",
)  # fmt: skip
JUMPING = ("Floor", "Ceil", "Round", "Sign")
BINARY = ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean", "PRelu")
MOVING = (
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Pad", "Expand", "Tile",
    "Gather",
)  # fmt: skip
COMPARING = ("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual")
REDUCING = (
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
)


def _pick(draw: Draw, graph: Graph, fits: Callable[[str, Array], bool]) -> str | None:
    names = [name for name, array in graph.values.items() if fits(name, array) and name not in graph.constants]
    return draw(st.sampled_from(names)) if names else None


def _floats(name: str, array: Array) -> bool:
    return array.dtype == np.float32


def _array(draw: Draw, shape: tuple[int, ...], dtype: str = "float32") -> Array:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    if dtype == "float32":
        return rng.normal(size=shape).astype(np.float32)
    return rng.integers(-4, 5, shape).astype(dtype)


def _axis(draw: Draw, rank: int) -> int:
    return int(draw(st.integers(-rank, rank - 1))) if rank else 0


def _unary(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, _floats)
    if name is not None:
        operator = draw(st.sampled_from(SMOOTH))
        attributes = (
            {"alpha": draw(st.sampled_from([0.1, 0.5, 1.5]))} if operator in ("Elu", "LeakyRelu", "Celu") else {}
        )
        graph.add(operator, [name], exact=operator in ("Relu", "Neg", "Abs", "Identity"), **attributes)


def _jumping(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and name in graph.exact)
    if name is not None:
        graph.add(draw(st.sampled_from(JUMPING)), [name], exact=True)


def _clip(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, _floats)
    if name is not None:
        low = graph.constant(np.float32(draw(st.sampled_from([-1, -0.5, 0])))) if draw(st.booleans()) else ""
        graph.add("Clip", [name, low, graph.constant(np.float32(0.75))], exact=True)


def _binary(draw: Draw, graph: Graph) -> None:
    first = _pick(draw, graph, lambda name, array: array.dtype in (np.float32, np.int32, np.int64))
    if first is None:
        return
    array = graph.values[first]
    second = _pick(draw, graph, lambda name, other: other.dtype == array.dtype) if draw(st.booleans()) else None
    if second is None:  # a constant that broadcasts
        keep = draw(st.integers(0, array.ndim))
        shape = tuple(size if draw(st.booleans()) else 1 for size in array.shape[array.ndim - keep :])
        second = graph.constant(_array(draw, shape, array.dtype.name))
    pair = [first, second] if draw(st.booleans()) else [second, first]
    graph.add(draw(st.sampled_from(BINARY)), pair, exact=array.dtype.kind == "i")


def _choosing(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and name in graph.exact)
    if name is not None:
        bound = graph.constant(np.float32(0.1))
        (condition,) = graph.add(draw(st.sampled_from(COMPARING)), [name, bound], exact=True) or ("",)
        if condition and draw(st.booleans()):
            graph.add("Where", [condition, name, graph.constant(np.float32(-1))], exact=True)
        elif condition:
            graph.add("Cast", [condition], to=int(draw(st.sampled_from([1, 6, 7]))), exact=True)


def _casting(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: name in graph.exact)
    if name is not None:
        graph.add("Cast", [name], to=int(draw(st.sampled_from([1, 6, 7, 9]))), exact=True)


def _product(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and array.ndim >= 1)
    if name is None:
        return
    array = graph.values[name]
    width = draw(st.integers(1, 4))
    if array.ndim == 2 and draw(st.booleans()):
        turned = draw(st.booleans())
        shape = (width, array.shape[1]) if turned else (array.shape[1], width)
        bias = [graph.constant(_array(draw, draw(st.sampled_from([(width,), (1, width), (1,), ()]))))]
        alpha, beta = draw(st.sampled_from([0.5, 1.0])), draw(st.sampled_from([1.0, 2.0]))
        inputs = [name, graph.constant(_array(draw, shape)), *bias]
        graph.add("Gemm", inputs, transB=int(turned), alpha=alpha, beta=beta)
        return
    batch = tuple(size if draw(st.booleans()) else 1 for size in array.shape[:-2]) if draw(st.booleans()) else ()
    graph.add("MatMul", [name, graph.constant(_array(draw, (*batch, array.shape[-1], width)))])


def _window(draw: Draw, graph: Graph) -> dict[str, Any]:
    axes = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    found: dict[str, Any] = {"kernel_shape": kernel}
    if draw(st.booleans()):
        found["strides"] = [draw(st.integers(1, 3)) for _ in range(axes)]
    padding = draw(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if padding == "pads":
        found["pads"] = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    elif padding != "none":
        found["auto_pad"] = padding
    return found


def _convolution(draw: Draw, graph: Graph) -> None:
    window = _window(draw, graph)
    axes = len(window["kernel_shape"])
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and array.ndim == axes + 2)
    if name is None:
        return
    channels = graph.values[name].shape[1]
    group = draw(st.sampled_from([1, channels]))
    if draw(st.booleans()) and "auto_pad" not in window:
        window["dilations"] = [draw(st.integers(1, 2)) for _ in range(axes)]
    made = group * draw(st.integers(1, 2))
    bias = [graph.constant(_array(draw, (made,)))] if draw(st.booleans()) else []
    if draw(st.integers(0, 2)):
        weight = graph.constant(_array(draw, (made, channels // group, *window["kernel_shape"])))
        graph.add("Conv", [name, weight, *bias], group=group, **window)
    else:
        weight = graph.constant(_array(draw, (channels, made // group, *window["kernel_shape"])))
        graph.add("ConvTranspose", [name, weight, *bias], group=group, **window)


def _pooling(draw: Draw, graph: Graph) -> None:
    window = _window(draw, graph)
    name = _pick(
        draw, graph, lambda name, array: _floats(name, array) and array.ndim == len(window["kernel_shape"]) + 2
    )
    if name is None:
        return
    operator = draw(st.sampled_from(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"]))
    if operator.startswith("Global"):
        graph.add(operator, [name])
        return
    if "auto_pad" not in window:
        window["ceil_mode"] = draw(st.integers(0, 1))
    if operator == "AveragePool":
        window["count_include_pad"] = draw(st.integers(0, 1))
    graph.add(operator, [name], exact=operator == "MaxPool", **window)


def _reducing(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and array.ndim >= 1)
    if name is None:
        return
    rank = graph.values[name].ndim
    axes = draw(st.lists(st.integers(-rank, rank - 1), min_size=0, max_size=rank, unique_by=lambda axis: axis % rank))
    given = [graph.constant(np.int64(axes))] if axes else []
    graph.add(draw(st.sampled_from(REDUCING)), [name, *given], keepdims=draw(st.integers(0, 1)))


def _along(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and array.ndim >= 1)
    if name is None:
        return
    axis = _axis(draw, graph.values[name].ndim)
    operator = draw(st.sampled_from(["Softmax", "LogSoftmax", "CumSum", "ArgMax", "LayerNormalization", "TopK"]))
    shape = graph.values[name].shape
    if operator == "CumSum":
        flags = {key: draw(st.integers(0, 1)) for key in ("exclusive", "reverse")}
        graph.add(operator, [name, graph.constant(np.int64(axis))], **flags)
    elif operator == "ArgMax":
        if name in graph.exact:
            graph.add(operator, [name], axis=axis, keepdims=draw(st.integers(0, 1)), exact=True)
    elif operator == "TopK":
        if name in graph.exact:
            count = graph.constant(np.int64([draw(st.integers(1, shape[axis]))]))
            graph.add(operator, [name, count], 2, axis=axis, largest=draw(st.integers(0, 1)), exact=True)
    elif operator == "LayerNormalization":
        scale = [graph.constant(_array(draw, shape[axis:]))]
        graph.add(operator, [name, *scale], axis=axis, epsilon=0.01)
    else:
        graph.add(operator, [name], axis=axis)


def _moving(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: array.dtype != np.bool_)
    if name is None:
        return
    array = graph.values[name]
    rank, shape = array.ndim, array.shape
    how = draw(st.sampled_from(MOVING))

    def add(*inputs: Array, outputs: int = 1, **attributes: Any) -> None:
        graph.add(how, [name, *(graph.constant(value) for value in inputs)], outputs, True, **attributes)

    if how == "Transpose":
        add(**({"perm": draw(st.permutations(range(rank)))} if rank and draw(st.booleans()) else {}))
    elif how == "Reshape":
        sizes = draw(st.permutations(shape))
        if len(sizes) > 1 and draw(st.booleans()):
            sizes = [sizes[0] * sizes[1], *sizes[2:]]
        if sizes and draw(st.booleans()):
            sizes = [-1, *sizes[1:]]
        add(np.int64(sizes))
    elif how == "Flatten":
        add(axis=draw(st.integers(-rank, rank)))
    elif how == "Squeeze":
        ones = [axis for axis in range(rank) if shape[axis] == 1]
        add(*([np.int64(ones[:1])] if ones and draw(st.booleans()) else []))
    elif how == "Unsqueeze":
        add(np.int64([_axis(draw, rank + 1)]))
    elif how == "Concat" and rank:
        axis = _axis(draw, rank)
        width = draw(st.integers(1, 3))
        other = tuple(width if place == axis % rank else size for place, size in enumerate(shape))
        graph.add(how, [name, graph.constant(_array(draw, other, array.dtype.name)), name], exact=True, axis=axis)
    elif how == "Split" and rank and max(shape) > 1:
        axis = shape.index(max(shape))
        first = draw(st.integers(1, shape[axis] - 1))
        add(np.int64([first, shape[axis] - first]), outputs=2, axis=axis - draw(st.sampled_from([0, rank])))
    elif how == "Slice" and rank:
        axis = _axis(draw, rank)
        bounds = [np.int64([draw(st.integers(-5, 5))]) for _ in range(2)]
        add(*bounds, np.int64([axis]), np.int64([draw(st.sampled_from([1, 2, -1, -2]))]))
    elif how == "Pad" and rank:
        amounts = np.int64([draw(st.integers(-1, 2)) for _ in range(2 * rank)])
        mode = draw(st.sampled_from(["constant", "reflect", "edge"]))
        add(amounts, *([np.asarray(3, array.dtype)] if mode == "constant" and draw(st.booleans()) else []), mode=mode)
    elif how == "Expand":
        add(np.int64([draw(st.sampled_from([1, 2])), *(size if size > 1 else 3 for size in shape)]))
    elif how == "Tile" and rank:
        add(np.int64([draw(st.integers(1, 2)) for _ in shape]))
    elif how == "Gather" and rank:
        axis = _axis(draw, rank)
        places = st.integers(-shape[axis], shape[axis] - 1)
        add(np.asarray(draw(st.one_of(places, st.lists(places, min_size=1, max_size=3))), np.int64), axis=axis)


def _normalizing(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and array.ndim >= 2)
    if name is None:
        return
    channels = graph.values[name].shape[1]
    parts = [graph.constant(np.abs(_array(draw, (channels,))) + np.float32(0.1)) for _ in range(4)]
    operator = draw(st.sampled_from(["BatchNormalization", "InstanceNormalization", "LRN"]))
    if operator == "BatchNormalization":
        graph.add(operator, [name, *parts], epsilon=0.01)
    elif operator == "InstanceNormalization":
        graph.add(operator, [name, *parts[:2]], epsilon=0.01)
    else:
        graph.add(operator, [name], size=draw(st.sampled_from([1, 3])), alpha=0.1, beta=0.75, bias=1.0)


def _resizing(draw: Draw, graph: Graph) -> None:
    name = _pick(draw, graph, lambda name, array: _floats(name, array) and array.ndim == 4)
    if name is None:
        return
    scales = np.float32([1, 1, draw(st.sampled_from([1, 2, 0.5, 1.5])), draw(st.sampled_from([1, 2, 3]))])
    places = draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    mode = draw(st.sampled_from(["nearest", "linear"]))
    rounding = {"nearest_mode": draw(st.sampled_from(["floor", "round_prefer_floor"]))} if mode == "nearest" else {}
    graph.add(
        "Resize", [name, "", graph.constant(scales)], mode=mode, coordinate_transformation_mode=places, **rounding
    )


STEPS = (
    _unary, _unary, _jumping, _clip, _binary, _binary, _choosing, _casting, _product, _convolution, _convolution,
    _pooling,
    _reducing, _along, _moving, _moving, _moving, _normalizing, _resizing,
)  # fmt: skip


@st.composite
def graphs(draw: Draw, most: int = 8) -> Graph:
    """Graphs of one to ``most`` nodes over one or two inputs of rank 0 to 5."""
    graph = Graph()
    for index in range(draw(st.integers(1, 2))):
        shape = tuple(draw(st.lists(st.integers(1, 5), min_size=0, max_size=5)))
        dtype = draw(st.sampled_from(["float32", "float32", "float32", "int32", "int64"]))
        name = f"x{index}"
        graph.values[name] = _array(draw, shape, dtype)
        graph.exact.add(name)
        graph.feeds.append(name)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=most)):
        step(draw, graph)
    return graph
