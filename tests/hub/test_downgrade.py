"""A hub graph at an older opset: run by onnxruntime at that opset as it is written, or refused with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

import workbench as wb
from tests.conformance.node_cases import collect, sample
from workbench.errors import ConversionError, OptionError
from workbench.hub.upgrade.registry import is_superset, versions

X = np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32)
PICTURE = np.random.default_rng(1).standard_normal((1, 2, 6, 6)).astype(np.float32)
GRID = np.random.default_rng(2).uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)


def parsed(body: str, opset: int) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {body}')


def run(path: str | bytes, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


AS_BEFORE = {
    "reduction with constant axes": (
        "g (float[2, 4, 6] x) => (float[2, 1, 6] y) { a = Constant<value_ints = [1]>() y = ReduceMean(x, a) }", 18, 13,
    ),
    "reduction of everything": ("g (float[2, 4, 6] x) => (float[1, 1, 1] y) { y = ReduceMax(x) }", 20, 13),
    "parts of one size": (
        "g (float[2, 4, 6] x) => (float[2, 2, 6] y, float[2, 2, 6] z) { y, z = Split<axis = 1, num_outputs = 2>(x) }",
        18, 13,
    ),
    "parts of which the last is smaller": (
        "g (float[2, 4, 6] x) => (float[2, 4, 3] y, float[2, 4, 2] z) "
        "{ a = Constant<value_ints = [0]>() e = Constant<value_ints = [5]>() s = Constant<value_ints = [2]>() "
        "p = Slice(x, a, e, s) y, z = Split<axis = 2, num_outputs = 2>(p) }", 18, 13,
    ),
    "two axes padded": (
        "g (float[2, 4, 6] x) => (float[2, 7, 6] y) { p = Constant<value_ints = [1, 2]>() "
        "v = Constant<value_float = 0.5>() a = Constant<value_ints = [-2]>() y = Pad(x, p, v, a) }", 18, 13,
    ),
    "new attributes that say nothing": (
        "g (float[2, 4, 6] x) => (float[4, 12] y) { s = Constant<value_ints = [4, 12]>() "
        "c = Cast<to = 1, saturate = 1>(x) y = Reshape<allowzero = 0>(c, s) }", 21, 13,
    ),
    "a function's body": ("g (float[2, 4, 6] x) => (float[2, 4, 6] y) { y = Gelu(x) }", 20, 13),
    "a body of bodies": (
        "g (float[2, 4, 6] x) => (float[2, 4, 6] y) { s = Constant<value = float[6] {1, 2, 3, 4, 5, 6}>() "
        "y = LayerNormalization(x, s) }", 17, 13,
    ),
    "names that bodies share": (
        "g (float[2, 4, 6] x) => (float[2, 4, 6] y) { a = HardSwish(x) b = Mish(a) y = HardSwish(b) }", 22, 13,
    ),
    "inside a branch": (
        "g (float[2, 4, 6] x, bool c) => (float[2, 1, 6] y) { y = If(c) <"
        "then_branch = t () => (float[2, 1, 6] p) { a = Constant<value_ints = [1]>() p = ReduceMin(x, a) }, "
        "else_branch = e () => (float[2, 1, 6] q) { b = Constant<value_ints = [1]>() q = ReduceMax(x, b) }> }", 20, 13,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_BEFORE)
def test_it_computes_the_same_at_the_older_opset(name: str, tmp_path: Path) -> None:
    body, opset, to = AS_BEFORE[name]
    proto = parsed(body, opset)
    feeds: dict[str, Any] = {"x": X, "c": np.array(True)}
    feeds = {value.name: feeds[value.name] for value in proto.graph.input}
    path = wb.load(proto).convert("onnx", opset=to).save(tmp_path / "older.onnx")
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import if not entry.domain] == [to]
    assert written.ir_version == onnx.helper.find_min_ir_version_for(list(written.opset_import))
    for found, expected in zip(run(str(path), feeds), run(proto.SerializeToString(), feeds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert wb.compare(wb.load(proto), path, feeds=feeds).ok


def test_pictures_are_sampled_by_the_older_names(tmp_path: Path) -> None:
    body = "g (float[1, 2, 6, 6] x, float[1, 3, 3, 2] g) => (float[1, 2, 3, 3] y) { y = GridSample<mode = %s>(x, g) }"
    for newer, older in (("linear", "bilinear"), ("cubic", "bicubic"), ("nearest", "nearest")):
        proto = parsed(body % f'"{newer}"', 20)
        path = wb.load(proto).convert("onnx", opset=16).save(tmp_path / f"{newer}.onnx")
        (node,) = onnx.load(path).graph.node
        assert onnx.helper.get_node_attr_value(node, "mode").decode() == older
        feeds = {"x": PICTURE, "g": GRID}
        np.testing.assert_allclose(
            run(str(path), feeds)[0], run(proto.SerializeToString(), feeds)[0], rtol=1e-5, atol=1e-6
        )


REFUSED = {
    "computed axes": ("(float[2, 4, 6] x, int64[1] a) => (float[m, n, o] y) { y = ReduceMean(x, a) }", 18, 13, "18"),
    "a mode of later": (
        "(float[2, 4, 6] x) => (float[2, 4, 8] y) { p = Constant<value_ints = [0, 0, 1, 0, 0, 1]>() "
        'y = Pad<mode = "wrap">(x, p) }', 19, 18, "19",
    ),
    "a reduction of later": (
        "(float[2, 4, 6] x, int64[1, 4, 6] i, float[1, 4, 6] u) => (float[2, 4, 6] y) "
        '{ y = ScatterElements<reduction = "max">(x, i, u) }', 18, 16, "18",
    ),
    "an attribute of later": (
        "(float[2, 4, 6] x) => (float[2, 4, 4] y) { y = AveragePool<kernel_shape = [2], dilations = [2]>(x) }",
        19, 18, "19",
    ),
    "element types of later": (
        "(bfloat16[2] x) => (bfloat16[2] y) { y = Sin(x) }", 22, 21, "22",
    ),
    "an operator of later": ("(int32[2] x) => (int32[2] y) { y = BitwiseNot(x) }", 18, 17, "18"),
    "inside a branch": (
        "(int32[2] x, bool c) => (int32[2] y) { y = If(c) <then_branch = t () => (int32[2] p) { p = BitwiseNot(x) }, "
        "else_branch = e () => (int32[2] q) { q = Identity(x) }> }", 18, 17, "18",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_older_opset_cannot_say_is_refused_with_the_opset_that_can(name: str) -> None:
    body, opset, to, needed = REFUSED[name]
    model = wb.load(parsed(f"g {body}", opset))
    assert not model.plan("onnx", opset=to).ok
    with pytest.raises(ConversionError, match=rf"write it with opset={needed} or later|exists from opset {needed} on"):
        model.convert("onnx", opset=to)
    assert model.plan("onnx", opset=int(needed) if name != "element types of later" else 25).ok


@pytest.mark.parametrize("opset", [12, 26, 17.0, "9", "new", True])
def test_the_opset_is_a_whole_number_in_its_bounds(opset: Any) -> None:
    with pytest.raises(OptionError, match="from 13 to 25"):
        wb.load(wb.samples.digits()).plan("onnx", opset=opset)


def test_every_change_since_opset_13_has_a_rule_or_is_a_superset() -> None:
    """Or the operator's older version is not used at all."""
    from workbench.hub.downgrade import _REPLACED, _RULES, OLDEST
    from workbench.hub.opset import OPSET

    for operator, known in versions().items():
        for version in known[1:]:
            if OLDEST < version <= OPSET and not is_superset(operator, version):
                assert (operator, version) in _RULES or operator in _REPLACED, (operator, version)


def runs(path: str | bytes, feeds: dict[str, Any]) -> list[Any] | None:
    """What onnxruntime makes of the model; ``None`` where it has no kernel for it, or no dtype of numpy."""
    try:
        return run(path, feeds)
    except (*_NOT_ABLE, RuntimeError):
        return None


_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_NOT_ABLE = (_STATE.NotImplemented, _STATE.Fail, _STATE.InvalidArgument, _STATE.InvalidGraph, _STATE.RuntimeException)


@pytest.mark.parametrize("opset", [13, 17])
def test_onnx_own_cases(opset: int, tmp_path: Path) -> None:
    """A fixed sample of the node tests: what is written runs, at the older opset, as its source does."""
    checked = 0
    for case in sample(collect(), 150):
        try:
            model = wb.load(onnx.ModelProto.FromString(case.model))
            path = model.convert("onnx", opset=opset).save(tmp_path / "case.onnx", overwrite=True)
        except wb.WorkbenchError:
            continue
        written = onnx.load(path)
        onnx.checker.check_model(written)
        taken = {entry.name for entry in written.graph.input}
        given = dict(zip([spec.name for spec in model.inputs], case.inputs, strict=True))
        expected, results = runs(case.model, given), runs(str(path), {k: v for k, v in given.items() if k in taken})
        if expected is None or case.unchecked:
            continue
        if results is None:  # float16's kernels came later for some operators
            assert "float16" in {spec.dtype for spec in (*model.inputs, *model.outputs)}, case.name
            continue
        for found, wanted in zip(results, expected, strict=True):
            if isinstance(wanted, np.ndarray) and wanted.dtype.kind in "fiub":
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=case.name)
        checked += 1
    assert checked > 80
