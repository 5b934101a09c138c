"""onnxruntime's own operators, said in standard ones: onnxruntime itself is the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.hub.composing import Array, Composed, assert_composed, expanded, refusals, run
from workbench.hub.compositions import TABLE
from workbench.hub.compositions.table import CONTRIB

RNG = np.random.default_rng(11)


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def u(*shape: int) -> Array:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def s8(*shape: int) -> Array:
    """Small: onnxruntime's sums of products of unsigned and signed bytes saturate on some processors."""
    return RNG.integers(-60, 60, shape).astype(np.int8)


def scalar(value: float, dtype: str = "float32") -> Array:
    return np.asarray(value, dtype)


def case(name: str, *inputs: Array | None, label: str = "", **keywords: Any) -> Composed:
    attributes = {
        key: keywords.pop(key) for key in list(keywords) if key not in ("constants", "outputs", "rtol", "atol")
    }
    return Composed(label or name, name, inputs, attributes, domain=CONTRIB, **keywords)


X = f(2, 3, 8)
STEP = scalar(0.05)
BYTE = scalar(120, "uint8")
QUANTISED = (u(2, 3, 4), STEP, BYTE)
RESULT = (scalar(0.07), scalar(100, "uint8"))

PLACES = np.asarray([[3, 0], [-1, 7]])

FUSED = [
    case("Gelu", X),
    case("BiasGelu", X, f(8)),
    case("FastGelu", X),
    case("FastGelu", X, f(8), label="FastGelu with bias"),
    case("QuickGelu", X, alpha=1.5),
    case("FusedConv", f(1, 4, 6, 5), f(6, 2, 3, 3), f(6), group=2, pads=[1, 1, 1, 1], activation="LeakyRelu",
         activation_params=[0.2]),
    case("FusedConv", f(1, 4, 6, 5), f(4, 4, 3, 3), f(4), f(1, 4, 4, 3), label="FusedConv with sum",
         activation="Relu"),
    case("FusedConv", f(1, 2, 6, 5), f(4, 2, 3, 3), label="FusedConv clipped", activation="Clip",
         activation_params=[-0.5, 0.5]),
    case("FusedGemm", f(3, 4), f(5, 4), f(5), transB=1, alpha=0.5, activation="Relu"),
    case("FusedGemm", f(3, 4), f(4, 5), f(5), label="FusedGemm leaky", activation="LeakyRelu", activation_alpha=0.3),
    case("FusedMatMul", f(2, 3, 4), f(2, 5, 4), transB=1, alpha=0.25),
    case("FusedMatMul", f(2, 4, 3), f(2, 4, 5), transA=1, label="FusedMatMul left"),
    case("FusedMatMul", f(3, 2, 4), f(2, 4, 5), transBatchA=1, label="FusedMatMul batch"),
    case("FusedMatMul", f(4, 2, 3), f(4, 2, 5), transBatchA=1, transBatchB=1, transA=1, label="FusedMatMul both"),
    case("SkipLayerNormalization", X, f(2, 3, 8), f(8), f(8), f(8), epsilon=1e-5, outputs=("o0", "", "", "o3")),
    case("SkipLayerNormalization", X, f(2, 3, 8), f(8), label="SkipLayerNormalization bare"),
    case("SkipSimplifiedLayerNormalization", X, f(2, 3, 8), f(8), epsilon=1e-5, outputs=("o0", "", "", "o3")),
    case("EmbedLayerNormalization", np.asarray([[1, 2, 3], [4, 0, 2]], np.int32),
         np.asarray([[0, 0, 1], [1, 0, 0]], np.int32), f(5, 4), f(6, 4), f(2, 4), f(4), f(4),
         np.asarray([[1, 1, 0], [1, 0, 0]], np.int32), outputs=("o0", "o1")),
    case("EmbedLayerNormalization", np.asarray([[1, 2, 3]], np.int32), None, f(5, 4), f(6, 4), None, f(4), f(4),
         label="EmbedLayerNormalization bare", outputs=("o0", "o1", "o2")),
    case("MatMulNBits", f(2, 40), u(6, 2, 16), f(12), u(6), constants=(1, 2, 3), K=40, N=6, bits=4, block_size=32),
    case("MatMulNBits", f(2, 3, 32), u(5, 2, 8), f(10), constants=(1, 2), K=32, N=5, bits=4, block_size=16,
         label="MatMulNBits without zero points"),
    case("MatMulNBits", f(2, 32), u(5, 2, 16), f(10), u(5, 2), constants=(1, 2, 3), K=32, N=5, bits=8, block_size=16,
         label="MatMulNBits 8"),
    case("MatMulNBits", f(2, 64), u(8, 4, 8), f(32), u(8, 2), constants=(1, 2, 3), K=64, N=8, bits=4, block_size=16,
         label="MatMulNBits of whole blocks"),
    case("MatMulNBits", f(2, 64), u(8, 4, 8), f(32), f(32), constants=(1, 2, 3), K=64, N=8, bits=4, block_size=16,
         label="MatMulNBits around zeros that are no integers"),
    case("GatherBlockQuantized", u(12, 16), PLACES, f(12, 2), u(12, 1), constants=(0, 2, 3), block_size=16),
    case("GatherBlockQuantized", u(12, 32), PLACES, f(12, 2), constants=(0, 2), block_size=16, bits=8,
         label="GatherBlockQuantized 8"),
    case("GatherBlockQuantized", u(12, 20), PLACES, f(12, 3), constants=(0, 2), block_size=16,
         label="GatherBlockQuantized with a last block that is shorter"),
]  # fmt: skip

STEPPED = {"atol": 1.01, "rtol": 0}  # one step of the quantised result: onnxruntime rounds by tables and reciprocals
INTEGERS = [
    case("DynamicQuantizeMatMul", f(3, 40), u(40, 5), f(5) ** 2, u(5), f(5)),
    case("DynamicQuantizeMatMul", f(3, 300), s8(300, 5), scalar(0.1), scalar(3, "int8"),
         label="DynamicQuantizeMatMul long"),
    case("MatMulIntegerToFloat", u(3, 40), s8(40, 5), STEP, f(5) ** 2, BYTE, None, f(5)),
    case("MatMulIntegerToFloat", u(3, 5000), u(5000, 2), STEP, STEP, BYTE, scalar(7, "uint8"),
         label="MatMulIntegerToFloat very long"),
    case("QGemm", u(3, 10), STEP, BYTE, u(4, 10), f(4) ** 2, u(4), np.asarray([5, -5, 900, 0], np.int32), transB=1),
    case("QGemm", u(3, 10), STEP, BYTE, u(10, 4), STEP, BYTE, None, *RESULT, label="QGemm stored", **STEPPED),
    case("QLinearAdd", *QUANTISED, u(4), scalar(0.02), scalar(7, "uint8"), *RESULT, **STEPPED),
    case("QLinearMul", *QUANTISED, u(4), scalar(0.02), scalar(7, "uint8"), *RESULT, **STEPPED),
    case("QLinearSigmoid", *QUANTISED, scalar(1 / 256), scalar(0, "uint8"), **STEPPED),
    case("QLinearLeakyRelu", *QUANTISED, *RESULT, alpha=0.2, **STEPPED),
    case("QLinearSoftmax", *QUANTISED, scalar(1 / 256), scalar(0, "uint8"), axis=-1, opset=13, **STEPPED),
    case("QLinearSoftmax", *QUANTISED, scalar(1 / 256), scalar(0, "uint8"), axis=1, opset=12, label="QLinearSoftmax 12",
         **STEPPED),
    case("QLinearGlobalAveragePool", u(2, 3, 4, 5), STEP, BYTE, *RESULT, **STEPPED),
    case("QLinearGlobalAveragePool", u(2, 4, 5, 3), STEP, BYTE, *RESULT, channels_last=1,
         label="QLinearGlobalAveragePool last", **STEPPED),
    case("QLinearAveragePool", u(2, 3, 6, 5), STEP, BYTE, *RESULT, kernel_shape=[3, 2], pads=[1, 0, 1, 0],
         strides=[2, 1], **STEPPED),
    case("QLinearConcat", *RESULT, *QUANTISED, u(2, 2, 4), scalar(0.02), scalar(7, "uint8"), axis=1, **STEPPED),
]  # fmt: skip

Q, K, V = f(2, 3, 8), f(2, 5, 8), f(2, 5, 12)
PAST = (f(2, 2, 4, 4), f(2, 2, 4, 4))
ROTARY = (np.cos(f(16, 2)), np.sin(f(16, 2)))
WIDE = (np.cos(f(16, 8)), np.sin(f(16, 8)))
ALL_OUTPUTS = ("o0", "o1", "o2")
NEW, LENGTH, TOTAL = f(2, 1, 32), np.asarray([4, 4], np.int32), scalar(5, "int32")
CACHES = (f(2, 1, 4, 16), f(2, 1, 4, 16))
ATTENTION = [
    case("RotaryEmbedding", X, np.asarray([[0, 2, 1], [3, 4, 5]]), f(6, 4), f(6, 4)),
    case("RotaryEmbedding", f(2, 3, 8), np.asarray([2]), *ROTARY, num_heads=2, label="RotaryEmbedding from a place"),
    case("RotaryEmbedding", f(2, 2, 3, 4), np.asarray([[0, 2, 1], [3, 4, 5]]), *ROTARY, interleaved=1,
         label="RotaryEmbedding interleaved"),
    case("MultiHeadAttention", Q, K, V, num_heads=2),
    case("MultiHeadAttention", Q, K, V, f(28), num_heads=2, scale=0.3, label="MultiHeadAttention with bias"),
    case("MultiHeadAttention", Q, K, V, None, np.asarray([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], np.int32), f(1, 2, 3, 5),
         num_heads=2, label="MultiHeadAttention masked"),
    case("MultiHeadAttention", Q, K[:, :3], V[:, :3, :8], None, None, None, *PAST, num_heads=2, unidirectional=1,
         outputs=ALL_OUTPUTS, label="MultiHeadAttention cached"),
    case("MultiHeadAttention", Q, f(2, 2, 5, 4), f(2, 2, 5, 4), num_heads=2, label="MultiHeadAttention split keys"),
    case("Attention", X, f(8, 24), f(24), num_heads=2),
    case("Attention", X, f(8, 24), f(24), np.asarray([2, 3], np.int32), num_heads=2, label="Attention of lengths"),
    case("Attention", X, f(8, 24), f(24), np.asarray([[1, 0, 1], [1, 1, 1]], np.int32), num_heads=2, unidirectional=1,
         label="Attention causal"),
    case("Attention", X, f(8, 24), f(24), None, f(2, 2, 2, 5, 4), num_heads=2, outputs=("o0", "o1"),
         label="Attention cached"),
    case("Attention", X, f(8, 28), f(28), num_heads=2, qkv_hidden_sizes=[8, 8, 12], label="Attention own widths"),
    case("GroupQueryAttention", f(2, 3, 16), f(2, 3, 8), f(2, 3, 8), None, None, np.asarray([2, 2], np.int32),
         scalar(3, "int32"), constants=(6,), num_heads=2, kv_num_heads=1, outputs=ALL_OUTPUTS),
    case("GroupQueryAttention", NEW, f(2, 1, 16), f(2, 1, 16), *CACHES, LENGTH, TOTAL, *WIDE, constants=(6,),
         num_heads=2, kv_num_heads=1, do_rotary=1, softcap=5.0, outputs=ALL_OUTPUTS, label="GroupQueryAttention step"),
    case("GroupQueryAttention", f(2, 1, 64), None, None, *CACHES, LENGTH, TOTAL, *WIDE, constants=(6,),
         num_heads=2, kv_num_heads=1, do_rotary=1, rotary_interleaved=1, local_window_size=3, outputs=ALL_OUTPUTS,
         label="GroupQueryAttention packed"),
]  # fmt: skip

CASES = [*FUSED, *INTEGERS, *ATTENTION]


@pytest.mark.parametrize("composed", CASES, ids=str)
def test_it_is_what_onnxruntime_computes(composed: Composed) -> None:
    assert_composed(composed)


def test_packed_heads_are_unpacked() -> None:
    """onnxruntime has these forms on other devices only: its results are those of the parts."""
    packed = f(2, 3, 2, 3, 4)
    rows = [packed[:, :, :, index].reshape(2, 3, 8) for index in range(3)]
    apart = case("MultiHeadAttention", *rows, num_heads=2)
    want = run(apart.model(), apart.feeds)
    assert_composed(case("MultiHeadAttention", packed, num_heads=2), want)
    keys = np.ascontiguousarray(packed[:, :, :, 1:])
    assert_composed(case("MultiHeadAttention", rows[0], keys, num_heads=2), want)


REFUSED = [
    (case("MatMulNBits", f(2, 32), u(5, 2, 8), f(10), constants=(2,), K=32, N=5, bits=4, block_size=16), "a constant"),
    (case("GroupQueryAttention", NEW, f(2, 1, 16), f(2, 1, 16), *CACHES, LENGTH, TOTAL, num_heads=2, kv_num_heads=1,
          outputs=ALL_OUTPUTS), "a constant"),
    (case("SkipLayerNormalization", X, f(2, 3, 8), f(8), outputs=("o0", "o1")), "'o1' is not computed"),
    (case("FusedGemm", f(3, 4), f(4, 5), activation="Swish"), "the activation 'Swish' is unknown"),
    (case("Gelu", X, colour=1), "'colour' are not understood"),
]  # fmt: skip


@pytest.mark.parametrize(("composed", "cause"), REFUSED, ids=lambda item: str(item)[:30])
def test_what_cannot_be_said_is_refused_with_its_cause(composed: Composed, cause: str) -> None:
    hub = expanded(composed)
    assert cause in refusals(hub)[0]
    assert composed.operator in {node.op_type for node in hub.model.graph}


def test_every_composition_is_tested() -> None:
    composed = {entry.operator for entry in TABLE if entry.domain == CONTRIB}
    elsewhere = {"TransposeMatMul", "SimplifiedLayerNormalization"}  # an older name; of the default domain in practice
    assert composed - elsewhere == {item.operator for item in CASES}
