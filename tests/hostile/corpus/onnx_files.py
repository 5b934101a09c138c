"""ONNX files that reach outside, contradict themselves, or hold names that no one expects."""

# ruff: noqa: E501  (a crafted file is one line of a table)

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from tests.hostile.corpus.case import ESCAPES, WAYS, Escape, Hostile

HEADER = '<ir_version: 10, opset_import: ["" : 17]>'
OWN = '<ir_version: 10, opset_import: ["" : 17, "own" : 1]>'

Make = Callable[[], "onnx.ModelProto | bytes"]


def model_of(text: str, header: str = HEADER) -> onnx.ModelProto:
    """A model from onnx's notation."""
    return parser.parse_model(f"{header} {text}")


def saved(make: Make) -> Callable[[Path], Path]:
    """Writes what ``make`` makes as ``model.onnx``."""

    def write(folder: Path) -> Path:
        made = make()
        path = folder / "model.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path

    return write


def external(location: str, place: str = "initializer", offset: object = 0, length: object = 4) -> onnx.ModelProto:
    """A model with a tensor of one float in a file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    if place == "initializer":
        model = model_of("g (float[1] x) => (float[1] y) { y = Add(x, w) }")
        model.graph.initializer.append(tensor)
        return model
    if place == "function":
        model = model_of(
            'g (float[1] x) => (float[1] y) { y = own.f(x) } <domain: "own", opset_import: ["" : 17]> f (a) => (b) '
            "{ c = Constant <value_int = 1> ()  b = Add(a, c) }",
            OWN,
        )
        constant = model.functions[0].node[0]
    elif place == "subgraph":
        model = model_of(
            "g (float[1] x, bool c) => (float[1] y) { y = If (c) <then_branch = a () => (p) "
            "{ k = Constant <value_int = 1> ()  p = Add(x, k) }, else_branch = b () => (q) { q = Neg(x) }> }"
        )
        constant = next(a.g for a in model.graph.node[0].attribute if a.name == "then_branch").node[0]
    else:
        model = model_of("g (float[1] x) => (float[1] y) { c = Constant <value_int = 1> ()  y = Add(x, c) }")
        constant = model.graph.node[0]
    constant.ClearField("attribute")
    constant.attribute.append(helper.make_attribute("value", tensor))
    return model


def _escaping(escape: Escape, place: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        escape.prepare(folder)
        return saved(lambda: external(escape.text(folder), place))(folder)

    return make


def _escapes() -> Iterator[Hostile]:
    for escape in ESCAPES:
        for way in WAYS:
            yield Hostile(f"onnx: data of a tensor {escape.title}, by {way}", _escaping(escape, "initializer"), way=way)
        for place in ("function", "subgraph", "attribute"):
            yield Hostile(f"onnx: data in a {place} {escape.title}", _escaping(escape, place), way="bare name")


def _with_data(offset: object, length: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "w.bin").write_bytes(bytes(8))
        return saved(lambda: external("w.bin", offset=offset, length=length))(folder)

    return make


def _weights(change: Callable[[TensorProto], object]) -> Make:
    """A model whose initializer, float32 [2, 3], is tampered with."""

    def make() -> onnx.ModelProto:
        model = model_of("g (float[2, 3] x) => (float[2, 3] y) { y = Add(x, w) }")
        model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3), np.float32), "w"))
        change(model.graph.initializer[0])
        return model

    return make


def _changed(text: str, change: Callable[[onnx.ModelProto], object], header: str = HEADER) -> Make:
    def make() -> onnx.ModelProto:
        model = model_of(text, header)
        change(model)
        return model

    return make


CHAIN = "g (float[3] x) => (float[3] y) { a = Neg(x)  b = Neg(a)  y = Neg(b) }"
SPLIT = "g (float[4] x) => (float[2] y, float[2] z) { y, z = Split <axis = 0> (x) }"

_GRAPHS: dict[str, tuple[Make, str]] = {
    "no bytes": (lambda: b"", "load"),
    "an opset and no graph": (lambda: onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)]), "load"),
    "cut off": (lambda: model_of(CHAIN).SerializeToString()[:-20], "load"),
    "a varint that does not end": (lambda: b"\x08\x0a\x3a" + b"\xff" * 11, "load"),
    "a length beyond the file": (lambda: b"\x08\x0a\x3a\xff\xff\xff\xff\x07abc", "load"),
    "a length of 2^63": (lambda: b"\x08\x0a\x3a" + b"\xff" * 8 + b"\x7f", "load"),
    "groups": (lambda: b"\x08\x0a\x42\x02\x10\x11" + b"\x0b" * 5000, "load"),
    "a cycle": (_changed(CHAIN, lambda m: m.graph.node[0].input.__setitem__(0, "b")), "load"),
    "a node that reads itself": (_changed(CHAIN, lambda m: m.graph.node[1].input.__setitem__(0, "b")), "load"),
    "nodes out of order": (_changed(CHAIN, lambda m: m.graph.node.reverse()), "load"),
    "a tensor nobody makes": (_changed(CHAIN, lambda m: m.graph.node[1].input.__setitem__(0, "nowhere")), "load"),
    "an output nobody makes": (_changed(CHAIN, lambda m: setattr(m.graph.output[0], "name", "nowhere")), "load"),
    "a tensor made twice": (_changed(CHAIN, lambda m: m.graph.node[1].output.__setitem__(0, "a")), "load"),
    "an input twice": (_changed(CHAIN, lambda m: m.graph.input.append(m.graph.input[0])), "load"),
    "an input of no type": (_changed(CHAIN, lambda m: m.graph.input[0].ClearField("type")), "plan"),
    "an input made by a node": (_changed(CHAIN, lambda m: m.graph.node[2].output.__setitem__(0, "x")), "load"),
    "the opset 0": (_changed(CHAIN, lambda m: setattr(m.opset_import[0], "version", 0)), "load"),
    "the opset -1": (_changed(CHAIN, lambda m: setattr(m.opset_import[0], "version", -1)), "load"),
    "the opset 2^62": (_changed(CHAIN, lambda m: setattr(m.opset_import[0], "version", 1 << 62)), "load"),
    "an opset of the future": (_changed(CHAIN, lambda m: setattr(m.opset_import[0], "version", 999)), "hub"),
    "no opset": (_changed(CHAIN, lambda m: m.ClearField("opset_import")), "hub"),
    "an unknown operator": (_changed(CHAIN, lambda m: setattr(m.graph.node[1], "op_type", "Frobnicate")), "hub"),
    "an operator without a name": (_changed(CHAIN, lambda m: setattr(m.graph.node[1], "op_type", "")), "hub"),
    "an unknown attribute": (
        _changed(CHAIN, lambda m: m.graph.node[1].attribute.append(helper.make_attribute("evil", 1))), "plan",
    ),
    "an attribute without a type": (
        _changed(CHAIN, lambda m: m.graph.node[1].attribute.append(onnx.AttributeProto(name="axis"))), "load",
    ),
    "an attribute of another type": (
        _changed(SPLIT, lambda m: m.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("axis", "text"))), "plan",
    ),
    "a graph that is not there": (
        _changed("g (bool c) => (y) { y = If (c) <then_branch = a () => (p) { p = Constant <value_int = 1> () }, "
                 "else_branch = b () => (q) { q = Constant <value_int = 2> () }> }",
                 lambda m: m.graph.node[0].attribute[0].ClearField("g")), "load",
    ),
    "two inputs too many": (_changed(CHAIN, lambda m: m.graph.node[1].input.extend(["x", "x"])), "hub"),
    "no outputs": (_changed(CHAIN, lambda m: m.graph.node[1].ClearField("output")), "load"),
    "more outputs than num_outputs": (
        lambda: model_of("g (float[4] x) => (float[2] y, float[2] z) { y, z = Split <axis = 0, num_outputs = 1> (x) }",
                         HEADER.replace("17", "18")), "plan",
    ),
    "num_outputs of 2^40": (
        lambda: model_of("g (float[4] x) => (float[4] y) { y = Split <axis = 0, num_outputs = 1099511627776> (x) }",
                         HEADER.replace("17", "18")), "plan",
    ),
    "num_outputs of -1": (
        lambda: model_of("g (float[4] x) => (float[4] y) { y = Split <axis = 0, num_outputs = -1> (x) }",
                         HEADER.replace("17", "18")), "plan",
    ),
    "an axis of 2^62": (lambda: model_of("g (float[2, 3] x) => (float[2, 3] y) "
                                        "{ y = Softmax <axis = 4611686018427387904> (x) }"), "plan"),
    "a permutation that is none": (lambda: model_of("g (float[2, 3] x) => (float[3, 2] y) "
                                                   "{ y = Transpose <perm = [1, 1]> (x) }"), "plan"),
    "strides of 0": (lambda: model_of("g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y) { y = MaxPool "
                                     "<kernel_shape = [2, 2], strides = [0, 0]> (x) }"), "plan"),
    "a kernel of -2": (lambda: model_of("g (float[1, 1, 4, 4] x) => (y) { y = MaxPool <kernel_shape = [-2, 2]> (x) }"),
                       "plan"),
    "pads of 2^61": (lambda: model_of("g (float[1, 1, 4, 4] x) => (y) { y = MaxPool <kernel_shape = [2, 2], "
                                     "pads = [2305843009213693952, 0, 0, 0]> (x) }"), "plan"),
    "group of 0": (lambda: model_of("g (float[1, 2, 4] x, float[2, 2, 1] w) => (y) { y = Conv <group = 0> (x, w) }"),
                   "plan"),
    "equations that do not end": (lambda: model_of('g (float[2] x) => (y) { y = Einsum <equation = "' + "a," * 5000
                                                  + 'a->a"> (x) }'), "plan"),
    "an equation of other characters": (lambda: model_of("g (float[3, 3] x) => (float[3] y) "
                                        '{ y = Einsum <equation = "...ii ->...i"> (x) }').SerializeToString().replace(
                                            b"...ii ->...i", b"...i\x01 ->\xff..i"), "plan"),
    "an equation with a NUL": (lambda: model_of("g (float[3, 3] x) => (float[3] y) "
                               '{ y = Einsum <equation = "ij->i"> (x) }').SerializeToString().replace(
                                   b"ij->i", b"ij->\0"), "plan"),
    "a function that calls itself": (
        lambda: model_of('g (float[1] x) => (float[1] y) { y = own.f(x) } '
                         '<domain: "own", opset_import: ["" : 17, "own" : 1]> f (a) => (b) { b = own.f(a) }', OWN), "hub",
    ),
    "functions that call one another": (
        lambda: model_of('g (float[1] x) => (float[1] y) { y = own.f(x) } '
                         '<domain: "own", opset_import: ["" : 17, "own" : 1]> f (a) => (b) { b = own.h(a) }'
                         '<domain: "own", opset_import: ["" : 17, "own" : 1]> h (a) => (b) { b = own.f(a) }', OWN), "hub",
    ),
    "a function of a standard name": (
        lambda: model_of('g (float[1] x) => (float[1] y) { y = own.f(x, x) } '
                         '<domain: "own", opset_import: ["" : 17]> f (a) => (b) { b = Neg(a) }', OWN), "hub",
    ),
}  # fmt: skip

_TENSORS: dict[str, Callable[[TensorProto], object]] = {
    "a size of -1": lambda t: t.dims.__setitem__(0, -1),
    "a size of -2^63": lambda t: t.dims.__setitem__(0, -(1 << 63)),
    "sizes whose product wraps to 6": lambda t: t.dims.extend([1 << 32, 1 << 32]),
    "2^40 elements": lambda t: t.dims.__setitem__(0, 1 << 40),
    "a rank of 5,000": lambda t: t.dims.extend([1] * 5000),
    "one byte too few": lambda t: setattr(t, "raw_data", t.raw_data[:-1]),
    "bytes too many": lambda t: setattr(t, "raw_data", t.raw_data * 2),
    "no data": lambda t: t.ClearField("raw_data"),
    "no dtype": lambda t: setattr(t, "data_type", 0),
    "the dtype 999": lambda t: setattr(t, "data_type", 999),
    "the dtype -1": lambda t: setattr(t, "data_type", -1),
    "strings as bytes": lambda t: setattr(t, "data_type", TensorProto.STRING),
}

_OFFSETS = {
    "beyond the end": (4, 8), "negative": (-4, 4), "wrapping": ((1 << 63) - 2, 4), "sum of 2^63": (1 << 62, 1 << 62),
    "of negative length": (0, -4), "of length 0": (0, 0), "no number": ("0x", 4), "a number of 5,000 digits": ("9" * 5000, 4),
    "of another length": (0, 8),
}  # fmt: skip


def _not_utf8(model: onnx.ModelProto, old: bytes, new: bytes) -> bytes:
    data = model.SerializeToString()
    assert old in data
    return data.replace(old, new)


def _documented(place: Callable[[onnx.ModelProto], Any]) -> bytes:
    model = model_of(SPLIT)
    place(model).doc_string = "abcd"
    return _not_utf8(model, b"abcd", b"\xff\xfe\x80d")


_NAMES: dict[str, Make] = {
    "a tensor": lambda: _not_utf8(model_of(CHAIN.replace("a ", "abcd ").replace("(a)", "(abcd)")), b"abcd", b"\xff\xfe\x80d"),
    "an operator": lambda: _not_utf8(model_of(CHAIN), b"Neg", b"\xff\xfe\x80"),
    "an attribute": lambda: _not_utf8(model_of(SPLIT), b"axis", b"\xff\xfe\x80s"),
    "a data file": lambda: _not_utf8(external("abcd"), b"abcd", b"\xff\xfe\x80d"),
    "a domain": lambda: _not_utf8(model_of(CHAIN, '<ir_version: 10, opset_import: ["" : 17, "abcd" : 1]>'), b"abcd", b"\xff\xfe\x80d"),
    "an attribute's value": lambda: _not_utf8(
        model_of('g (float[3] x) => (float[3] y) { y = Gelu <approximate = "abcd"> (x) }', HEADER.replace("17", "20")),
        b"abcd", b"\xff\xfe\x80d",
    ),
    "an attribute's documentation": lambda: _documented(lambda model: model.graph.node[0].attribute[0]),
    "a graph's documentation": lambda: _documented(lambda model: model.graph),
    "a symbolic dimension": lambda: _not_utf8(model_of(CHAIN.replace("[3]", "[abcd]")), b"abcd", b"\xff\xfe\x80d"),
}  # fmt: skip


def cases() -> Iterator[Hostile]:
    """All of them."""
    yield from _escapes()
    for title, (offset, length) in _OFFSETS.items():
        yield Hostile(f"onnx: data {title}", _with_data(offset, length))
    for title, (make, refused) in _GRAPHS.items():
        yield Hostile(f"onnx: {title}", saved(make), refused)
    for title, change in _TENSORS.items():
        yield Hostile(f"onnx: a tensor with {title}", saved(_weights(change)))
    for title, make in _NAMES.items():
        yield Hostile(f"onnx: {title} that is not UTF-8", saved(make))
