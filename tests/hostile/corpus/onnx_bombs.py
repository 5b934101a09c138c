"""ONNX files that ask for more memory, time or depth than there is."""

# ruff: noqa: E501  (a crafted file is one line of a table)

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.hostile.corpus.case import Hostile
from tests.hostile.corpus.onnx_files import HEADER, OWN, model_of, saved

SMALL = {"memory_bytes": 512 << 20, "run_seconds": 1}


def doubling(levels: int = 30) -> onnx.ModelProto:
    """Functions, each calling the next one twice: 2**30 nodes once inlined."""
    imports = '<domain: "own", opset_import: ["" : 17, "own" : 1]>'
    functions = [
        f"{imports} f{level} (a) => (b) {{ c = own.f{level + 1}(a)  b = own.f{level + 1}(c) }}"
        for level in range(levels)
    ]
    last = f"{imports} f{levels} (a) => (b) {{ b = Neg(a) }}"
    return model_of(f"g (float[1] x) => (float[1] y) {{ y = own.f0(x) }} {' '.join(functions)} {last}", OWN)


def nested(depth: int) -> Callable[[], onnx.ModelProto]:
    """``If`` in ``If`` in ``If`` …"""

    def make() -> onnx.ModelProto:
        graph = helper.make_graph(
            [helper.make_node("Neg", ["x"], ["y"])], "g", [], [helper.make_empty_tensor_value_info("y")]
        )
        for _ in range(depth):
            node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph if depth < 12 else _leaf())
            graph = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("y")])
        graph.input.extend([
            helper.make_tensor_value_info("x", 1, [1]), helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
        ])  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)

    return make


def _leaf() -> onnx.GraphProto:
    node = helper.make_node("Neg", ["x"], ["y"])
    return helper.make_graph([node], "leaf", [], [helper.make_empty_tensor_value_info("y")])


def deep_bytes(depth: int) -> bytes:
    """The same in raw protobuf, deeper than its parser goes."""
    from tests.hostile.wire import varint

    data = b""
    for _ in range(depth):
        data = b"\x32" + varint(len(data)) + data  # AttributeProto.g = 6
        data = b"\x2a" + varint(len(data)) + data  # NodeProto.attribute = 5
        data = b"\x0a" + varint(len(data)) + data  # GraphProto.node = 1
    return b"\x08\x0a\x42\x02\x10\x11\x3a" + varint(len(data)) + data


def long_chain(count: int) -> onnx.ModelProto:
    """More nodes than the limit."""
    nodes = [helper.make_node("Neg", [f"t{index}"], [f"t{index + 1}"]) for index in range(count)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("t0", 1, [1])], [helper.make_tensor_value_info(f"t{count}", 1, [1])]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


LOOP = """g (float[3] x) => (float[3] z) <int64 n = {4611686018427387904}, bool t = {1}> {
    z = Loop (n, t, x) <body = l (int64 i, bool k, float[3] v) => (bool o, float[3] w) { o = Identity(k)  w = Mul(v, v) }> }"""
FOREVER = LOOP.replace("Loop (n, t, x)", "Loop (, t, x)")
COLLECTING = """g (float[1000] x) => (float[K, 1000] z) <int64 n = {4611686018427387904}, bool t = {1}> {
    z = Loop (n, t) <body = l (int64 i, bool k) => (bool o, float[1000] w) { o = Identity(k)  w = Neg(x) }> }"""
GROWING = """g (float[1000] x) => (float[M] z) <int64 n = {64}, bool t = {1}> {
    z = Loop (n, t, x) <body = l (int64 i, bool k, float[M] v) => (bool o, float[K] w)
    { o = Identity(k)  w = Concat <axis = 0> (v, v) }> }"""

_AT_RUN_TIME = {
    "Expand to 2^60 elements": ("g (float[1] x, int64[2] s) => (float[A, B] y) { y = Expand(x, s) }", [1 << 30, 1 << 30]),
    "Expand to 2^32 elements": ("g (float[1] x, int64[2] s) => (float[A, B] y) { y = Expand(x, s) }", [1 << 16, 1 << 16]),
    "Expand to negative sizes": ("g (float[1] x, int64[2] s) => (float[A, B] y) { y = Expand(x, s) }", [-5, -7]),
    "Range to 2^40": ("g (int64 s) => (int64[N] y) <int64 zero = {0}, int64 one = {1}> { y = Range(zero, s, one) }", 1 << 40),
    "Range of 2^62": ("g (int64 s) => (int64[N] y) <int64 zero = {0}, int64 one = {1}> { y = Range(zero, s, one) }", 1 << 62),
    "ConstantOfShape of 2^40": ("g (int64[2] s) => (float[A, B] y) { y = ConstantOfShape(s) }", [1 << 20, 1 << 20]),
    "ConstantOfShape of -1": ("g (int64[2] s) => (float[A, B] y) { y = ConstantOfShape(s) }", [-1, 1 << 62]),
    "Pad by 2^40": ("g (float[1] x, int64[2] s) => (float[A] y) { y = Pad(x, s) }", [1 << 40, 1 << 40]),
    "Pad by 2^62": ("g (float[1] x, int64[2] s) => (float[A] y) { y = Pad(x, s) }", [1 << 62, 1 << 62]),
    "Tile 2^40 times": ("g (float[1] x, int64[1] s) => (float[A] y) { y = Tile(x, s) }", [1 << 40]),
    "Reshape to another count": ("g (float[1] x, int64[2] s) => (float[A, B] y) { y = Reshape(x, s) }", [1 << 40, 7]),
    "Resize by sizes of 2^40": (
        "g (float[1] x, int64[1] s) => (float[A] y) { y = Resize(x, , , s) }", [1 << 40]
    ),
    "Gather out of range": ("g (float[1] x, int64[1] s) => (float[A] y) { y = Gather(x, s) }", [1 << 40]),
    "OneHot of depth 2^40": (
        "g (int64[1] s) => (float[A, B] y) <float[2] v = {0.0, 1.0}> { i = ConstantOfShape(k)  k = Constant <value_ints = [3]> ()"
        "  y = OneHot(i, s, v) }", [1 << 40],
    ),
}  # fmt: skip

_CONSTANT = {
    "Expand": "g (float[1] x) => (float[A, B] y) <int64[2] s = {1073741824, 1073741824}> { y = Expand(x, s) }",
    "ConstantOfShape": "g (float[1] x) => (float[A, B] y) <int64[2] s = {1048576, 1048576}> "
    "{ c = ConstantOfShape(s)  y = Add(x, c) }",
    "Range": "g (int64[1] x) => (int64[N] y) <int64 a = {0}, int64 b = {1099511627776}, int64 c = {1}> "
    "{ r = Range(a, b, c)  y = Add(x, r) }",
    "Tile": "g (float[1] x) => (float[N] y) <int64[1] s = {1099511627776}> { y = Tile(x, s) }",
    "Pad": "g (float[1] x) => (float[N] y) <int64[2] s = {1099511627776, 1099511627776}> { y = Pad(x, s) }",
    "EyeLike": "g (float[1] x) => (float[A, B] y) <int64[2] s = {1048576, 1048576}> "
    "{ c = ConstantOfShape(s)  e = EyeLike(c)  y = Add(x, e) }",
}

_MADE = {
    "an identity matrix": "g (int32[8192, 256] x) => (int32[8192, 256] y) { y = EyeLike(x) }",
    "a triangle's mask": "g (float[8192, 256] x) => (float[8192, 256] y) { y = Trilu(x) }",
}
"""What a writer makes a constant of that is larger than the model says; it is beyond 2^20 elements."""


def _sorted_model(text: str) -> onnx.ModelProto:
    model = model_of(text)
    model.graph.node.sort(key=lambda node: (node.op_type != "Constant", node.op_type != "ConstantOfShape"))
    return model


def cases() -> Iterator[Hostile]:
    """All of them."""
    yield Hostile("onnx: functions that double thirty times", saved(doubling), "hub")
    yield Hostile("onnx: functions 250 deep", saved(lambda: _deep_functions(250)), "hub")
    yield Hostile("onnx: subgraphs 25 deep", saved(nested(25)), limits={"nesting": 20})
    yield Hostile("onnx: branches that double ten times", saved(nested(10)), limits={"nodes": 500})
    yield Hostile("onnx: messages 5,000 deep", saved(lambda: deep_bytes(5000)))
    yield Hostile("onnx: a chain of 6,000 nodes", saved(lambda: long_chain(6000)), limits={"nodes": 5000})
    for title, text in {
        "of 2^62 turns": LOOP,
        "without an end": FOREVER,
        "that collects": COLLECTING,
        "that grows": GROWING,
    }.items():
        feeds = {"x": (3,) if "float[3] x" in text else (1000,)}
        yield Hostile(
            f"onnx: a loop {title}", saved(lambda text=text: model_of(text)), "run", limits=SMALL, feeds=feeds
        )
    for title, (text, values) in _AT_RUN_TIME.items():
        given = {"s": values if isinstance(values, list) else [values]}
        feeds = {**given, "x": (1,)} if "float[1] x" in text else given
        yield Hostile(f"onnx: {title}", saved(lambda text=text: _sorted_model(text)), "run", limits=SMALL, feeds=feeds)
    for title, text in _CONSTANT.items():
        header = HEADER
        yield Hostile(
            f"onnx: {title} of a huge constant shape", saved(lambda text=text, header=header: model_of(text, header)), "run",
            limits=SMALL, feeds={"x": (1,) if "float[1] x" in text else [1]},
        )  # fmt: skip
    for title, text in _MADE.items():
        made = saved(lambda text=text: model_of(text))
        yield Hostile(f"onnx: {title} of 2^21 elements", made, "plan", limits={"folded_elements": 1 << 20})
    yield Hostile("onnx: 2^21 integers for Core ML", saved(_integers), "plan", limits={"folded_elements": 1 << 20})


def _integers() -> onnx.ModelProto:
    """A constant that Core ML holds in the model's message, number by number."""
    model = model_of("g (int32[8192, 256] x) => (int32[8192, 256] y) { y = Add(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.full((8192, 256), 7, np.int32), "w"))
    return model


def _deep_functions(levels: int) -> onnx.ModelProto:
    imports = '<domain: "own", opset_import: ["" : 17, "own" : 1]>'
    functions = [f"{imports} f{level} (a) => (b) {{ b = own.f{level + 1}(a) }}" for level in range(levels)]
    last = f"{imports} f{levels} (a) => (b) {{ b = Neg(a) }}"
    return model_of(f"g (float[1] x) => (float[1] y) {{ y = own.f0(x) }} {' '.join(functions)} {last}", OWN)
