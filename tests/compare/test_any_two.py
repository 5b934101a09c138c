"""Any two models can be compared, whatever formats they are in and whether they are files or objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import workbench as wb
from tests.compare.digits import SHAPES
from workbench.model import Model

IMAGES, _ = wb.samples.digit_images()
FEEDS = {"image": IMAGES[:1]}
DIGITS = wb.samples.digits()


def _torch() -> Model:
    torch = pytest.importorskip("torch")
    from torch import nn

    weights = {tensor.name: torch.from_numpy(array) for tensor, array in _weights()}

    class Digits(nn.Module):
        def forward(self, image: Any) -> Any:
            x = image * weights["scale"]
            x = nn.functional.conv2d(x, weights["conv1.weight"], weights["conv1.bias"], padding=1)
            names = [f"norm.{name}" for name in ("mean", "variance", "gamma", "beta")]
            x = torch.relu(nn.functional.batch_norm(x, *(weights[name] for name in names)))
            x = torch.relu(nn.functional.conv2d(x, weights["conv2.weight"], weights["conv2.bias"], padding=1))
            x = torch.flatten(nn.functional.max_pool2d(x, 2), 1)
            x = torch.relu(nn.functional.linear(x, weights["dense1.weight"], weights["dense1.bias"]))
            return torch.softmax(nn.functional.linear(x, weights["dense2.weight"], weights["dense2.bias"]), 1)

    return wb.load(Digits(), example_inputs=(torch.from_numpy(IMAGES[:1]),), output_names=["probabilities"])


def _weights() -> list[tuple[Any, Any]]:
    proto = onnx.load(str(DIGITS))
    return [(tensor, onnx.numpy_helper.to_array(tensor).copy()) for tensor in proto.graph.initializer]


def _converted(target: str, suffix: str, folder: Path) -> Path:
    return wb.load(DIGITS).convert(target, shapes=SHAPES).save(folder / f"digits{suffix}")


def _mlmodel(folder: Path) -> Any:
    coremltools = pytest.importorskip("coremltools")
    return coremltools.models.MLModel(str(_converted("coreml", ".mlpackage", folder)), skip_model_load=True)


KINDS: dict[str, Callable[[Path], Model]] = {
    "onnx file": lambda folder: wb.load(DIGITS),
    "ModelProto": lambda folder: wb.load(onnx.load(str(DIGITS))),
    "nnef folder": lambda folder: wb.load(_converted("nnef", ".nnef", folder)),
    "nnef archive": lambda folder: wb.load(_converted("nnef", ".nnef.tgz", folder)),
    "mlpackage": lambda folder: wb.load(_converted("coreml", ".mlpackage", folder)),
    "MLModel": lambda folder: wb.load(_mlmodel(folder)),
    "torch module": lambda folder: _torch(),
    "recording": lambda folder: wb.load(wb.record(wb.load(DIGITS), folder / "digits.recording", FEEDS)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return {name: make(tmp_path_factory.mktemp("models")) for name, make in KINDS.items()}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, repeat=2)))
def test_every_kind_against_every_kind(first: str, second: str, models: dict[str, Model]) -> None:
    report = wb.compare(models[first], models[second], FEEDS, observe=False)
    assert report.ok, str(report)
    assert [row.status for row in report.outputs] == ["ok"]
    assert report.count("ok") >= 7, "inner tensors are matched too"


# -- one network before and after -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class After:
    """What a tool makes of the model, and how many tensors are compared at least."""

    name: str
    make: Callable[[Path, Path], None]
    matched: int
    ok: bool = True
    agreement: float = 1.0

    def __str__(self) -> str:
        return self.name


def _optimised(level: str) -> Callable[[Path, Path], None]:
    def make(source: Path, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return make


def _dynamic(source: Path, path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, path, op_types_to_quantize=["Gemm", "MatMul"])


def _static(source: Path, path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"image": image[None]} for image in IMAGES[:32]]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantize_static(source, path, Reader(), quant_format=QuantFormat.QDQ)


def _half(source: Path, path: Path) -> None:
    converted = wb.load(source).convert("coreml", precision="fp16", shapes=SHAPES)
    wb.load(converted.save(path.with_suffix(".mlpackage"))).convert("onnx").save(path)


AFTER = [
    After("basic optimiser", _optimised("ORT_ENABLE_BASIC"), 9),
    After("extended optimiser", _optimised("ORT_ENABLE_EXTENDED"), 7),
    After("dynamic quantisation", _dynamic, 7, ok=False),
    After("static QDQ quantisation", _static, 12, ok=False),
    After("float16 and back to onnx", _half, 9),
]


@pytest.mark.parametrize("case", AFTER, ids=str)
def test_onnx_before_and_after(case: After, tmp_path: Path) -> None:
    path = tmp_path / "after.onnx"
    source = tmp_path / "before.onnx"
    source.write_bytes(DIGITS.read_bytes())
    case.make(source, path)
    before, after = wb.load(source), wb.load(path)
    report = wb.compare(before, after, {"image": IMAGES[:64]} if case.name != "float16 and back to onnx" else FEEDS)
    assert report.ok is case.ok, str(report)
    assert len([row for row in report.rows if row.target_tensor]) >= case.matched, str(report)
    output = report.outputs[0]
    assert output.accumulated is not None
    assert output.accumulated.top1 is None or output.accumulated.top1 >= 0.95
    assert output.accumulated.relative_l2 < 0.1
    if not case.ok:  # what was quantised makes the error, and says how much
        own = [row for row in report.failing if row.blame == "own"]
        assert own
        assert all(row.isolated is not None and 0 < row.isolated.relative_l2 < 0.1 for row in own)
    assert np.isfinite(output.accumulated.sqnr_db) or output.accumulated.relative_l2 == 0


def test_types_that_only_the_run_tells_do_not_end_at_a_segment(tmp_path: Path) -> None:
    """Of ``FusedConv``, which the extended optimiser makes, inference does not know what it gives."""
    layers = "  ".join(f"c{i} = Conv(r{i}, w{i})  r{i + 1} = Relu(c{i})" for i in range(20))
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[1,2,4,4] r0) => (float[1,2,4,4] r20) {{ {layers} }}'
    model = onnx.parser.parse_model(text)
    for i in range(20):
        weight = np.random.default_rng(i).uniform(0.1, 0.9, (2, 2, 1, 1)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, f"w{i}"))
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)
    _optimised("ORT_ENABLE_EXTENDED")(before, after)
    assert {node.op_type for node in onnx.load(after).graph.node} == {"FusedConv"}
    report = wb.compare(before, after)
    assert report.ok
    assert report.count("ok") == 20
