"""Dtypes that NNEF has no name for, carried exactly; scattering, bits, sorting: against numpy and ml_dtypes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.single_node import model_around
from workbench import ConversionError, Model, Verdict, load

Array = NDArray[Any]

FLOATS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float4e2m1": ml_dtypes.float4_e2m1fn,
}


def model_of(operator: str, inputs: dict[str, Array], outputs: int = 1, **more: Any) -> Model:
    """A model of one node; ``constants`` follow its computed inputs, ``opset`` is 25 unless told otherwise."""
    constants, opset = more.pop("constants", {}), more.pop("opset", 25)
    names = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(operator, [*inputs, *constants], names, **more)
    return load(model_around(node, inputs, constants, opset=opset))


def hard_to_round(dtype: Any) -> Array:
    """float32 values on, halfway between, and next to halfway between the values of a type; far ones; infinities."""
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 2**32, 3000, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        values = np.unique(np.concatenate([anything, rng.normal(size=2000)]).astype(dtype).astype(np.float32))
    values = values[np.isfinite(values)]
    halves = ((values[1:].astype("f8") + values[:-1].astype("f8")) / 2).astype("f4")
    top = float(ml_dtypes.finfo(dtype).max)
    with np.errstate(over="ignore"):
        edges = np.asarray([0, -0.0, np.inf, -np.inf, top, top * 1.01, top * 1.1, -top * 1.5, 1e30], "f4")
    beside = (np.nextafter(halves, np.float32(sign * np.inf)) for sign in (1, -1))
    return np.concatenate([anything, values, halves, *beside, edges])


@pytest.mark.parametrize("name", FLOATS)
def test_cast_rounds_exactly(name: str) -> None:
    dtype = np.dtype(FLOATS[name])
    x = hard_to_round(dtype)
    x = x[~np.isnan(x)] if name == "float4e2m1" else x
    to = helper.np_dtype_to_tensor_dtype(dtype)
    attributes = {"saturate": 0} if name.startswith("float8") else {}
    source = model_of("Cast", {"x": x}, to=to, **attributes)
    assert [row.verdict for row in source.plan("nnef")] == [Verdict.EXACT]
    converted = source.convert("nnef")
    assert converted.provenance is not None
    assert [spec.dtype for spec in converted.provenance.outputs.values()] == [name]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(*converted.run({"x": x}).values(), x.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("name", [name for name in FLOATS if name.startswith("float8")])
def test_cast_saturates(name: str) -> None:
    dtype = np.dtype(FLOATS[name])
    top = float(ml_dtypes.finfo(dtype).max)
    x = np.asarray([np.inf, -np.inf, 1e9, -1e9, top, np.nan], "f4")
    source = model_of("Cast", {"x": x}, to=helper.np_dtype_to_tensor_dtype(dtype))
    (found,) = source.convert("nnef").run({"x": x}).values()
    np.testing.assert_array_equal(found, np.asarray([top, -top, top, -top, top, np.nan], "f4"))


def test_wider_and_back() -> None:
    x = np.asarray([1.5, -2.25, 65504], np.float16)
    (found,) = model_of("Cast", {"x": x}, to=TensorProto.DOUBLE).convert("nnef").run({"x": x}).values()
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, x.astype(np.float64))
    y = np.asarray([0.1, 1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e300], np.float64)
    (found,) = model_of("Cast", {"x": y}, to=TensorProto.FLOAT).convert("nnef").run({"x": y}).values()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, y.astype(np.float32))


def test_bfloat16_is_rounded_after_each_operator() -> None:
    x, y = (np.random.default_rng(seed).normal(size=500).astype(ml_dtypes.bfloat16) for seed in (1, 2))
    source = model_of("Mul", {"x": x, "y": y})
    assert [row.verdict for row in source.plan("nnef")] == [Verdict.EXACT]
    (found,) = source.convert("nnef").run({"x": x, "y": y}).values()
    np.testing.assert_array_equal(found, (x * y).astype(np.float32))


@dataclass(frozen=True)
class Case:
    """One node and what it makes."""

    operator: str
    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]
    constants: tuple[Array, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


def every(dtype: str) -> Array:
    bounds = np.iinfo(dtype)
    return np.linspace(bounds.min, bounds.max, 256).round().astype(dtype)


def pairs(operator: str, function: Any, dtype: str, **attributes: Any) -> Case:
    x = every(dtype)
    y = np.random.default_rng(3).permutation(x)
    with np.errstate(all="ignore"):
        return Case(operator, (x, y), (function(x, y),), attributes=attributes)


def scattered(reduction: str) -> Array:
    data = np.arange(24, dtype="f4").reshape(4, 6)
    function = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
    function.at(data, (_ROWS, np.broadcast_to(np.arange(3), _ROWS.shape)), _NEW)
    return data


_ROWS = np.asarray([[0, 1, 3], [0, 2, 3]])
_NEW = np.asarray([[5, -6, 7], [50, 60, -70]], "f4")
_DATA = np.arange(24, dtype="f4").reshape(4, 6)
_WRITTEN = _DATA.copy()
_WRITTEN[[[0, 1], [2, 3]], [[5, 4], [3, 2]]] = np.asarray([[1, np.inf], [2, -3]])
_PLACES = np.asarray([[[0, 5], [1, 4]], [[2, 3], [-1, 2]]])
_NAN_FREE = np.asarray([[3, 1, 3, 2], [0, 0, -1, 5]], "f4")

CASES: dict[str, Case] = {
    **{f"Add {dtype}": pairs("Add", np.add, dtype) for dtype in ("int8", "uint8", "int16", "uint16")},
    **{f"Sub {dtype}": pairs("Sub", np.subtract, dtype) for dtype in ("int8", "uint8", "int16", "uint16")},
    **{f"Mul {dtype}": pairs("Mul", np.multiply, dtype) for dtype in ("int8", "uint8", "int16", "uint16")},
    **{f"And {dtype}": pairs("BitwiseAnd", np.bitwise_and, dtype) for dtype in ("int8", "uint16")},
    **{f"Or {dtype}": pairs("BitwiseOr", np.bitwise_or, dtype) for dtype in ("int16", "uint8")},
    **{f"Xor {dtype}": pairs("BitwiseXor", np.bitwise_xor, dtype) for dtype in ("int8", "int16", "uint8")},
    **{f"Not {dtype}": Case("BitwiseNot", (every(dtype),), (~every(dtype),)) for dtype in ("int8", "uint16")},
    **{
        f"BitShift {way}": Case(
            "BitShift", (every("uint16"), _SHIFTS), (function(every("uint16"), _SHIFTS),), attributes={"direction": way}
        )
        for _SHIFTS in [np.arange(256, dtype="uint16") % 16]
        for way, function in {"LEFT": np.left_shift, "RIGHT": np.right_shift}.items()
    },
    "Cast int32 to int8": Case(
        "Cast", (np.arange(-300, 300, dtype="i4"),), (np.arange(-300, 300).astype("i1"),), (), {"to": TensorProto.INT8}
    ),
    "Neg wraps": Case("Neg", (every("int8"),), (-every("int8"),)),
    "Mod of infinities": Case(
        "Mod",
        (np.asarray([5, -5, np.inf, 5.5], "f4"), np.asarray([np.inf, 3, 2, -2], "f4")),
        (np.asarray([5, -2, np.nan, 1.5], "f4"),),
        attributes={"fmod": 1},
    ),
    **{
        f"ScatterElements {reduction}": Case(
            "ScatterElements", (_DATA, _ROWS, _NEW), (scattered(reduction),), (), {"reduction": reduction}
        )
        for reduction in ("add", "mul", "max", "min")
    },
    "ScatterND computed": Case("ScatterND", (_DATA, _PLACES, _WRITTEN[tuple(_PLACES.T)].T), (_WRITTEN,)),
    "ScatterND constant": Case("ScatterND", (_DATA,), (_WRITTEN,), (_PLACES, _WRITTEN[tuple(_PLACES.T)].T)),
    "GatherND in batches": Case(
        "GatherND", (_DATA.reshape(2, 3, 4), np.asarray([[-1], [0]])), (_DATA.reshape(2, 3, 4)[[0, 1], [2, 0]],), (),
        {"batch_dims": 1},
    ),
    "ReverseSequence by batch": Case(
        "ReverseSequence", (_DATA[:2, :3], np.asarray([3, 2])), (np.asarray([[2, 1, 0], [7, 6, 8]], "f4"),), (),
        {"time_axis": 1, "batch_axis": 0},
    ),
    "TopK of equal ones": Case(
        "TopK", (_NAN_FREE,), (np.asarray([[3, 3], [5, 0]], "f4"), np.asarray([[0, 2], [3, 0]])), (np.asarray([2]),)
    ),
    "TopK smallest": Case(
        "TopK", (_NAN_FREE,), (np.asarray([[0, 0, -1, 2]], "f4"), np.asarray([[1, 1, 1, 0]])), (np.asarray([1]),),
        {"largest": 0, "axis": 0},
    ),
    "ArgMax last": Case(
        "ArgMax", (_NAN_FREE,), (np.asarray([[2], [3]]),), (), {"axis": 1, "select_last_index": 1}
    ),
    "DequantizeLinear by blocks": Case(
        "DequantizeLinear", (np.ones((2, 4), "i1"),), (np.asarray([[1, 1, 2, 2], [3, 3, 4, 4]], "f4"),),
        (np.asarray([[1, 2], [3, 4]], "f4"),), {"axis": 1, "block_size": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name: str) -> None:
    case = CASES[name]
    feeds = {f"x{index}": array for index, array in enumerate(case.inputs)}
    constants = {f"c{index}": array for index, array in enumerate(case.constants)}
    source = model_of(case.operator, feeds, len(case.expected), constants=constants, **case.attributes)
    found = source.convert("nnef").run(feeds).values()
    for mine, wanted in zip(found, case.expected, strict=True):
        np.testing.assert_array_equal(mine, wanted)


REFUSED = {
    "bits of wide integers": (lambda: model_of("BitwiseAnd", {"x": np.arange(3), "y": np.arange(3)}), "the bits of"),
    "sums in bfloat16": (
        lambda: model_of("ReduceSum", {"x": np.ones((2, 3), ml_dtypes.bfloat16)}, constants={"axes": np.asarray([1])}),
        "order of the roundings",
    ),
    "text": (lambda: model_of("Cast", {"x": np.arange(3, dtype="u2")}, to=TensorProto.STRING), "string"),
    "an index outside": (
        lambda: model_of(
            "ScatterElements", {"x": _DATA}, constants={"i": np.asarray([[4]]), "u": np.ones((1, 1), "f4")}
        ),
        "outside",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(ConversionError, match=words):
        make().convert("nnef")


def test_a_part_without_elements_adds_nothing() -> None:
    """What a rotary embedding of all channels does with those that it leaves as they are."""
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["all", "none"], axis=1),
        helper.make_node("Neg", ["all"], ["turned"]),
        helper.make_node("Concat", ["turned", "none"], ["y"], axis=1),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 6]) for name in ("x", "y")]
    sizes = numpy_helper.from_array(np.asarray([6, 0], np.int64), "sizes")
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [sizes])
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    np.testing.assert_array_equal(model.convert("nnef").run({"x": x})["y"], -x)
    nodes[1] = helper.make_node("Neg", ["none"], ["turned"])
    nodes[2] = helper.make_node("Concat", ["turned", "all"], ["y"], axis=1)
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [sizes])
    model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    with pytest.raises(ConversionError, match="holds no elements"):
        model.convert("nnef")
