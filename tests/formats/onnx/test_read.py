"""Reading ONNX: what the file says is what is shown; what is broken or hostile is one typed error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import workbench as wb
from tests.real_models import ONNX, RealModel
from workbench.formats.onnx import FORMAT

HEADER = '<ir_version: 10, opset_import: ["" : 17]>'


def model_of(text: str, header: str = HEADER) -> onnx.ModelProto:
    return parser.parse_model(f"{header} {text}")


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("real", ONNX, ids=str)
def test_real_models_are_recognised_and_listed(real: RealModel) -> None:
    assert FORMAT.claims(real.path)
    model = wb.load(real.path)
    proto = onnx.load(real.path)
    assert len(model.layers) == len(proto.graph.node)
    assert len({layer.name for layer in model.layers}) == len(model.layers)
    made = {value.name for layer in model.layers for value in layer.outputs}
    assert {value.name for value in model.outputs} <= made
    initializers = {tensor.name for tensor in proto.graph.initializer}
    assert [value.name for value in model.inputs] == [
        value.name for value in proto.graph.input if value.name not in initializers
    ]


def test_layers_state_operator_version_attributes_and_inferred_types() -> None:
    model = wb.load(model_of("g (float[N, 4] x) => (float[N, 4] y) { a = Softmax <axis = 1> (x)  y = Clip(a) }"))
    first, second = model.layers
    assert (first.name, first.operator, first.attributes) == ("a", "Softmax-13", {"axis": 1})
    assert str(first.outputs[0]) == "a: float32[N, 4]"
    assert second.operator == "Clip-13"


def test_a_layer_name_never_shadows_the_tensor_of_another() -> None:
    proto = model_of("g (float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }")
    proto.graph.node[0].name = "y"
    names = [layer.name for layer in wb.load(proto).layers]
    assert names == ["y_1", "y"]


def test_functions_are_one_layer_and_still_compute() -> None:
    proto = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17, "own" : 1]> '
        "g (float[3] x) => (float[3] y) { h = own.twice(x)  y = own.twice(h) }"
        '<domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }'
    )
    model = wb.load(proto)
    assert [layer.operator for layer in model.layers] == ["own.twice", "own.twice"]
    x = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(model.run({"x": x})["y"], 4 * x)
    np.testing.assert_array_equal(model.run({"x": x}, taps=["h"])["h"], 2 * x)


def test_external_data_beside_the_file_is_read(tmp_path: Path) -> None:
    weights = np.arange(1024, dtype=np.float32)
    proto = model_of("g (float[1024] x) => (float[1024] y) { y = Add(x, w) }")
    proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    zeros = np.zeros(1024, np.float32)
    np.testing.assert_array_equal(wb.load(path).run({"x": zeros})["y"], weights)


def external(location: str, *, inside_function: bool = False, offset: int = 0, length: int = 4) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    if inside_function:
        proto = parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 17, "own" : 1]> g (float[1] x) => (float[1] y) { y = own.f(x) }'
            '<domain: "own", opset_import: ["" : 17]> f (a) => (b) { c = Constant <value_int = 1> ()  b = Add(a, c) }'
        )
        constant = proto.functions[0].node[0]
        constant.ClearField("attribute")
        constant.attribute.append(helper.make_attribute("value", tensor))
        return proto
    proto = model_of("g (float[1] x) => (float[1] y) { y = Add(x, w) }")
    proto.graph.initializer.append(tensor)
    return proto


@pytest.mark.parametrize("inside_function", [False, True])
@pytest.mark.parametrize("by", ["full path", "bare name"])
@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link", "hard", "pipe", "", "absent"])
def test_external_data_outside_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, by: str, inside_function: bool
) -> None:
    (tmp_path / "secret").write_bytes(b"abcd")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "hard").hardlink_to(tmp_path / "secret")
    import os

    os.mkfifo(folder / "pipe")
    path = saved(external(location, inside_function=inside_function), folder)
    monkeypatch.chdir(folder)
    with pytest.raises(wb.ModelError):
        wb.load("model.onnx" if by == "bare name" else path)


@pytest.mark.parametrize(("offset", "length"), [(0, 8), (4, 4), (-4, 4), (2**62, 2**62), (0, -1)])
def test_external_data_beyond_its_file_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    (tmp_path / "weights.bin").write_bytes(b"abcd")
    with pytest.raises(wb.ModelError, match="truncated"):
        wb.load(saved(external("weights.bin", offset=offset, length=length), tmp_path))


def bomb() -> onnx.ModelProto:
    """Thirty functions, each calling the next one twice: 2**30 nodes once inlined."""
    levels = "".join(
        f'<domain: "own", opset_import: ["" : 17, "own" : 1]> f{level} (a) => (b) '
        f"{{ c = own.f{level + 1}(a)  b = own.f{level + 1}(c) }}"
        for level in range(30)
    )
    last = '<domain: "own", opset_import: ["" : 17]> f30 (a) => (b) { b = Neg(a) }'
    return parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17, "own" : 1]> g (float[1] x) => (float[1] y) { y = own.f0(x) }'
        + levels
        + last
    )


def recursive() -> onnx.ModelProto:
    return parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17, "own" : 1]> g (float[1] x) => (float[1] y) { y = own.f(x) }'
        '<domain: "own", opset_import: ["" : 17, "own" : 1]> f (a) => (b) { b = own.f(a) }'
    )


BROKEN: dict[str, Callable[[], onnx.ModelProto]] = {
    "a tensor nobody makes": lambda: model_of("g (float[1] x) => (float[1] y) { y = Add(x, z) }"),
    "nodes out of order": lambda: model_of("g (float[1] x) => (float[1] y) { y = Neg(a)  a = Neg(x) }"),
    "a cycle": lambda: model_of("g (float[1] x) => (float[1] y) { a = Neg(b)  b = Neg(a)  y = Add(a, x) }"),
    "an output nobody makes": lambda: model_of("g (float[1] x) => (float[1] y) { z = Neg(x) }"),
    "a branch that reads what nobody makes": lambda: model_of(
        "g (float[1] x, bool c) => (float[1] y) { y = If (c) "
        "<then_branch = a () => (p) { p = Neg(z) }, else_branch = b () => (q) { q = Neg(x) }> }"
    ),
    "a branch that hands out what it does not make": lambda: model_of(
        "g (float[1] x, bool c) => (float[1] y) { z = Neg(x)  y = If (c) "
        "<then_branch = a () => (z) { }, else_branch = b () => (q) { q = Neg(x) }> }"
    ),
    "no graph": lambda: onnx.ModelProto(ir_version=8),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_contradictory_graph_is_refused(name: str) -> None:
    with pytest.raises(wb.ModelError):
        wb.load(BROKEN[name]())


def test_a_tensor_made_twice_is_refused() -> None:
    proto = model_of("g (float[1] x) => (float[1] y) { a = Neg(x)  y = Neg(a) }")
    proto.graph.node[1].output[0] = "a"
    with pytest.raises(wb.ModelError):
        wb.load(proto)


@pytest.mark.parametrize("make", [bomb, recursive])
def test_functions_that_explode_are_refused_before_they_do(make: Callable[[], onnx.ModelProto]) -> None:
    model = wb.load(make())
    assert len(model.layers) == 1
    with pytest.raises(wb.LimitError):
        _ = model.graph


@pytest.mark.parametrize("cut", [0, 1, 10, 200, -1])
def test_damaged_bytes_are_one_typed_error(tmp_path: Path, cut: int) -> None:
    data = wb.samples.digits().read_bytes()[:cut]
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(wb.ModelError):
        wb.load(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"hello", b"{}", b"\x08\x08", b"\x80" * 64])
def test_other_files_are_not_taken_for_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert not FORMAT.claims(path)


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(wb.ModelError, match="no such file"):
        wb.load(tmp_path / "absent.onnx")


def test_saving_is_deterministic_and_keeps_the_numbers(tmp_path: Path) -> None:
    model = wb.load(wb.samples.digits())
    images, digits = wb.samples.digit_images()
    expected = model.run({"image": images})["probabilities"]
    assert (expected.argmax(1) == digits).mean() > 0.9
    first, second = model.save(tmp_path / "a.onnx"), model.save(tmp_path / "b.onnx")
    assert first.read_bytes() == second.read_bytes()
    np.testing.assert_array_equal(wb.load(first).run({"image": images})["probabilities"], expected)


def tampered(change: Callable[[onnx.TensorProto], None]) -> onnx.ModelProto:
    proto = model_of("g (float[2, 3] x) => (float[2, 3] y) { y = Add(x, w) }")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3), np.float32), "w"))
    change(proto.graph.initializer[0])
    return proto


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.dims.append(4), r"float\[2, 3, 4\], which takes 96 bytes, but 24 are stored"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "24 bytes, but 23 are stored"),
        (lambda t: setattr(t, "raw_data", t.raw_data + b"four"), "24 bytes, but 28 are stored"),
        (lambda t: t.ClearField("raw_data"), "6 elements, but 0 are stored"),
        (lambda t: t.dims.__setitem__(0, -2), "impossible shape"),
        (lambda t: t.dims.__setitem__(0, 1 << 40), "tensor_elements"),
        (lambda t: setattr(t, "data_type", 0), "does not say its dtype"),
        (lambda t: setattr(t, "data_type", 99), "unknown dtype 99"),
        (lambda t: setattr(t, "data_type", TensorProto.STRING), "strings cannot be stored as bytes"),
    ],
)
def test_a_tensor_that_does_not_hold_what_it_says_is_refused_at_once(
    change: Callable[[onnx.TensorProto], None], says: str
) -> None:
    with pytest.raises(wb.errors.ModelError, match=says):
        wb.load(tampered(change))


@pytest.mark.parametrize("name", ["FLOAT", "DOUBLE", "INT64", "UINT64", "INT8", "BOOL", "FLOAT16", "INT4", "COMPLEX64"])
def test_tensors_are_accepted_in_every_field_that_onnx_has_for_them(name: str) -> None:
    proto = model_of("g (float[3] x) => (float[3] y) { y = Relu(x) }")
    tensor = helper.make_tensor("w", getattr(TensorProto, name), [3], [1, 0, 1])
    proto.graph.initializer.append(tensor)
    assert wb.load(proto).inputs[0].name == "x"


def test_a_negative_size_is_a_dynamic_dimension() -> None:
    proto = model_of("g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    model = wb.load(proto)
    assert model.inputs[0].shape == (None, 3)
    assert model.run({"x": np.ones((5, 3), np.float32)})["y"].shape == (5, 3)


@pytest.mark.parametrize(
    ("node", "weight"),
    [
        ("Gemm(x, w)", np.ones((3, 3), np.uint8)),
        ("Conv(x, w)", np.ones(32, np.float32)),
        ("Conv(x, w)", np.ones((1, 1, 2, 2), np.float32)),
    ],
)
def test_inputs_that_do_not_fit_their_operator_are_named_when_planned(node: str, weight: np.ndarray) -> None:
    proto = model_of(f"g (float[1, 1, 3] x) => (float[1, 1, 3] y) {{ y = {node} }}")
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    with pytest.raises(wb.errors.ModelError, match=f"{node[:4]}.*do not fit together"):
        wb.load(proto).plan("nnef")


def test_an_attribute_without_a_type_is_refused_at_once() -> None:
    proto = model_of("g (float[2, 3] x) => (float[2, 3] y) { y = Softmax <axis = 1> (x) }")
    proto.graph.node[0].attribute[0].ClearField("type")
    with pytest.raises(wb.errors.ModelError, match="'axis' has no type"):
        wb.load(proto)


def test_a_function_that_contradicts_itself_is_refused_at_once() -> None:
    text = """<ir_version: 10, opset_import: ["" : 17, "mine" : 1]>
        g (float[2] x) => (float[2] y) { y = mine.twice(x) }
        <domain: "mine", opset_import: ["" : 17]> twice (v) => (r) { r = Add(v, v) }"""
    proto = parser.parse_model(text)
    proto.functions[0].node[0].input[1] = "nowhere"
    with pytest.raises(wb.errors.ModelError, match="'nowhere', which nothing before it makes"):
        wb.load(proto)


CHOICE = """g (float[2] x) => (float[2] y) { c = Constant <value_ints = [1]> ()  d = Cast <to = 9> (c)
    y = If (d) <then_branch = t () => (float[2] p) { p = Neg(x) },
        else_branch = e () => (float[2] q) { q = Exp(x) }> }"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: g.node[2].attribute.pop(0), "then_branch"),
        (
            lambda g: g.node[2].attribute[0].g.output.add().CopyFrom(g.node[2].attribute[0].g.output[0]),
            "its graph makes",
        ),
        (lambda g: g.node[0].attribute.pop(0), "0 values"),
        (lambda g: g.node[2].attribute[0].ClearField("g"), "is empty"),
    ],
)
def test_a_branch_or_constant_that_is_not_what_it_should_be_is_named(
    change: Callable[[onnx.GraphProto], object], says: str
) -> None:
    proto = model_of(CHOICE)
    assert wb.load(proto).plan("nnef").ok
    change(proto.graph)
    with pytest.raises(wb.errors.ModelError, match=says):
        wb.load(proto).plan("nnef")


def test_an_attribute_that_is_no_text_is_a_refusal() -> None:
    proto = model_of(
        'g (float[1, 1, 4] x) => (float[1, 1, 4] y) { y = MaxPool <kernel_shape = [1], auto_pad = "VALID"> (x) }'
    )
    next(entry for entry in proto.graph.node[0].attribute if entry.name == "auto_pad").s = b"V\xc9LID"
    with pytest.raises(wb.errors.ModelError, match=r"MaxPool .* 'auto_pad' is not UTF-8"):
        wb.load(proto)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("suffix", [".onnx", ".mlmodel", ".nnef.tgz"])
def test_a_pipe_is_refused_and_not_waited_for(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"model{suffix}")
    with pytest.raises(wb.errors.ModelError, match="a pipe or a device"):
        wb.load(tmp_path / f"model{suffix}")


def test_operators_that_another_domain_has_deprecated_are_named_not_misread() -> None:
    """``TreeEnsembleRegressor`` is deprecated in ``ai.onnx.ml`` 5; files of version 3 have it."""
    tree = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], name="tree", domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    graph = helper.make_graph(
        [tree],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = wb.load(helper.make_model(graph, opset_imports=imports))
    assert model.run({"x": np.float32([[0.6, 0]])})["y"].item() == 2
    (refusal,) = model.plan("coreml").refusals
    assert refusal.operator == "ai.onnx.ml.TreeEnsembleRegressor"
