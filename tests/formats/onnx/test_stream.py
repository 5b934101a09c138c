"""Large files: weights that stay in them, files written around them, and what becomes of both when files change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workbench import ModelError, load
from workbench.errors import SaveError
from workbench.formats.onnx import stream
from workbench.formats.onnx.document import OnnxDocument
from workbench.hub.on_disk import OnDisk

Array = NDArray[Any]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a file that is held open cannot be replaced")

WEIGHTS: dict[str, Array] = {
    "float32": np.arange(60, dtype=np.float32).reshape(3, 20),
    "float16": np.arange(60, dtype=np.float16),
    "float64": np.arange(30, dtype=np.float64),
    "bfloat16": np.arange(60).astype(ml_dtypes.bfloat16),
    "int64": np.arange(30),
    "uint8": np.arange(90, dtype=np.uint8),
    "bool": np.arange(90) % 3 == 0,
    "int4": (np.arange(200) % 8).astype(ml_dtypes.int4),
    "small": np.ones(3, np.float32),
    "empty": np.ones((0, 3), np.float32),
}


def weighted(weights: dict[str, Array] = WEIGHTS) -> onnx.ModelProto:
    """A model that passes every weight on, with one in a subgraph too."""
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    inner = numpy_helper.from_array(np.arange(40, dtype=np.float32), "inner")
    outputs = [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [40])]
    body = [helper.make_node("Identity", ["inner"], ["branch"])]
    result = helper.make_tensor_value_info("branch", TensorProto.FLOAT, [40])
    graphs = [helper.make_graph(body, name, [], [result], [inner]) for name in ("yes", "no")]
    nodes = [helper.make_node("If", ["x"], ["chosen"], then_branch=graphs[0], else_branch=graphs[1])]
    for tensor in tensors:
        nodes.append(helper.make_node("Identity", [tensor.name], [f"{tensor.name}_out"]))
        outputs.append(helper.make_tensor_value_info(f"{tensor.name}_out", tensor.data_type, list(tensor.dims)))
    given = [helper.make_tensor_value_info("x", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "weighted", given, outputs, tensors, doc_string="beside the weights")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model.metadata_props.add(key="behind", value="the graph")
    return model


@pytest.fixture
def all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SMALL", 60)
    monkeypatch.setattr(stream, "SMALL_FILE", 0)


def held(model: Any) -> set[str]:
    """The initializers that lie in the file."""
    initializers = model.document.model.graph.initializers
    return {name for name, value in initializers.items() if isinstance(value.const_value, OnDisk)}


@pytest.mark.usefixtures("all_is_large")
def test_weights_are_left_in_the_file_and_read_as_the_library_reads_them(tmp_path: Path) -> None:
    onnx.save(weighted(), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    assert held(model) == set(WEIGHTS) - {"int4", "small", "empty"}, "int4 shares its bytes, two are small"
    for name, value in model.document.model.graph.initializers.items():  # type: ignore[attr-defined]
        assert value.const_value.dtype is ir.DataType.from_numpy(WEIGHTS[name].dtype)
        np.testing.assert_array_equal(value.const_value.numpy(), WEIGHTS[name], strict=True)


@pytest.mark.usefixtures("all_is_large")
@pytest.mark.parametrize("external", [False, True])
def test_the_written_file_is_the_librarys(external: bool, tmp_path: Path) -> None:
    proto = weighted()
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=external, size_threshold=0)
    model = load(tmp_path / "m.onnx")
    written = model.save(tmp_path / "again.onnx")
    whole = model.document.model.clone()  # type: ignore[attr-defined]
    for graph in whole.graphs():
        for value in graph.initializers.values():
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    assert written.read_bytes() == ir.to_proto(whole).SerializeToString(deterministic=True)
    onnx.checker.check_model(onnx.load(written))


@pytest.mark.usefixtures("all_is_large")
def test_a_file_that_was_replaced_or_deleted_still_gives_its_weights(tmp_path: Path) -> None:
    path, weights = tmp_path / "m.onnx", {name: WEIGHTS[name] for name in ("float32", "int64", "bool")}
    onnx.save(weighted(weights), path)
    model = load(path)
    other = weighted({name: array[::-1].copy() for name, array in weights.items()})
    onnx.save(other, tmp_path / "other.onnx")
    os.replace(tmp_path / "other.onnx", path)
    path.unlink()
    again = load(model.save(path))
    for name, value in again.run({"x": np.asarray(True)}).items():
        if name != "chosen":
            np.testing.assert_array_equal(value, WEIGHTS[name.removesuffix("_out")])


@pytest.mark.usefixtures("all_is_large")
@pytest.mark.parametrize("use", ["run", "save", "convert"])
def test_a_file_that_was_written_to_is_an_error(use: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(weighted({"float32": WEIGHTS["float32"]}), path)
    model = load(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"m\.onnx: the file was changed after the model was loaded; load it again"):
        if use == "run":
            model.run({"x": np.asarray(True)})
        else:
            (model.convert("nnef") if use == "convert" else model).save(tmp_path / "again")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.onnx"], "nothing was left behind"


def _with_field(number: int, payload: bytes = b"\x01") -> Any:
    """A model whose graph begins with a field of that number."""
    proto = weighted({"float32": WEIGHTS["float32"]})
    graph = bytes([number << 3 | 2, len(payload)]) + payload + proto.graph.SerializeToString()
    proto.ClearField("graph")
    length = len(graph)
    return proto.SerializeToString() + b"\x3a" + bytes([length & 0x7F | 0x80, length >> 7]) + graph


def _twice() -> Any:
    data = weighted({"float32": WEIGHTS["float32"]}).SerializeToString()
    return data + data


def _same_name() -> Any:
    proto = weighted({"float32": WEIGHTS["float32"]})
    proto.graph.initializer.append(proto.graph.initializer[0])
    return proto.SerializeToString()


ODD = {
    "cut off": weighted({"float32": WEIGHTS["float32"]}).SerializeToString()[:-40],
    "two graphs": _twice(),
    "two tensors of a name": _same_name(),
    "no message": b"\x08\x07" + b"\xff" * 400,
    "empty": b"",
}


@pytest.mark.usefixtures("all_is_large")
@pytest.mark.parametrize("name", ODD)
def test_what_is_of_no_usual_form_is_left_to_the_library(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(ODD[name])
    assert stream.skeleton(tmp_path / "m.onnx") is None


@pytest.mark.usefixtures("all_is_large")
def test_unknown_fields_are_no_reason_to_read_everything(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_with_field(12, b""))
    found = stream.skeleton(tmp_path / "m.onnx")
    assert found is not None
    assert WEIGHTS["float32"].tobytes() not in found.message


@pytest.mark.usefixtures("all_is_large")
@pytest.mark.parametrize("damage", ["shape", "location"])
def test_a_tensor_that_says_of_itself_that_it_lies_elsewhere_is_refused(damage: str, tmp_path: Path) -> None:
    proto = weighted({"float32": WEIGHTS["float32"]})
    if damage == "shape":
        proto.graph.initializer[0].dims[0] = 4
    else:
        proto.graph.initializer[0].data_location = TensorProto.EXTERNAL
        proto.graph.initializer[0].external_data.add(key="location", value="../m.onnx")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"float32"):
        load(tmp_path / "m.onnx")


def test_texts_that_cannot_be_written_are_an_error_of_ours(tmp_path: Path) -> None:
    """onnx-ir neither knows how many bytes they have nor writes them, where they are read late."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17]> g (int64[1] i) => (string[1] y) { y = Gather(w, i) }'
    )
    proto.graph.initializer.append(onnx.helper.make_tensor("w", onnx.TensorProto.STRING, [2], [b"a", b"bc"]))
    model = ir.from_proto(proto)
    texts = model.graph.initializers["w"].const_value
    assert texts is not None
    model.graph.initializers["w"].const_value = ir.LazyTensor(
        lambda: texts, dtype=ir.DataType.STRING, shape=ir.Shape([2]), name="w"
    )
    with pytest.raises(SaveError, match="cannot be said in ONNX"):
        OnnxDocument(model, "late").write(tmp_path / "late.onnx")
