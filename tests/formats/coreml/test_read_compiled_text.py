"""MIL text as coremlc writes it, written by hand; and everything that is none, with the place that is wrong in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from workbench import limits
from workbench.errors import LimitError, ModelError
from workbench.formats.coreml import FORMAT, toolkit
from workbench.formats.coreml.compiled import read_compiled
from workbench.formats.coreml.compiled.elements import DTYPES
from workbench.formats.coreml.compiled.text import TextReader
from workbench.formats.coreml.read import read

HEAD = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3520.4.1"}, {"coremlc-version", "3520.5.1"}})]
{
    func main<ios17>(tensor<fp32, [2]> x) {
"""
TAIL = """        } -> (y);
}"""


def folder_of(body: str | bytes, folder: Path, metadata: Any = None) -> Path:
    """A compiled model with a text, and metadata if any is given."""
    folder.mkdir()
    (folder / "model.mil").write_bytes(body.encode() if isinstance(body, str) else body)
    if metadata is not None:
        (folder / "metadata.json").write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
    return folder


BODIES: dict[str, tuple[str, Any]] = {
    "without attributes": ("tensor<fp32, [2]> y = relu(x = x);", [0, 2]),
    "a value as an argument": ("tensor<fp32, [2]> y = mul(x = x, y = tensor<fp32, [2]>([-0x1p+0, 0x1.8p+1]));", [1, 6]),
    "decimal numbers": ("tensor<fp32, [2]> y = mul(x = x, y = fp32(2.5e-1))[name=string(\"y\")];", [-0.25, 0.5]),
    "narrow spaces": ("tensor<fp32,[2]> y=mul(x=x,y=fp32(2));", [-2, 4]),
    "wide spaces": ("tensor < fp32 , [ 2 ] >  y =\n mul ( x = x , y = fp32 ( 0x1p+1 ) ) ;", [-2, 4]),
    "names like types": (
        "fp32 string = const()[val = fp32(0x1p+1)];\n fp32 tensor = mul(x = string, y = string);\n"
        "tensor<fp32, [2]> y = mul(x = x, y = tensor);", [-4, 8]
    ),
    "a list of names": (
        "tensor<fp32, [4]> two = concat(axis = int32(0), interleave = bool(false), values = (x, x));\n"
        "tensor<fp32, [2]> y, tensor<fp32, [2]> z = split(axis = int32(0), num_splits = int32(2), x = two);", [-1, 2]
    ),
    "an operation without output": (
        "print_nothing(x = x)[name = string(\"p\")];\n tensor<fp32, [2]> y = identity(x = x);", "print_nothing"
    ),
    "blocks": (
        "bool p = const()[val = bool(true)];\n"
        "tensor<fp32, [2]> y = cond(pred = p)[name = string(\"c\")] { tensor<fp32, [2]> a = relu(x = x); } -> (a),\n"
        "  { tensor<fp32, [2]> b = exp(x = x); } -> (b);", [0, 2]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_what_the_text_may_say(name: str, tmp_path: Path) -> None:
    body, expected = BODIES[name]
    document = read(folder_of(HEAD + body + TAIL, tmp_path / "m.mlmodelc"))
    if isinstance(expected, str):
        assert [layer.operator for layer in document.layers] == [expected, "identity"]
        return
    result = wb.load(tmp_path / "m.mlmodelc").run({"x": np.asarray([-1, 2], np.float32)})
    np.testing.assert_array_equal(result["y"], np.asarray(expected, np.float32))


@pytest.mark.parametrize(("stated", "version"), [(9, 9), (True, 8), ("9", 8), (0, 8), (1 << 70, 8), (None, 8)])
def test_a_version_that_is_none_is_taken_from_the_operators(stated: Any, version: int, tmp_path: Path) -> None:
    inputs = [{"name": "x", "type": "MultiArray", "dataType": "Float32", "shape": "[2]"}]
    outputs = [{**inputs[0], "name": "y"}]
    metadata = [{"specificationVersion": stated, "inputSchema": inputs, "outputSchema": outputs}]
    body = HEAD + "tensor<fp32, [2]> y = relu(x = x);" + TAIL
    data = read_compiled(folder_of(body, tmp_path / "m.mlmodelc", metadata), "m.mlmodelc")
    assert toolkit.model_pb2().Model.FromString(data).specificationVersion == version


def test_numbers_of_every_dtype() -> None:
    literals = {
        "bool": ("true, false", [True, False]), "string": ('"a\\x41\\t", "\\\\"', ["aA\t", "\\"]),
        "fp16": ("0x1p-24, -0x1.ffcp+15", b"\x01\x00\xff\xfb"), "fp32": ("nan, -inf", [float("nan"), -np.inf]),
        "fp64": ("0x1.999999999999ap-4, 1", [0.1, 1]), "bf16": ("0x1p+0, -0x1p+0", b"\x80\x3f\x80\xbf"),
        "int8": ("-128, 127", b"\x80\x7f"), "uint8": ("0, 255", b"\x00\xff"), "int16": ("-32768, 0x10", [-32768, 16]),
        "uint16": ("65535, 0", [65535, 0]), "int32": ("-2147483648, 1", [-(2**31), 1]),
        "uint32": ("4294967295, 1", b"\xff\xff\xff\xff\x01\0\0\0"), "int64": ("-9223372036854775808, 1", [-(2**63), 1]),
        "uint64": ("18446744073709551615, 1", [-1, 1]), "int4": ("-8, 7", b"\x78"), "uint4": ("15, 1", b"\x1f"),
        "uint1": ("1, 0", b"\x01"), "uint2": ("3, 1", b"\x07"), "uint3": ("7, 1", b"\x0f"),
        "uint6": ("63, 1", b"\x7f\0"),
        "fp8e4m3fn": ("0x1p+0, -0x1p+0", b"\x38\xb8"), "fp8e5m2": ("0x1p+0, -0x1p+0", b"\x3c\xbc"),
    }  # fmt: skip
    assert literals.keys() == DTYPES.keys()
    for dtype, (text, expected) in literals.items():
        program = toolkit.mil_pb2().Program()
        value = f"const()[val = tensor<{dtype}, [2]>([{text}])];"
        TextReader((HEAD + f"tensor<{dtype}, [2]> y = {value}" + TAIL).encode(), "m").program(program)
        found = program.functions["main"].block_specializations["CoreML7"].operations[0].attributes["val"]
        tensor = found.immediateValue.tensor
        values = getattr(tensor, tensor.WhichOneof("value")).values
        assert found.type.tensorType.dataType == DTYPES[dtype]
        np.testing.assert_equal(values if isinstance(expected, bytes) else list(values), expected, err_msg=dtype)


# -- what must not happen ----------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str | bytes, str]] = {
    "cut off": (HEAD + "tensor<fp32, [2]> y = relu(", r"5:28: expected a parameter's name; found the end of the file"),
    "a string is cut off": (HEAD + 'string s = const()[val = string("ab', "5:33: the string does not end"),
    "empty": ("", "1:1: expected 'program'; found the end of the file"),
    "another text": ("version 1.0;\ngraph g(x)->(y){}", "1:1: expected 'program'; found 'version'"),
    "not UTF-8": (HEAD.encode() + b"  \xff", "5:3: the text is not UTF-8"),
    "a type is not known": (HEAD + "tensor<fp33, [2]> y = relu(x = x);" + TAIL, "5:1: the dtype 'fp33' is not known"),
    "a word is no type": (HEAD + "vector<fp32> y = relu(x = x);" + TAIL, "5:1: expected a type; found 'vector'"),
    "a shape is none": (HEAD + "tensor<fp32, [2,,]> y = relu(x = x);" + TAIL, r"5:1: the shape \[2,,\] is not"),
    "a comma is missing": (HEAD + "tensor<fp32, [2]> y = add(x = x y = x);" + TAIL, "5:33: expected ','; found 'y'"),
    "a semicolon is missing": (HEAD + "tensor<fp32, [2]> y = add(x = x)" + TAIL, "5:41: expected ';'; found '}'"),
    "a parameter twice": (HEAD + "tensor<fp32, [2]> y = add(x = x, x = x);" + TAIL, "5:34: a parameter 'x' is given"),
    "too few items": (
        HEAD + "tensor<fp32, [2]> y = add(x = x, y = tensor<fp32, [3]>([1, 2]));" + TAIL,
        "5:56: the array has 2 items; the type says 3",
    ),
    "an item is missing": (
        HEAD + "tensor<fp32, [2]> y = add(x = x, y = tensor<fp32, [2]>([1, ]));" + TAIL, "5:60: expected a value"
    ),
    "no number": (
        HEAD + "tensor<fp32, [2]> y = add(x = x, y = tensor<fp32, [2]>([1, x]));" + TAIL, "5:60: expected a number"
    ),
    "too large": (HEAD + "int8 y = const()[val = int8(300)];" + TAIL, "5:29: 300 does not fit into int8"),
    "too large for its float": (HEAD + "fp16 y = const()[val = fp16(1e5)];" + TAIL, "5:29: 100000 does not fit into"),
    "no integer": (HEAD + "int32 y = const()[val = int32(1.5)];" + TAIL, "5:31: expected an integer; found '1.5'"),
    "no truth": (HEAD + "bool y = const()[val = bool(1)];" + TAIL, "5:29: expected 'true' or 'false'"),
    "no string": (HEAD + "string y = const()[val = string(1)];" + TAIL, "5:33: expected a string"),
    "an escape": (HEAD + 'string y = const()[val = string("\\q")];' + TAIL, r"5:33: the escape \\q is not known"),
    "no weights named": (
        HEAD + "fp32 y = const()[val = fp32(BLOBFILE(offset = uint64(64)))];" + TAIL, "5:57: a BLOBFILE has a path"
    ),
    "two functions of a name": (HEAD + "} -> (x); func main<ios17>() {} -> ();}", "5:16: there are two functions"),
    "no function": ("program(1.0){}", "1:15: the program has no function"),
    "text behind the end": (HEAD + "} -> (x);} more", "5:12: expected the end of the file; found 'more'"),
    "an operator set is not known": (HEAD.replace("ios17", "ios99") + "} -> (x);}", "the operator set 'CoreML89'"),
    "nothing makes the output": (HEAD + TAIL, "makes no output 'y'"),
    "an input no interface has": ("program(1.0){func main<ios17>(string x) {} -> ();}", "'x' is of a type that no"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_texts(fault: str, tmp_path: Path) -> None:
    text, cause = FAULTS[fault]
    folder = folder_of(text, tmp_path / "m.mlmodelc")
    with pytest.raises(ModelError, match=cause) as caught:
        read(folder)
    assert str(folder) in str(caught.value)
    if cause[0].isdigit():
        assert str(caught.value).startswith(f"{folder}/model.mil:{cause.split(': ')[0]}: ")


def _nested(opening: str, middle: str, closing: str, count: int) -> str:
    return opening * count + middle + closing * count


LIMITS: dict[str, tuple[str, str]] = {
    "brackets": ("tensor<fp32, [2]> y = add(x = " + "(" * 100_000, "nesting = 200"),
    "blocks": (
        _nested("tensor<fp32, [2]> y = cond(pred = x) {", "", "} -> (x);", 40) , "blocks are nested deeper than 16"
    ),
    "types": (_nested("list<", "fp32", ", 1>", 50_000) + " y = f();", "types are nested deeper than 16"),
    "elements": (
        "fp32 y = const()[val = tensor<fp32, [999999, 999999]>([[]])];", "elements of a literal: 999,998,000,001 is"
    ),
    "operations": ("fp32 y = relu(x = x); " * 60, "operations: 51 is beyond the limit nodes"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "current", limits.Limits(nodes=50))
    text, cause = LIMITS[name]
    with pytest.raises(LimitError, match=cause):
        read(folder_of(HEAD + text + TAIL, tmp_path / "m.mlmodelc"))


def test_texts_and_metadata_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(HEAD + "tensor<fp32, [2]> y = relu(x = x);" + TAIL, tmp_path / "m.mlmodelc", "[" * 5000)
    with pytest.raises(ModelError, match=r"metadata\.json: not JSON"):
        read(folder)
    monkeypatch.setattr(limits, "current", limits.Limits(text_bytes=100))
    with pytest.raises(LimitError, match="text_bytes"):
        read(folder)


BLOB = (
    "tensor<fp32, [2]> w = const()[val = tensor<fp32, [2]>(BLOBFILE(path = string({path!r}), offset = uint64(64)))];"
    "tensor<fp32, [2]> y = add(x = x, y = w);"
).replace("{path!r}", '"{path}"')


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("@model_path/weights/weight.bin", "is missing"),
        ("@model_path/../secret.bin", "outside the model's folder"),
        ("/etc/passwd", "not inside the package"),
        ("@model_path/weights/link.bin", "symbolic link"),
    ],
)
def test_weights_stay_in_the_folder(path: str, cause: str, tmp_path: Path) -> None:
    folder = folder_of(HEAD + BLOB.replace("{path}", path) + TAIL, tmp_path / "m.mlmodelc")
    (folder / "weights").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(200))
    os.symlink(tmp_path / "secret.bin", folder / "weights/link.bin")
    with pytest.raises(ModelError, match=cause):
        read(folder).hub()


OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "network": ({"model.espresso.net": "{}", "coremldata.bin": "x"}, "from a neural network of the older form"),
    "pipeline": ({"coremldata.bin": "x", "model0/model.mil": HEAD}, "from a pipeline"),
    "other": ({"coremldata.bin": "x", "metadata.json": "[]"}, "from a model that is no ML program"),
    "pipeline by its metadata": (
        {"model.mil": HEAD + "} -> (x);}", "metadata.json": '[{"modelType": {"name": "MLModelType_pipeline"}}]'},
        "of type MLModelType_pipeline cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_compiled_models_are_refused_by_name(name: str, tmp_path: Path) -> None:
    files, cause = OTHERS[name]
    folder = tmp_path / "m.mlmodelc"
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
    assert FORMAT.claims(folder)
    with pytest.raises(ModelError, match=f"{cause}.*use the .*made from|{cause}.*use the model that") as caught:
        read(folder)
    assert str(folder) in str(caught.value)


SCHEMA = {"name": "x", "type": "MultiArray", "dataType": "Float32", "shape": "[2]"}
METADATA: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "not JSON"),
    "no list": ({}, "a list of one record"),
    "an unknown kind": ([{"inputSchema": [{**SCHEMA, "type": "Video"}]}], "'x' is of type 'Video', which is not known"),
    "an unknown dtype": ([{"inputSchema": [{**SCHEMA, "dataType": "Float3"}]}], "interface is not understood .*Float3"),
    "no shape": ([{"inputSchema": [{**SCHEMA, "shape": "[2"}]}], "interface is not understood"),
    "a size is too large": ([{"inputSchema": [{**SCHEMA, "shape": [1 << 80]}]}], "interface is not understood"),
    "no record": ([{"inputSchema": [3]}], "interface is not understood"),
    "an input that is none": ([{"inputSchema": [{**SCHEMA, "name": "z"}]}], "no input 'z'"),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_faulty_metadata(name: str, tmp_path: Path) -> None:
    metadata, cause = METADATA[name]
    folder = folder_of(HEAD + "tensor<fp32, [2]> y = relu(x = x);" + TAIL, tmp_path / "m.mlmodelc", metadata)
    with pytest.raises(ModelError, match=cause) as caught:
        read(folder)
    assert str(folder) in str(caught.value)
