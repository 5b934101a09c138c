"""Every lowering to NNEF on onnx's own node tests: right or refused, never wrong; and what others say of the files.

Each converted model is the one that was read back from its text. All of them are loaded by the Khronos parser with
shapes inferred, and run by nnef_tools' interpreter, which shares no code with us.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.formats.nnef import interpreter, khronos
from tests.formats.nnef.test_text import described, numbered
from tests.runtime import is_fault_of_runtime
from workbench import ExecutionError, Model, ModelError, WorkbenchError, load
from workbench.formats.nnef.from_onnx import TABLE

OPERATORS = sorted({entry.operator for entry in TABLE})

# operators none of whose node tests is converted here
ONLY_REFUSED = {
    "Cast": "its tests record protobufs; see test_from_onnx_more.py",
    "CastLike": "its tests record protobufs; see test_from_onnx_more.py",
    "GlobalLpPool": "onnx has no test of it; see test_corners.py",
}


@dataclass
class Conversion:
    """One node test: the converted model, or the refusal, and what it makes of the recorded inputs."""

    name: str
    model: Model | None
    refusal: str
    feeds: dict[str, Any]
    expected: list[Any]
    results: dict[str, Any]


def _variants(case: Any) -> list[tuple[str, Any, list[Any], list[Any]]]:
    """The case as it is, and with all inputs but the first made constants (NNEF wants parameters to be known)."""
    inputs, outputs = ([np.asarray(a) if isinstance(a, np.generic) else a for a in data] for data in case.data_sets[0])
    if not all(isinstance(array, np.ndarray) for array in (*inputs, *outputs)):
        return []  # sequences and optionals
    found = [(case.name, case.model, inputs, outputs)]
    if len(inputs) > 1:
        baked = onnx.ModelProto()
        baked.CopyFrom(case.model)
        for value, array in list(zip(case.model.graph.input, inputs, strict=True))[1:]:
            baked.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        del baked.graph.input[1:]
        found.append((f"{case.name}_baked", baked, inputs[:1], outputs))
    return found


def _convert(name: str, proto: Any, inputs: list[Any], outputs: list[Any]) -> Conversion:
    source = load(proto)
    feeds = {spec.name: array for spec, array in zip(source.inputs, inputs, strict=True)}
    shapes = {spec.name: feeds[spec.name].shape for spec in source.inputs if not spec.is_static}
    try:
        model = source.convert("nnef", shapes=shapes)
    except WorkbenchError as error:
        return Conversion(name, None, str(error), feeds, outputs, {})
    return Conversion(name, model, "", model.adapt_feeds(feeds), outputs, model.run(feeds))


@pytest.fixture(scope="module")
def conversions() -> dict[str, list[Conversion]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    found: dict[str, list[Conversion]] = defaultdict(list)
    for case in cases:
        operators = [node.op_type for node in case.model.graph.node]
        if len(operators) == 1 and operators[0] in OPERATORS and not case.model.graph.node[0].domain:
            for variant in _variants(case):
                try:
                    found[operators[0]].append(_convert(*variant))
                except ModelError:
                    pass  # strings and the like; the ONNX reader's tests say which
                except ExecutionError as error:
                    if not is_fault_of_runtime(error):
                        raise
    return found


def _agrees(results: Any, expected: list[Any]) -> bool:
    for value, wanted in zip(results, expected, strict=True):
        wanted = np.asarray(wanted)
        if value.shape != wanted.shape:
            return False
        if not np.allclose(value.astype("f8"), wanted.astype("f8"), rtol=1e-3, atol=1e-5, equal_nan=True):
            return False
    return True


@pytest.mark.parametrize("operator", OPERATORS)
def test_right_or_refused(operator: str, conversions: dict[str, list[Conversion]]) -> None:
    cases = conversions[operator]
    converted = [case for case in cases if case.model is not None]
    assert [case.name for case in converted if not _agrees(case.results.values(), case.expected)] == []
    for case in cases:
        assert case.model is not None or "→ nnef:" in case.refusal or "from opset" in case.refusal, case.refusal
    assert bool(converted) != (operator in ONLY_REFUSED), [case.refusal for case in cases][:3]


def test_others_read_what_was_written(conversions: dict[str, list[Conversion]], tmp_path: Path) -> None:
    written = {
        case.model.save(tmp_path / case.name): case
        for cases in conversions.values()
        for case in cases
        if case.model is not None
    }
    assert len(written) > 700
    requests = [{"path": str(folder), "shapes": True, "variables": True} for folder in written]
    for folder, found in zip(written, khronos.parse(requests), strict=True):
        assert "error" not in found, (folder.name, found)
        model = written[folder].model
        assert model is not None
        mine = load(folder).document.contents.graph  # type: ignore[attr-defined]
        assert numbered(described(mine)) == numbered(found["operations"]), folder.name
        assert [found["shapes"][spec.name] for spec in model.outputs] == [
            list(spec.shape or ()) for spec in model.outputs
        ]
    for folder, case in written.items():
        np.savez(folder / "feeds.npz", **case.feeds)
    for folder, results in interpreter.run_all({folder: ["gelu", "prelu"] for folder in written}).items():
        if isinstance(results, str):
            # it has no dilated windows, and no variables in double precision
            known = ("dilation = 1", "double != float", "type Double but found Float")
            assert any(part in results for part in known), (folder.name, results)
        else:
            assert _agrees(results.values(), written[folder].expected), folder.name
