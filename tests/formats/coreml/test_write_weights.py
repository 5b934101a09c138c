"""The weight file: the bytes that coremltools' own writer makes, whatever the order of an array in memory."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.formats.coreml.writing import Array, operators_of, run, run_written, written
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.blob import BITS, BlobFile, BlobWriter, pack, unpack
from workbench.formats.coreml.duplicates import deduplication
from workbench.formats.coreml.export import immediate

RNG = np.random.default_rng(8)
MATRIX = RNG.standard_normal((70, 33)).astype(np.float32)
WRITERS = {
    "float32": "float",
    "float16": "fp16",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "uint16": "uint16",
}


@pytest.mark.parametrize("count", [1, 7, 64, 513])
def test_the_file_is_the_one_that_coremltools_writes(count: int, tmp_path: Path) -> None:
    arrays = {name: RNG.integers(0, 100, count).astype(name) for name in WRITERS}
    storage: Any = toolkit.submodule("libmilstoragepython")._BlobStorageWriter(str(tmp_path / "theirs.bin"))
    offsets = [
        getattr(storage, f"write_{WRITERS[name]}_data")(array.view(np.uint16) if name == "float16" else array)
        for name, array in arrays.items()
    ]
    del storage
    with BlobWriter(tmp_path / "ours.bin") as writer:
        assert [writer.write(array, name) for name, array in arrays.items()] == offsets
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "theirs.bin").read_bytes()


@pytest.mark.parametrize("dtype", ["int32", "bool"])
@pytest.mark.parametrize("shape", [(999,), (2, 500), (7, 11, 1000)])
def test_many_numbers_in_the_message_are_those_that_coremltools_puts_there(shape: tuple[int, ...], dtype: str) -> None:
    helper_module: Any = toolkit.submodule("converters.mil.backend.mil.helper")
    array = RNG.integers(-(2**31), 2**31, shape).astype(dtype)
    theirs = helper_module.create_tensor_value(array)
    assert immediate(array, helper_module.create_tensor_value, helper_module._tensor_field_by_type) == theirs


@pytest.mark.parametrize("turned", [MATRIX.T, MATRIX[::2, ::-1], np.broadcast_to(MATRIX[:1], (40, 33))])
def test_an_array_is_written_in_the_order_of_its_elements(turned: Array, tmp_path: Path) -> None:
    with BlobWriter(tmp_path / "weight.bin") as writer:
        offset = writer.write(turned, "float32")
    np.testing.assert_array_equal(BlobFile(tmp_path / "weight.bin").read(offset).data.reshape(turned.shape), turned)


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("count", [1, 8, 13])
def test_few_bits_are_packed_as_they_are_unpacked(dtype: str, count: int, tmp_path: Path) -> None:
    signed = dtype == "int4"
    values = RNG.integers(-8 if signed else 0, 8 if signed else 2 ** BITS[dtype], count).astype(
        np.int8 if signed else np.uint8
    )
    np.testing.assert_array_equal(unpack(pack(values, dtype), dtype, count), values)
    with BlobWriter(tmp_path / "weight.bin") as writer:
        offset = writer.write(values, dtype)
    np.testing.assert_array_equal(BlobFile(tmp_path / "weight.bin").read(offset).data, values)


def test_without_a_tensor_there_is_no_file(tmp_path: Path) -> None:
    with BlobWriter(tmp_path / "weight.bin"):
        pass
    assert not (tmp_path / "weight.bin").exists()


def shared(readers: int) -> onnx.ModelProto:
    """One large kernel, read several times, among others that differ from it in a bit."""
    kernel = (RNG.standard_normal((16, 16, 3, 3)) / 24).astype(np.float32)
    near = kernel.copy()
    near[-1, -1, -1, -1] = np.nextafter(near[-1, -1, -1, -1], np.float32(9))
    nodes, last = [], "x"
    for index, weight in enumerate(["k"] * readers + ["same", "near"]):
        nodes.append(helper.make_node("Conv", [last, weight], [f"c{index}"], name=f"conv{index}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh", [f"c{index}"], [f"t{index}"], name=f"tanh{index}"))
        last = f"t{index}"
    graph = helper.make_graph(
        nodes, "shared", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 6, 6])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 16, 6, 6])],
        [numpy_helper.from_array(array, name) for name, array in (("k", kernel), ("same", kernel), ("near", near))],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("readers", [1, 2, 5])
def test_a_constant_is_stored_once_and_no_other_is_taken_for_it(readers: int, precision: str, tmp_path: Path) -> None:
    """In float16 the kernel that differs in its last bit is the same one."""
    proto = shared(readers)
    document = written(proto, precision=precision)
    assert operators_of(document).count("conv") == readers + 2
    document.write(tmp_path / "shared.mlpackage")
    (file,) = tmp_path.rglob("weight.bin")
    one = 16 * 16 * 9 * (4 if precision == "fp32" else 2)
    assert file.stat().st_size // one == (2 if precision == "fp32" else 1)
    feeds = {"x": RNG.standard_normal((1, 16, 6, 6)).astype(np.float32)}
    (got,), (want,) = run_written(document, feeds).values(), run(proto, feeds).values()
    np.testing.assert_allclose(got, want, atol=1e-6 if precision == "fp32" else 2e-2)


def test_constants_are_the_same_if_all_bits_are() -> None:
    """coremltools compares with a tolerance, and a NaN with nothing."""
    ones = np.ones(200, np.float32)
    arrays = [ones, ones.copy(), ones * np.float32(1 + 2e-7), -0.0 * ones, 0.0 * ones, ones * np.nan, ones * np.nan]
    with toolkit.session():
        mil = toolkit.mil()
        function = mil.Function({}, toolkit.coremltools().target.iOS17)
        with function:
            constants = [mil.Builder.const(val=array, name=f"c{index}") for index, array in enumerate(arrays)]
        found = deduplication().find_constants([function])
    assert {constants.index(key): [constants.index(var) for var in same] for key, same in found.items()} == {
        0: [1], 2: [], 3: [], 4: [], 5: [6]
    }  # fmt: skip


def test_what_a_pass_removes_is_let_go() -> None:
    """The float32 of a weight is not kept beside its float16, though the draft knows its variable."""
    from workbench.formats.coreml import float16

    gone: list[weakref.ref[Any]] = []
    removed = float16._remove

    def watched(constant: Any) -> None:
        gone.append(weakref.ref(constant.outputs[0].val))
        removed(constant)

    float16._remove = watched
    try:
        written(shared(1), precision="fp16")
    finally:
        float16._remove = removed
    gc.collect()
    assert gone
    assert sum(array() is not None for array in gone) <= 1  # a graph may still hold what it was made with
