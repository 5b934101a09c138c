"""One ONNX node through the Core ML writer, seen by two oracles.

One is onnxruntime on the original against onnxruntime on what our reader makes of the written package. The other shares
nothing with our reader: coremltools' own numpy value inference of the program as it was lowered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx.reference import ReferenceEvaluator

from tests.runtime import serialized
from workbench.document import Document, silent
from workbench.formats.base import Draft, Source
from workbench.formats.coreml import FORMAT, toolkit
from workbench.formats.coreml.from_onnx import TABLE
from workbench.formats.coreml.from_onnx.target import ProgramTarget
from workbench.formats.coreml.options import CoreMLOptions
from workbench.formats.coreml.write import draft
from workbench.formats.onnx.read import read_proto
from workbench.hub import OPSET, Specialized, lower_graph, specialize

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Const:
    """An input of the node that is a constant of the model."""

    array: Array


@dataclass(frozen=True)
class Case:
    """One node: arrays are fed, a :class:`Const` is an initializer, ``None`` omits an optional input.

    Attributes:
        inferred: whether coremltools can compute every operation of the lowering with numpy.
        approximate: whether the lowering has to declare itself approximate.
        operations: MIL operators that the lowering has to use, where that is the point of the case.
    """

    name: str
    operator: str
    inputs: tuple[Array | Const | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    inferred: bool = True
    approximate: bool = False
    rtol: float = 1e-5
    atol: float = 1e-6
    operations: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    @property
    def feeds(self) -> dict[str, Array]:
        return {f"i{index}": item for index, item in enumerate(self.inputs) if isinstance(item, np.ndarray)}

    def model(self, opset: int = OPSET) -> onnx.ModelProto:
        """The node alone in a model."""
        names = ["" if item is None else f"i{index}" for index, item in enumerate(self.inputs)]
        outputs = [f"o{index}" for index in range(self.outputs)]
        node = onnx.helper.make_node(self.operator, names, outputs, name="node", **self.attributes)
        graph = onnx.helper.make_graph(
            [node],
            "case",
            [_info(name, array) for name, array in self.feeds.items()],
            [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
            [
                onnx.numpy_helper.from_array(item.array, f"i{index}")
                for index, item in enumerate(self.inputs)
                if isinstance(item, Const)
            ],
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)


def _info(name: str, array: Array) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def prepared(proto: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None) -> tuple[Specialized, Source]:
    """The model as the writer gets it."""
    document = read_proto(proto)
    hub = specialize(document.hub(), shapes, FORMAT.control)
    return hub, Source("onnx", document.name or "case", document.inputs, document.outputs)


def drafted(proto: onnx.ModelProto, **options: Any) -> Draft:
    """The model lowered."""
    hub, source = prepared(proto)
    return draft(hub, source, CoreMLOptions(**options), silent)


def written(proto: onnx.ModelProto, **options: Any) -> Document:
    """The model written and read back; fails if anything is refused."""
    made = drafted(proto, **options)
    refused = [outcome.note for outcome in made.outcomes if outcome.verdict == "refused"]
    assert not refused, refused
    assert not made.general, made.general
    return made.finish(silent)


def run(model: ir.Model | onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """onnxruntime's results, without its optimisations."""
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(serialized(proto), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    results = session.run(None, {name: array for name, array in feeds.items() if name in wanted})
    return {value.name: result for value, result in zip(session.get_outputs(), results, strict=True)}


def expected(case: Case) -> dict[str, Array]:
    """The original's results: onnxruntime's, or the reference's where onnxruntime has no implementation.

    Of GlobalLpPool, which neither has, the version of opset 21 is asked, which differs in its dtypes only.
    """
    try:
        return run(case.model(21 if case.operator == "GlobalLpPool" else OPSET), case.feeds)
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        names = [output.name for output in case.model().graph.output]
        return dict(zip(names, ReferenceEvaluator(case.model()).run(None, case.feeds), strict=True))


def run_written(document: Document, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The written model's results under the source's names, from the source's feeds."""
    provenance = document.provenance
    assert provenance is not None
    own = {
        spec.name: feeds[provenance.inputs[spec.name].name].astype(spec.dtype).reshape(spec.shape)
        for spec in document.inputs
    }
    found = run(document.hub(), own)
    results = {}
    for spec in document.outputs:
        source = provenance.outputs[spec.name]
        shape = tuple(size for size in source.shape or () if isinstance(size, int))
        results[source.name] = found[spec.name].reshape(shape).astype(source.dtype)
    return results


def inferred(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array | None]:
    """What coremltools' value inference makes of the lowered program; ``None`` where it cannot compute something."""
    hub, _ = prepared(proto)
    graph = hub.model.graph
    with toolkit.session():
        target = ProgramTarget(graph, 8, "onnx")
        with target.function:
            target.adopt_inputs()
            for value in graph.inputs:
                target._vars[value] = target.const(feeds[value.name or ""], "fed")
            lower_graph(graph, TABLE, target, silent)
            found = {value.name or "": target.var(value).val for value in graph.outputs}
        return {name: None if array is None else np.asarray(array) for name, array in found.items()}


def operators_of(document: Document) -> list[str]:
    """The MIL operators of the written program, in order."""
    return [layer.operator for layer in document.layers]


def assert_same(got: Array, want: Array, case: Case) -> None:
    """Shape and numbers agree, infinities and undefined values included."""
    assert got.shape == want.shape
    np.testing.assert_allclose(
        got.astype(np.float64), want.astype(np.float64), rtol=case.rtol, atol=case.atol, equal_nan=True
    )
