"""Texts in the tract dialect, read into the hub and run by onnxruntime: what tract itself computes is the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance.node_cases import Case as NodeCase
from tests.conformance.node_cases import collect
from tests.formats.nnef.tract import Tract
from workbench import load
from workbench.errors import ConversionError, ModelError
from workbench.formats.nnef.tensors import write_tensor
from workbench.formats.nnef.tract.declarations import REGISTRIES, registered
from workbench.formats.nnef.tract.to_onnx import TABLE

pytest.importorskip("tract")

Array = NDArray[Any]
RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((2, 3, 4)).astype(np.float32)
SQUARE = RANDOM.standard_normal((1, 2, 4, 4)).astype(np.float32)
I = np.asarray([[7, -8, 3], [-2, 0, 5]])  # noqa: E741  # beside X and B
B = np.asarray([[True, False, False], [False, False, False]])
HEADS = [RANDOM.standard_normal((1, heads, rows, 4)).astype(np.float32) for heads, rows in ((4, 3), (2, 5), (2, 5))]
EXTERNALS = {"float32": "external<scalar>", "int64": "external<integer>", "bool": "external<logical>"}


@dataclass(frozen=True)
class Case:
    """A body over named inputs; its result is ``y``.

    Attributes:
        variables: label → data.
        registries: besides tract_core.
    """

    body: str
    feeds: dict[str, Array] = field(default_factory=lambda: {"x": X})
    variables: dict[str, Array] = field(default_factory=dict)
    registries: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"extension tract_registry {name};" for name in ("tract_core", *self.registries)]
        lines += [f"graph g({', '.join(self.feeds)}) -> (y)", "{"]
        for name, array in self.feeds.items():
            shape = list(array.shape)
            declared = EXTERNALS.get(array.dtype.name)
            if declared is None:
                lines.append(f"{name} = tract_core_external(datum_type = '{_datum(array)}', shape = {shape});")
            else:
                lines.append(f"{name} = {declared}(shape = {shape});")
        for label, array in self.variables.items():
            lines.append(f"{label} = variable<scalar>(shape = {list(array.shape)}, label = '{label}');")
        return "\n".join(["version 1.0;", *lines, self.body, "}", ""])

    def write(self, folder: Path) -> Path:
        (folder / "graph.nnef").write_text(self.text())
        for label, array in self.variables.items():
            write_tensor(folder / f"{label}.dat", array)
        return folder


def _datum(array: Array) -> str:
    return f"{array.dtype.kind}{array.dtype.itemsize * 8}"


def _unary(name: str, x: Array = X, **arguments: str) -> Case:
    listed = "".join(f", {key} = {value}" for key, value in arguments.items())
    return Case(f"y = {name}(x{listed});", {"x": x})


def _pair(name: str, a: Array, b: Array) -> Case:
    return Case(f"y = {name}(a, b);", {"a": a, "b": b})


HALVES = np.asarray([0.5, -0.5, 1.5, -1.5, 2.5, 0.49999997, 2.4], np.float32)
SPECIAL = np.asarray([np.inf, -np.inf, np.nan, 1.0, -0.0], np.float32)
INDICES = np.asarray([[0, 2], [-1, 1]])
COMPLEX = RANDOM.standard_normal((2, 8, 2)).astype(np.float32)

CASES = {
    "round: halves away from zero": _unary("round", HALVES),
    "round_even": _unary("tract_core_round_even", HALVES),
    "erf": _unary("tract_core_erf"),
    "hard_swish": _unary("tract_core_hard_swish", X * 4),
    "silu": _unary("tract_core_silu"),
    "gelu_approx": _unary("tract_core_gelu_approx", fast_impl="false"),
    "gelu_approx, fast": _unary("tract_core_gelu_approx", fast_impl="true"),
    "pow_const": _unary("tract_core_pow_const", np.abs(X), exponent="1.5"),
    "is_nan": _unary("tract_core_is_nan", SPECIAL),
    "is_inf": _unary("tract_core_is_inf", SPECIAL),
    "is_inf, of one sign": _unary("tract_core_is_inf", SPECIAL, detect_negative="false"),
    "xor": _pair("tract_core_xor", B, B.T[:2, :1]),
    "bitand": _pair("tract_core_bitand", I, I[::-1].copy()),
    "bitor": _pair("tract_core_bitor", I, I[::-1].copy()),
    "bitxor": _pair("tract_core_bitxor", I, I[::-1].copy()),
    "bitnot": _unary("tract_core_bitnot", I),
    "shl": _pair("tract_shl", I, np.abs(I) % 5),
    "shr of negative numbers": _pair("tract_shr", I, np.abs(I) % 5),
    "division of integers": _pair("div", I, np.full_like(I, 3)),
    "int32 and int64 together": _pair("add", I.astype(np.int32), I),
    "a number beside float16": Case("y = add(x, 0.1);", {"x": X.astype(np.float16)}),
    "a constant takes the other's dtype": Case("y = mul(x, c);", variables={"c": np.asarray([[2.5]], np.float64)}),
    "cast to int32": _unary("tract_core_cast", X * 3, to="'i32'"),
    "cast to uint8 and back": Case(
        "a = tract_core_cast(i, to = 'u8'); y = tract_core_cast(a, to = 'f32');", {"i": I}
    ),
    "select with numbers": Case("c = gt(x, 0.0); y = select(c, 1.5, -2.0);"),
    "clamp": Case("y = clamp(x, -0.5, 0.25);"),
    "leaky_relu": _unary("leaky_relu", alpha="0.2"),
    "prelu": Case("y = prelu(x, a);", variables={"a": np.asarray([[0.1, 0.2, 0.3]], np.float32)}),
    "elu": _unary("elu"),
    "softmax over two axes": _unary("softmax", axes="[1, 2]"),
    "core_softmax": _unary("tract_core_softmax", axes="[1]", exp="'libc'"),
    "log_softmax": _unary("tract_core_log_softmax", axes="[2]"),
    "product_reduce": _unary("tract_core_product_reduce", axes="[0, 2]"),
    "argmax_reduce_last": _unary("tract_core_argmax_reduce_last", np.round(X), axes="[1]"),
    "argmin_reduce_last": _unary("tract_core_argmin_reduce_last", np.round(X), axes="[1]"),
    "rms_norm": _unary("tract_core_rms_norm", axis="1", eps="0.01"),
    "rms_norm of float16": _unary("tract_core_rms_norm", X.astype(np.float16), axis="2"),
    "topk": Case("y, i = tract_core_topk(x, 2, axis = 2, largest = false);"),
    "topk, where": Case("v, y = tract_core_topk(x, 2, axis = 1, largest = true);"),
    "broadcast": Case("y = tract_core_broadcast(x, shape = [2, 2, 3, 4]);", {"x": X[:, None]}),
    "downsample": _unary("tract_core_downsample", axis="2", stride="2", modulo="1"),
    "downsample backwards": _unary("tract_core_downsample", axis="1", stride="-1"),
    "slice to the end": _unary("slice", axes="[1]", begin="[1]", end="[0]"),
    "slice backwards": _unary("slice", axes="[2]", begin="[1]", end="[4]", stride="[-1]"),
    "dyn_slice": _unary("tract_core_dyn_slice", start="1", end="3", len="2", axis="2"),
    "gather": Case("y = tract_core_gather(x, i, axis = 1);", {"x": X, "i": INDICES}),
    "gather_elements": Case(
        "y = tract_core_gather_elements(x, i, axis = 1);", {"x": X[..., 0], "i": np.asarray([[0, 2, -1], [1, 1, 0]])}
    ),
    "gather_nd": Case("y = tract_core_gather_nd(x, i, batch_dims = 0);", {"x": X, "i": np.abs(INDICES)}),
    "scatter_elements": Case(
        "y = tract_core_scatter_elements(x, i, u, axis = 1);",
        {"x": X[..., 0], "i": np.asarray([[2], [0]]), "u": X[:, :1, 1].copy()},
    ),
    "scatter_elements, added": Case(
        "y = tract_core_scatter_elements(x, i, u, axis = 1, reduction = 'add');",
        {"x": X[..., 0], "i": np.asarray([[2, 2], [0, 1]]), "u": X[:, :2, 1].copy()},
    ),
    "scatter_nd": Case(
        "y = tract_core_scatter_nd(x, i, u);", {"x": X, "i": np.asarray([[1, 2], [0, 0]]), "u": X[0, :2].copy()}
    ),
    "trilu": Case("y = tract_core_trilu(x, 1, upper = true);"),
    "one_hot": _unary("tract_core_one_hot", np.asarray([0, 2, 1]), axis="1", dim="3", value_on="2.5"),
    "range": Case("r = tract_core_range(2, 8, 3); f = tract_core_cast(r, to = 'f32'); m = max_reduce(x, axes = [2]); "
                  "u = unsqueeze(f, axes = [0, 2]); v = slice(m, axes = [1], begin = [0], end = [2]); y = add(v, u);"),
    "a list of numbers": Case("c = [[[1.0], [2.0], [3.0]]]; y = mul(x, c);"),
    "a name that is assigned twice": Case("y = relu(x); z = neg(y); y = add(z, 1.0);"),
    "square and recip": Case("s = square(x); y = recip(s);"),
    "cumsum": _unary("tract_core_cumsum", axis="1", exclusive="true", reverse="false"),
    "shape_of": Case("s = tract_core_shape_of(x); y = tract_core_cast(s, to = 'i64');"),
    "an item of a shape": Case("s = tract_core_shape_of(x); y = reshape(x, shape = [s[0], 12]);"),
    "reshape of some axes": _unary("reshape", shape="[12]", axis_start="1", axis_count="2"),
    "einsum": Case("y = tract_core_einsum([x, w], expr = 'nab,bc->nac', acc = 'f32');",
                   variables={"w": X[0].T.copy()}),
    "einsum of one": Case("y = tract_core_einsum([x], expr = 'abc->ca', acc = 'f32');"),
    "deconv": Case(
        "y = deconv(x, w, padding = [(1, 0), (0, 1)], stride = [2, 1], dilation = [1, 1], groups = 2);",
        {"x": SQUARE}, {"w": RANDOM.standard_normal((6, 1, 3, 2)).astype(np.float32)},
    ),
    "deconv to a shape": Case(
        "y = deconv(x, w, padding = [(1, 1), (1, 1)], stride = [2, 2], dilation = [1, 1], output_shape = [8, 8]);",
        {"x": SQUARE}, {"w": RANDOM.standard_normal((3, 2, 3, 3)).astype(np.float32)},
    ),
    "max_pool: the border takes no part": Case(
        "y = max_pool(x, size = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (1, 0), (0, 1)], stride = [1, 1, 2, 2]);",
        {"x": -np.abs(SQUARE)},
    ),
    "pad with the edge": Case("y = pad(x, padding = [(0, 0), (2, 1), (0, 0)], border = 'replicated');"),
    "nearest_upsample": _unary("nearest_upsample", SQUARE, factor="[2, 3]"),
    "multilinear_upsample": _unary("multilinear_upsample", SQUARE, factor="[2, 2]"),
    "multilinear_upsample, aligned": _unary("multilinear_upsample", SQUARE, factor="[2, 2]", method="'aligned'"),
    "resize to scales": Case(
        "y = tract_core_resize(x, scales = s, interpolator = 'linear');",
        {"x": SQUARE}, {"s": np.asarray([1, 1, 1.5, 2], np.float32)},
    ),
    "resize to sizes": Case(
        "y = tract_core_resize(x, sizes = s, coord_transformer = 'asymmetric', nearest_mode = 'floor');",
        {"x": SQUARE}, {"s": np.asarray([1, 2, 6, 3])},
    ),
    "grid_sample": Case(
        "y = tract_core_grid_sample(x, g);", {"x": SQUARE, "g": np.clip(SQUARE.transpose(0, 2, 3, 1), -1, 1).copy()}
    ),
    "fft": _unary("tract_core_fft", COMPLEX, axis="1", inverse="false"),
    "fft backwards": _unary("tract_core_fft", COMPLEX, axis="1", inverse="true"),
    "lstm_epilogue": Case(
        "y, c = tract_core_lstm_epilogue(x, p, hidden = 2);",
        {"x": RANDOM.standard_normal((3, 8)).astype(np.float32), "p": X[0, :, :2].copy()},
    ),
    "lstm_epilogue, the cell": Case(
        "h, y = tract_core_lstm_epilogue(x, p, hidden = 2);",
        {"x": RANDOM.standard_normal((3, 8)).astype(np.float32), "p": X[0, :, :2].copy()},
    ),
    "gru_epilogue": Case(
        "y = tract_core_gru_epilogue(x, r, h, hidden = 1);",
        {"x": X[0, :, :3].copy(), "r": X[1, :, :3].copy(), "h": X[0, :, 3:].copy()},
    ),
    "lrn": Case("y = tract_onnx_lrn(x, alpha = 0.5, size = 3);", {"x": SQUARE}, registries=("tract_onnx",)),
    "non_max_suppression": Case(
        "y = tract_onnx_non_max_suppression(b, s, max_output_boxes_per_class = k, iou_threshold = 0.5, "
        "score_threshold = 0.0, center_point_box = 0);",
        {
            "b": np.asarray([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11]]], np.float32),
            "s": np.asarray([[[0.9, 0.75, 0.6]]], np.float32),
        },
        {"k": np.asarray(3)}, ("tract_onnx",),
    ),
    "rope": Case(
        "y = tract_transformers_apply_rope(x, c, s);", {"x": X, "c": np.cos(X), "s": np.sin(X)},
        registries=("tract_transformers",),
    ),
    "scaled_masked_softmax": Case(
        "y = tract_transformers_scaled_masked_softmax(x, m, scale = 0.5, post_softmax_mask = false);",
        {"x": X, "m": X[:1].copy()}, registries=("tract_transformers",),
    ),
    "sdpa": Case(
        "y = tract_transformers_sdpa(q, k, v, datum_type = 'f32', acc_datum_type = 'f32', is_causal = false);",
        dict(zip("qkv", HEADS, strict=True)), registries=("tract_transformers",),
    ),
    "sdpa, causal": Case(
        "y = tract_transformers_sdpa(q, k, v, datum_type = 'f32', acc_datum_type = 'f32', is_causal = true);",
        dict(zip("qkv", HEADS, strict=True)), registries=("tract_transformers",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_operation_computes_what_tract_computes(case: Case, tract: Tract, tmp_path: Path) -> None:
    folder = case.write(tmp_path)
    truth = tract.run(folder, case.feeds)
    assert not isinstance(truth, str), truth
    found = load(folder).run(case.feeds)["y"]
    assert found.dtype == truth[0].dtype
    np.testing.assert_allclose(found, truth[0], rtol=2e-3 if found.dtype == np.float16 else 1e-4, atol=1e-5)


WRITTEN = (
    "test_relu test_elu_default test_reduce_prod_do_not_keepdims_example test_concat_3d_axis_1 test_cumsum_2d_axis_0 "
    "test_layer_normalization_4d_axis3 test_softsign_example test_or4d test_shape test_top_k test_gather_1 "
    "test_scatter_elements_with_axis test_conv_with_strides_padding test_convtranspose_group_2 test_batchnorm_example "
    "test_resize_upsample_scales_linear test_einsum_batch_matmul test_attention_4d_expanded test_averagepool_2d_pads "
    "test_split_equal_parts_2d_opset13 test_instancenorm_example test_gemm_all_attributes test_where_long_example"
).split()


@pytest.fixture(scope="module")
def node_tests() -> dict[str, NodeCase]:
    return {case.name: case for case in collect()}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_tract_writes_is_read(name: str, node_tests: dict[str, NodeCase], tract: Tract, tmp_path: Path) -> None:
    case = node_tests[name].baked() or node_tests[name]
    (tmp_path / "m.onnx").write_bytes(case.model)
    assert tract.write(tmp_path / "m.onnx", tmp_path / "written") == ""
    model = load(tmp_path / "written")
    feeds = {spec.name: value for spec, value in zip(model.inputs, case.inputs, strict=True)}
    for found, wanted in zip(model.run(feeds).values(), case.outputs, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


REFUSED = {
    "an operation of no registry": (
        Case("y = tract_core_nonsense(x);"),
        "graph.nnef:6:5: the operation tract_core_nonsense is none of tract's",
    ),
    "a registry that is not named": (
        Case("y = tract_onnx_lrn(x, size = 3);"),
        "tract_onnx_lrn belongs to tract's registry tract_onnx, which the file does not name",
    ),
    "a registry that tract does not have": (
        Case("y = copy(x);", registries=("tract_moon",)),
        "no registry 'tract_moon'",
    ),
    "an argument that it does not take": (Case("y = elu(x, beta = 2.0);"), "elu has no parameter 'beta'"),
    "a loop": (
        Case("y = tract_core_scan(body = 'b', scan = [], full = [], state = [], output = []);"),
        "tract_core_scan is not read",
    ),
    "text for a number": (Case("y = tract_core_rms_norm(x, axis = 'two');"), "argument 'axis' of tract_core_rms_norm"),
    "a symbol where it cannot be": (Case("y = add(x, N);"), "'N' is not defined here"),
}


@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_by_name_and_place(case: Case, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"graph\.nnef:[0-9]+:[0-9]+: ") as raised:
        load(case.write(tmp_path))
    assert message in str(raised.value)


NOT_EXPRESSED = {
    "a cache": ("y = tract_transformers_dyn_kv_cache(x, name = 'k', axis = 1);", "keeps keys and values"),
    "numbered axes": ("y = tract_core_matmul(x, x, axes = [0, 1, 0, 1, 0, 1]);", "differs between versions of tract"),
    "random numbers": ("y = tract_onnx_multinomial(x);", "its numbers are random"),
    "an ambiguous slice": ("y = slice(x, axes = [1], begin = [0], end = [0]);", "where versions of tract differ"),
    "dtypes that do not meet": (
        "i = argmax_reduce(x, axes = [1]); y = add(x, i);", "no dtype for float32 together with int64"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "cause"), NOT_EXPRESSED.values(), ids=NOT_EXPRESSED)
def test_what_the_hub_cannot_say_is_refused_and_the_rest_still_shown(body: str, cause: str, tmp_path: Path) -> None:
    model = load(Case(body, registries=("tract_onnx", "tract_transformers")).write(tmp_path))
    assert model.layers[-1].name == "y"
    with pytest.raises(ConversionError, match=cause):
        model.run({"x": X})


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_declared_operation_is_read_or_refused_with_a_reason(registry: str) -> None:
    expanded = {"tract_core_external", "tract_core_scan", "tract_core_submodel"}  # told apart before any lowering
    missing = [name for name in registered(registry) if TABLE.find(name) is None and name not in expanded]
    assert missing == []


def test_a_run_that_takes_too_long_costs_itself_alone(tmp_path: Path) -> None:
    folder = Case("y = copy(x);").write(tmp_path)
    with Tract(limit=0.01) as runner:
        assert runner.run(folder, {"x": X}) == "tract gives no result in 0.01 s"
        runner.limit = 60.0
        found = runner.run(folder, {"x": X})
    assert not isinstance(found, str), found
    np.testing.assert_array_equal(found[0], X)
