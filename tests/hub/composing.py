"""One node, replaced by what it is composed of, against onnxruntime on the node itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper

from tests.runtime import serialized
from workbench.formats.onnx.read import read_proto
from workbench.hub import OPSET, Specialized, specialize
from workbench.hub.bodies import expand_bodies
from workbench.hub.stamps import refusal_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Composed:
    """One node: arrays are fed unless their place is in ``constants``; ``None`` omits an optional input.

    Attributes:
        outputs: names of the outputs, ``""`` for one that is left out.
        opset: that of the model, where the node needs an older one.
    """

    name: str
    operator: str
    inputs: tuple[Array | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ("o0",)
    domain: str = ""
    rtol: float = 1e-4
    atol: float = 1e-5

    def __str__(self) -> str:
        return self.name

    @property
    def feeds(self) -> dict[str, Array]:
        return {
            f"i{index}": array
            for index, array in enumerate(self.inputs)
            if array is not None and index not in self.constants
        }

    def model(self) -> onnx.ModelProto:
        """The node alone in a model."""
        names = ["" if array is None else f"i{index}" for index, array in enumerate(self.inputs)]
        node = helper.make_node(self.operator, names, self.outputs, name="node", domain=self.domain, **self.attributes)
        graph = helper.make_graph(
            [node],
            "case",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in self.feeds.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in self.outputs if name],
            [
                onnx.numpy_helper.from_array(array, f"i{index}")
                for index, array in enumerate(self.inputs)
                if array is not None and index in self.constants
            ],
        )
        imports = [helper.make_opsetid("", OPSET)]
        if self.domain:
            imports.append(helper.make_opsetid(self.domain, 1))
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    results = session.run(None, {name: np.asarray(array) for name, array in feeds.items() if name in wanted})
    return {value.name: np.asarray(result) for value, result in zip(session.get_outputs(), results, strict=True)}


def expanded(case: Composed, known: Callable[[ir.Node], bool] | None = None) -> Specialized:
    """The node replaced, by default whatever the node is; what it is replaced by is left alone."""
    hub = specialize(read_proto(case.model()).hub())
    return expand_bodies(hub, known or (lambda node: (node.op_type, node.domain) != (case.operator, case.domain)))


def refusals(hub: Specialized) -> list[str]:
    """Why nodes were not replaced."""
    found = [refusal_of(node) for node in hub.model.graph]
    return [refusal.cause for refusal in found if refusal is not None]


def assert_composed(case: Composed, want: Mapping[str, Array] | None = None) -> Specialized:
    """The composition computes what onnxruntime does (or what is wanted), and declares the same types."""
    hub = expanded(case)
    assert refusals(hub) == []
    assert (case.operator, case.domain) not in {(node.op_type, node.domain) for node in hub.model.graph}
    want = run(case.model(), case.feeds) if want is None else want
    got = run(ir.to_proto(hub.model), case.feeds)
    assert list(got) == [name for name in case.outputs if name]
    for name, found in got.items():
        assert found.dtype == want[name].dtype
        assert found.shape == want[name].shape
        np.testing.assert_allclose(
            found.astype(np.float64), want[name].astype(np.float64), rtol=case.rtol, atol=case.atol
        )
    return hub
