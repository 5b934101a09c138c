"""The written program as a whole: provenance through the passes, precision, determinism, and no traces elsewhere."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

import workbench as wb
from tests.formats.coreml.writing import drafted, operators_of, run, run_written, written
from workbench.document import Document, TensorLink
from workbench.errors import Cancelled
from workbench.formats.coreml import toolkit
from workbench.hub import OPSET

RNG = np.random.default_rng(4)


def network() -> onnx.ModelProto:
    """Conv + BatchNorm (which fuse), Relu, a second pair, GELU as exporters write it, a matrix product."""
    constants = {
        "w1": RNG.standard_normal((4, 3, 3, 3)), "w2": RNG.standard_normal((4, 4, 1, 1)), "half": np.asarray(0.5),
        "one": np.asarray(1.0), "root": np.asarray(1.4142135), "k": RNG.standard_normal((6, 5)),
        **{name: RNG.uniform(0.5, 1.5, 4) for name in ("g", "b", "m", "v")},
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "g", "b", "m", "v"], ["n1"], name="bn1"),
        helper.make_node("Relu", ["n1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2"),
        helper.make_node("BatchNormalization", ["c2", "g", "b", "m", "v"], ["n2"], name="bn2"),
        helper.make_node("Identity", ["n2"], ["i"], name="identity"),
        helper.make_node("Div", ["i", "root"], ["g1"], name="gelu_div"),
        helper.make_node("Erf", ["g1"], ["g2"], name="gelu_erf"),
        helper.make_node("Add", ["g2", "one"], ["g3"], name="gelu_add"),
        helper.make_node("Mul", ["i", "g3"], ["g4"], name="gelu_mul"),
        helper.make_node("Mul", ["g4", "half"], ["g5"], name="gelu_half"),
        helper.make_node("MatMul", ["g5", "k"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 5, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 5, 5])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


NETWORK = network()
FEEDS = {"x": RNG.standard_normal((1, 3, 5, 6)).astype(np.float32)}


def files(document: Document, folder: Path, name: str) -> dict[str, bytes]:
    path = folder / f"{name}.mlpackage"
    document.write(path)
    return {str(item.relative_to(path)): item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file()}


def test_provenance_survives_fusion() -> None:
    document = written(NETWORK)
    provenance = document.provenance
    assert provenance is not None
    assert operators_of(document) == ["conv", "relu", "conv", "gelu", "matmul"]
    assert dict(provenance.layers) == {
        "n1": ("conv1", "bn1"),
        "r1": ("relu",),
        "n2": ("conv2", "bn2"),
        "g5": ("identity", "gelu_div", "gelu_erf", "gelu_add", "gelu_mul", "gelu_half"),
        "y": ("product",),
    }
    assert dict(provenance.tensors) == {name: TensorLink(name) for name in ("x", "n1", "r1", "n2", "g5", "y")}
    assert set(provenance.layers) == {layer.name for layer in document.layers}


def test_linked_tensors_hold_the_values_of_their_sources() -> None:
    """Every link that the record claims, tapped on both sides."""
    for precision, tolerance in (("fp32", 1e-4), ("fp16", 2e-2)):
        document = written(NETWORK, precision=precision)
        assert document.provenance is not None
        links = document.provenance.tensors
        source = onnx.shape_inference.infer_shapes(NETWORK)
        named = {value.name: value for value in source.graph.value_info}
        source.graph.output.extend(named[link.source] for link in links.values() if link.source in named)
        want = run(source, FEEDS)
        hub = document.hub()
        known = {value.name: value for node in hub.graph for value in node.outputs}
        hub.graph.outputs.extend(known[name] for name in links if name in known and not known[name].is_graph_output())
        got = run(hub, FEEDS)
        checked = [name for name in links if name in got]
        assert len(checked) >= 5
        for name in checked:
            np.testing.assert_allclose(got[name], want[links[name].source], rtol=tolerance, atol=tolerance)


def test_float16_keeps_names_and_interface() -> None:
    document = written(NETWORK, precision="fp16")
    provenance = document.provenance
    assert provenance is not None
    assert [spec.dtype for spec in (*document.inputs, *document.outputs)] == ["float32", "float32"]
    assert "float16" in document.precision_note()
    kinds = {layer.name: layer.outputs[0].dtype for layer in document.layers}
    assert kinds["n1_cast_fp16"] == kinds["g5_cast_fp16"] == "float16"
    assert provenance.layers["n1_cast_fp16"] == ("conv1", "bn1")
    assert provenance.tensors["n1_cast_fp16"] == TensorLink("n1")
    assert {layer for layers in provenance.layers.values() for layer in layers} == {
        node.name for node in NETWORK.graph.node
    }
    got, want = run_written(document, FEEDS)["y"], run(NETWORK, FEEDS)["y"]
    difference = np.abs(got - want).max() / np.abs(want).max()
    assert 1e-6 < difference < 1e-2  # rounded, and no more than rounded


def test_mixed_keeps_the_named_layers_in_float32() -> None:
    """``conv2`` is fused into its batch norm, and is kept all the same."""
    document = written(NETWORK, precision="mixed", keep_fp32=["conv2", "product"])
    kinds = {layer.name: layer.outputs[0].dtype for layer in document.layers if layer.operator != "cast"}
    assert kinds["n2"] == kinds["y"] == "float32"
    assert kinds["n1_cast_fp16"] == kinds["g5_cast_fp16"] == "float16"


def test_mixed_keeps_the_layers_that_a_function_chooses() -> None:
    """One that no output needs may be chosen too; the plan has the names."""
    text = """agraph (float[2, 3] x) => (float[2, 3] y) {
        [first] a = Exp(x)
        [unused] b = Sin(a)
        [last] y = Tanh(a)
    }"""
    model = wb.load(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}'))
    plan = model.plan("coreml", precision="mixed", keep_fp32=lambda layer: layer.operator != "Tanh-13")
    assert plan.options["keep_fp32"] == ["first", "unused"]
    converted = model.convert("coreml", precision="mixed", keep_fp32=lambda layer: layer.operator != "Tanh-13")
    kinds = {layer.operator: layer.outputs[0].dtype for layer in converted.layers if layer.operator != "cast"}
    assert kinds == {"exp": "float32", "tanh": "float16"}


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18", "iOS26", "macOS14"])
def test_every_target(target: str) -> None:
    document: Any = written(NETWORK, target=target)
    expected = {"iOS15": 6, "iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10, "macOS14": 8}
    assert document.specification == expected[target]
    np.testing.assert_allclose(run_written(document, FEEDS)["y"], run(NETWORK, FEEDS)["y"], rtol=1e-4, atol=1e-4)


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    first = files(written(NETWORK, precision="fp16"), tmp_path, "first")
    second = files(written(NETWORK, precision="fp16"), tmp_path, "second")
    assert first == second
    assert len(first) == 3  # manifest, specification, weights


def test_coremltools_reads_the_package(tmp_path: Path) -> None:
    path = tmp_path / "network.mlpackage"
    written(NETWORK).write(path)
    with toolkit.session():
        model = toolkit.coremltools().models.MLModel(str(path), skip_model_load=True)
        load = toolkit.submodule("converters.mil.frontend.milproto.load").load
        program = load(model.get_spec(), 8, model.weights_dir)
    operators = [operation.op_type for operation in program.functions["main"].operations]
    assert [name for name in operators if name != "const"] == ["conv", "relu", "conv", "gelu", "matmul"]


def test_the_package_lives_as_long_as_its_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    document = written(NETWORK)
    assert len(list(tmp_path.iterdir())) == 1
    del document
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_cancelling_between_passes_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[str] = []

    def cancel(stage: str, share: float) -> None:
        assert 0 <= share <= 1
        seen.append(stage)
        if len(seen) == 5:
            raise Cancelled("enough")

    made = drafted(NETWORK)
    with pytest.raises(Cancelled):
        made.finish(cancel)
    assert len(set(seen)) > 2  # it is asked between passes, not once
    assert not list(tmp_path.iterdir())
    assert operators_of(written(NETWORK))  # the builder is usable


def test_progress_goes_up_to_one() -> None:
    shares: list[float] = []
    drafted(NETWORK).finish(lambda stage, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_no_state_is_left_in_the_builder() -> None:
    builder: Any = toolkit.submodule("converters.mil.mil.builder")
    block: Any = toolkit.submodule("converters.mil.mil.block")
    with toolkit.session():
        pass
    before = dict(builder.Builder.name_count)
    with pytest.raises(ZeroDivisionError), toolkit.session():
        function = toolkit.mil().Function({}, toolkit.coremltools().target.iOS17)
        function.__enter__()
        raise ZeroDivisionError
    drafted(NETWORK)
    assert dict(builder.Builder.name_count) == before
    assert block.BLOCK_STACK == []


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("coremltools").level
    written(NETWORK, precision="fp16")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert logging.getLogger("coremltools").level == level


def test_importing_coremltools_is_quiet_and_late() -> None:
    import subprocess

    code = (
        "import sys, workbench.formats.coreml.write as write\n"
        "assert 'coremltools' not in sys.modules\n"
        "from workbench.formats.coreml import toolkit\n"
        "toolkit.model_pb2()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_two_threads_at_once() -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(operators_of(written(NETWORK)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["conv", "relu", "conv", "gelu", "matmul"]] * 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_names_that_the_builder_likes_too(precision: str) -> None:
    """Tensors named as coremltools names its own constants and casts keep their names, links and values."""
    names = ["x", "conv_pad_0", "cast_0", "relu_0", "x_to_fp16", "conv_pad_0_cast_fp16", "y"]
    nodes = [
        helper.make_node("Relu" if index % 2 else "Abs", [before], [after], name=f"layer{index}")
        for index, (before, after) in enumerate(pairwise(names))
    ]
    nodes[0] = helper.make_node("Conv", ["x", "w"], ["conv_pad_0"], name="layer0", pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        nodes,
        "names",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 5, 5])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names[1:]],
        [onnx.numpy_helper.from_array(RNG.standard_normal((2, 2, 3, 3)).astype(np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    document = written(proto, precision=precision)
    assert [spec.name for spec in document.outputs] == names[1:]
    assert document.provenance is not None
    assert all(document.provenance.tensors[name] == TensorLink(name) for name in names[1:])
    feeds = {"x": RNG.standard_normal((1, 2, 5, 5)).astype(np.float32)}
    want, got = run(proto, feeds), run_written(document, feeds)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5 if precision == "fp32" else 2e-2, atol=1e-2)
    outputs = [spec.name for layer in document.layers for spec in layer.outputs]
    assert len(outputs) == len(set(outputs))


def test_cancelling_within_the_float16_pass() -> None:
    calls: list[str] = []

    def cancel(stage: str, share: float) -> None:
        calls.append(stage)
        if calls.count("optimising: float16") == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        drafted(NETWORK, precision="fp16").finish(cancel)
    assert calls[-1] == "optimising: float16"
    assert operators_of(written(NETWORK))[0] == "conv"  # nothing is left behind
