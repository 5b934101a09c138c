"""Quantised constants stay stored as integers: small packages, the numbers of the folded route, each layer known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import workbench as wb
from tests.formats.coreml.writing import Array, operators_of, prepared, run, run_written, written
from workbench.hub.stored import Stored

RNG = np.random.default_rng(12)
ROWS, COLUMNS = 64, 96
AFFINE, BLOCKWISE = "constexpr_affine_dequantize", "constexpr_blockwise_shift_scale"


def integers(kind: str, *shape: int) -> Array:
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256), "int2": (-2, 2)}[kind]
    return RNG.integers(low, high, shape).astype(getattr(ml_dtypes, kind, kind))


def scales(*shape: int, dtype: str = "float32") -> Array:
    return (RNG.random(shape) * 0.02 + 0.001).astype(dtype)


@dataclass(frozen=True)
class Case:
    """Nodes that make the constant ``w`` [64, 96] of constants.

    Attributes:
        held: the operators that hold it for iOS17 and for iOS18; empty where it is computed.
    """

    name: str
    constants: dict[str, Array]
    nodes: tuple[onnx.NodeProto, ...]
    held: tuple[str, str] = (AFFINE, BLOCKWISE)

    def __str__(self) -> str:
        return self.name

    def model(self) -> onnx.ModelProto:
        """The constant times a matrix that is fed."""
        product = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
        return graph([*self.nodes, product], self.constants, ROWS, COLUMNS)


def graph(nodes: list[onnx.NodeProto], constants: dict[str, Array], rows: int, columns: int) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, columns])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", 25), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=11)


def dequantised(name: str, data: Array, scale: Array, zero: Array | None = None, **keywords: Any) -> Case:
    held = keywords.pop("held", (AFFINE, BLOCKWISE))
    constants = {"q": data, "s": scale, **({} if zero is None else {"z": zero})}
    node = helper.make_node("DequantizeLinear", list(constants), ["w"], name="dequantize", **keywords)
    return Case(name, constants, (node,), held)


NEITHER, NEWER = ("", ""), ("", BLOCKWISE)
SHAPE = (ROWS, COLUMNS)
CASES = [
    dequantised("int8", integers("int8", *SHAPE), scales()),
    dequantised("uint8 with a zero point", integers("uint8", *SHAPE), scales(), np.uint8(131)),
    dequantised("int8 by column", integers("int8", *SHAPE), scales(COLUMNS), integers("int8", COLUMNS), axis=1),
    dequantised("uint8 by row", integers("uint8", *SHAPE), scales(ROWS), integers("uint8", ROWS), axis=0),
    dequantised("int4 by row", integers("int4", *SHAPE), scales(ROWS), axis=0),
    dequantised("uint4 by column", integers("uint4", *SHAPE), scales(COLUMNS), integers("uint4", COLUMNS), axis=-1),
    dequantised("int4 in blocks", integers("int4", *SHAPE), scales(4, COLUMNS), axis=0, block_size=16, held=NEWER),
    dequantised("uint4 in blocks", integers("uint4", *SHAPE), scales(ROWS, 3), integers("uint4", ROWS, 3), axis=1,
                block_size=32, held=NEWER),
    dequantised("int2 by row", integers("int2", *SHAPE), scales(ROWS), axis=0),
    dequantised("int8 in blocks that do not go up", integers("int8", *SHAPE), scales(5, COLUMNS), axis=0,
                block_size=15, held=NEITHER),
    dequantised("int32", RNG.integers(-9999, 9999, SHAPE).astype(np.int32), scales(), held=NEITHER),
    Case("cast and scaled", {"q": integers("int8", *SHAPE), "s": scales(1, COLUMNS)}, (
        helper.make_node("Cast", ["q"], ["c"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "s"], ["w"], name="scale"),
    )),
    Case("cast, shifted, scaled and turned",
         {"q": integers("uint8", COLUMNS, ROWS), "z": np.float32(120), "s": scales(COLUMNS, 1)}, (
        helper.make_node("Cast", ["q"], ["c"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["c", "z"], ["d"], name="shift"),
        helper.make_node("Mul", ["s", "d"], ["m"], name="scale"),
        helper.make_node("Transpose", ["m"], ["w"], name="turn", perm=[1, 0]),
    )),
    Case("scaled twice", {"q": integers("int8", *SHAPE), "s": scales(), "t": scales(COLUMNS)}, (
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"], name="dequantize"),
        helper.make_node("Mul", ["d", "t"], ["w"], name="scale"),
    ), NEITHER),
    Case("shifted by a half", {"q": integers("int8", *SHAPE), "z": np.float32(0.5)}, (
        helper.make_node("Cast", ["q"], ["c"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["c", "z"], ["w"], name="shift"),
    ), NEITHER),
]  # fmt: skip
FEEDS = {"x": RNG.standard_normal((3, ROWS)).astype(np.float32)}


def folded(proto: onnx.ModelProto) -> Array:
    """What onnxruntime makes of the constant."""
    alone = onnx.ModelProto()
    alone.CopyFrom(proto)
    del alone.graph.output[:]
    alone.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, SHAPE))
    return run(alone, FEEDS)["w"]


@pytest.mark.parametrize("target", ["iOS15", "iOS17", "iOS18"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_stays_as_it_is_stored(case: Case, target: str) -> None:
    """Read back it has the very bits of the constant that onnxruntime computes."""
    proto = case.model()
    document = written(proto, target=target)
    held = {"iOS15": "", "iOS17": case.held[0], "iOS18": case.held[1]}[target]
    assert [name for name in operators_of(document) if name.startswith("constexpr_")] == ([held] if held else [])
    got = run_written(document, FEEDS)["y"]
    want = folded(proto)
    product = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[3, {ROWS}] x, float[{ROWS}, {COLUMNS}] w) '
        f"=> (float[3, {COLUMNS}] y) {{ y = MatMul(x, w) }}"
    )
    np.testing.assert_array_equal(got, run(product, {**FEEDS, "w": want})["y"])
    weights = document.weights()
    assert document.provenance is not None
    if held:
        (name,) = (name for name, load in weights.items() if load().shape == SHAPE)
        np.testing.assert_array_equal(weights[name](), want)
        assert set(document.provenance.layers[name]) == {node.name for node in case.nodes}


def test_the_array_of_a_stored_constant_is_what_onnxruntime_computes() -> None:
    """Of every form, float16 and numbers beyond it among them."""
    for case in CASES:
        hub, _ = prepared(case.model())
        (node,) = hub.model.graph
        tensor = node.inputs[1].const_value  # type: ignore[union-attr]
        assert isinstance(tensor, Stored) == (case.held != NEITHER), case.name
        np.testing.assert_array_equal(tensor.numpy(), folded(case.model()), err_msg=case.name)


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def packed(weights: Array) -> Array:
    """Numbers of four bits, [N, blocks, size], two to a byte."""
    return (weights[..., ::2] | (weights[..., 1::2] << 4)).astype(np.uint8)


@dataclass(frozen=True)
class Large:
    """A model of 4-bit weights in the form of an exporter."""

    name: str
    node: onnx.NodeProto
    constants: dict[str, Array]
    more: tuple[onnx.NodeProto, ...] = ()
    feeds: dict[str, Array] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


N, K, BLOCK = 512, 1024, 64
LARGE = [
    Large(
        "MatMulNBits",
        helper.make_node("MatMulNBits", ["x", "q", "s", "z"], ["y"], name="product", domain="com.microsoft", K=K, N=N,
                         bits=4, block_size=BLOCK),
        {"q": packed(RNG.integers(0, 16, (N, K // BLOCK, BLOCK))), "s": scales(N, K // BLOCK),
         "z": packed(RNG.integers(0, 16, (N, K // BLOCK)))},
    ),
    Large(
        "MatMulNBits without zero points",
        helper.make_node("MatMulNBits", ["x", "q", "s"], ["y"], name="product", domain="com.microsoft", K=K, N=N,
                         bits=4, block_size=BLOCK),
        {"q": packed(RNG.integers(0, 16, (N, K // BLOCK, BLOCK))), "s": scales(N, K // BLOCK)},
    ),
    Large(
        "DequantizeLinear and Gemm",
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], name="dequantize", axis=1, block_size=BLOCK),
        {"q": integers("int4", N, K), "s": scales(N, K // BLOCK), "c": scales(N)},
        (helper.make_node("Gemm", ["x", "w", "c"], ["y"], name="product", transB=1),),
    ),
    Large(
        "Gemm of what is stored the other way",
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], name="dequantize", axis=0, block_size=BLOCK),
        {"q": integers("int4", K, N), "s": scales(K // BLOCK, N), "c": scales(N)},
        (helper.make_node("Gemm", ["x", "w", "c"], ["y"], name="product"),),
    ),
]  # fmt: skip


@pytest.mark.parametrize("large", LARGE, ids=str)
def test_the_package_of_a_model_of_four_bits_is_an_eighth_of_the_one_of_floats(large: Large, tmp_path: Path) -> None:
    proto = graph([large.node, *large.more], large.constants, K, N)
    model = wb.load(proto)
    small = wb.load(model.convert("coreml", target="iOS18").save(tmp_path / "small.mlpackage"))
    plain = model.convert("coreml", target="iOS15").save(tmp_path / "plain.mlpackage")
    assert size_of(tmp_path / "small.mlpackage") < size_of(plain) / 6  # an eighth, the scales, and the description
    report = wb.compare(model, small)
    assert report.ok
    feeds = {"x": RNG.standard_normal((3, K)).astype(np.float32)}
    (got,), (want,) = small.run(feeds).values(), wb.load(plain).run(feeds).values()
    np.testing.assert_array_equal(got, want)


def test_rows_of_a_stored_table_are_gathered(tmp_path: Path) -> None:
    node = helper.make_node("GatherBlockQuantized", ["q", "i", "s"], ["y"], name="rows", domain="com.microsoft",
                            block_size=32)  # fmt: skip
    constants = {"q": RNG.integers(0, 256, (300, 64)).astype(np.uint8), "s": scales(300, 4)}
    made = helper.make_graph(
        [node], "rows", [helper.make_tensor_value_info("i", TensorProto.INT32, [5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 128])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(made, opset_imports=imports, ir_version=10)
    feeds = {"i": np.asarray([0, 299, 7, 7, 100], np.int32)}
    document = written(proto, target="iOS18")
    assert operators_of(document)[0] == BLOCKWISE
    np.testing.assert_array_equal(run_written(document, feeds)["y"], run(proto, feeds)["y"])


def quantised_network(scale: float = 0.02) -> onnx.ModelProto:
    """Activations, a kernel by channel and a bias, each quantised, as static quantisation writes them."""
    constants = {
        "s": np.float32(scale), "z": np.uint8(120), "k": integers("int8", 16, 8, 3, 3), "ks": scales(16),
        "kz": np.zeros(16, np.int8), "b": RNG.integers(-500, 500, 16).astype(np.int32), "bs": scales(16),
        "t": np.float32(0.05), "tz": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="quantize x"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="dequantize x"),
        helper.make_node("DequantizeLinear", ["k", "ks", "kz"], ["kd"], name="dequantize k", axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], name="dequantize b", axis=0),
        helper.make_node("Conv", ["xd", "kd", "bd"], ["c"], name="conv"),
        helper.make_node("QuantizeLinear", ["c", "t", "tz"], ["cq"], name="quantize c"),
        helper.make_node("DequantizeLinear", ["cq", "t", "tz"], ["y"], name="dequantize c"),
    ]
    made = helper.make_graph(
        nodes, "quantised", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 7, 7])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    ("target", "operators"),
    [
        ("iOS16", ["real_div", "round", "add", "clip"]),
        ("iOS17", ["quantize", "dequantize", AFFINE, "conv", "quantize", "dequantize"]),
        ("iOS18", ["quantize", "dequantize", BLOCKWISE, "conv", "quantize", "dequantize"]),
    ],
)
def test_activations_are_quantised_by_operators_that_the_target_has(target: str, operators: list[str]) -> None:
    model = wb.load(quantised_network())
    converted = model.convert("coreml", target=target)
    found = [layer.operator for layer in converted.layers if layer.operator != "cast"]
    assert found[: len(operators)] == operators
    report = wb.compare(model, converted)
    assert report.ok
    if target != "iOS16":
        assert {row.tensor: row.status for row in report.rows} == dict.fromkeys(["xq", "xd", "c", "cq", "y"], "ok")


@pytest.mark.parametrize(
    ("scale", "held"),
    [(2.0**-7, BLOCKWISE), (0.011, BLOCKWISE), (2.0**-20, ""), (300.0, "")],
    ids=["a power of two", "as usual", "below float16", "products beyond float16"],
)
def test_in_float16_the_scales_are_rounded_where_they_keep_their_precision(scale: float, held: str) -> None:
    case = dequantised("w", integers("int8", *SHAPE), np.float32(scale))
    document = written(case.model(), target="iOS18", precision="fp16")
    assert [name for name in operators_of(document) if name.startswith("constexpr_")] == ([held] if held else [])
    got, want = run_written(document, FEEDS)["y"], run(case.model(), FEEDS)["y"]
    if scale < 1:
        assert np.abs(got - want).max() / np.abs(want).max() < 4e-3


@pytest.mark.parametrize(("kept", "dtype"), [(["product"], "float32"), (["dequantize"], "")])
def test_a_stored_constant_goes_with_its_readers(kept: list[str], dtype: str) -> None:
    """Kept in float32 alone it is computed: what float32 makes of it is rounded once, as a constant is."""
    case = dequantised("w", integers("int8", *SHAPE), scales(COLUMNS), axis=1)
    document = written(case.model(), target="iOS18", precision="mixed", keep_fp32=kept)
    kinds = [layer.outputs[0].dtype for layer in document.layers if layer.operator == BLOCKWISE]
    assert kinds == ([dtype] if dtype else [])


def test_the_weights_that_are_stored_already_are_left_by_compression() -> None:
    stored = Case("w", *(lambda made: (made.constants, made.nodes))(
        dequantised("w", integers("int4", *SHAPE), scales(ROWS), axis=0)
    ))  # fmt: skip
    document = written(stored.model(), target="iOS18", compress="int8")
    assert operators_of(document) == [BLOCKWISE, "matmul"]
    np.testing.assert_allclose(run_written(document, FEEDS)["y"], run(stored.model(), FEEDS)["y"], rtol=1e-5, atol=1e-5)
