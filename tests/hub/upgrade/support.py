"""What the tests of the upgrade share: cases of one node, running, and what every upgrade must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from tests.runtime import serialized
from workbench.hub.infer import check_node
from workbench.hub.opset import OPSET
from workbench.hub.upgrade import upgrade

Array = np.ndarray[Any, Any]
STAMP = {"workbench.layers": '["the layer"]'}
F32, F64, I64 = np.float32, np.float64, np.int64


def rand(*shape: int, seed: int = 0, dtype: Any = F32) -> Array:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(dtype)


def run(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # What is compared is the meaning of the nodes, not what the optimiser makes of them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, feeds)
    return outputs


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Upgrade, and check what every upgrade must keep: names of values and nodes, stamps, valid nodes."""
    hub = ir.from_proto(model)
    before = [node for node in hub.graph.all_nodes() if not node.domain]
    kept = {value.name for node in before for value in node.outputs if value.uses() or value.is_graph_output()}
    names = {node.name for node in before if node.name}
    stamped = all(dict(node.metadata_props) == STAMP for node in before)
    upgrade(hub)
    after = list(hub.graph.all_nodes())
    assert kept <= {value.name for node in after for value in node.outputs}
    assert names <= {node.name for node in after}
    assert hub.graph.opset_imports[""] == OPSET
    for node in after:
        if not node.domain:
            check_node(node)
            assert not stamped or dict(node.metadata_props) == STAMP, node
    produced = [value.name for node in after for value in node.outputs if value.name]
    assert len(produced) == len(set(produced))
    return ir.to_proto(hub)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    feeds: dict[str, Array],
    outputs: Sequence[str],
    opset: int,
    *,
    ranked: bool = True,
    constants: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape if ranked else None
        )
        for name, array in feeds.items()
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    for node in nodes:
        for key, value in STAMP.items():
            node.metadata_props.add(key=key, value=value)
    graph = helper.make_graph(list(nodes), "g", inputs, ends, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10)


@dataclass(frozen=True)
class Case:
    """One node of an old opset.

    ``expected`` computes the outputs where onnxruntime does not run the old opset; ``ranked_only``: the step needs a
    rank, and refuses without; ``constants``: the inputs (by position) that are stored in the model; ``runs_at``: an
    opset with the same form of the operator, where onnxruntime has no kernel for the hub's.
    """

    name: str
    operator: str
    opset: int
    inputs: tuple[Array | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    expected: Callable[..., Any] | None = None
    ranked_only: bool = False
    constants: tuple[int, ...] = ()
    runs_at: int = OPSET
    tolerance: float = 0.0


def case(name: str, *inputs: Array | None, opset: int, **options: Any) -> Case:
    """``case("Softmax axis=1", x, opset=11, axis=1)``; options that are not Case's own are attributes."""
    own = {
        key: options.pop(key)
        for key in ("outputs", "expected", "ranked_only", "constants", "runs_at", "tolerance")
        if key in options
    }
    return Case(f"{name} @{opset}", name.split()[0], opset, inputs, options, **own)


X34 = rand(3, 4)
X234 = rand(2, 3, 4)
X2345 = rand(2, 3, 4, 5)
IMAGE = rand(1, 2, 6, 7)
BOOL = rand(2, 3, 4) > 0


def case_model(case: Case, *, ranked: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    given = {f"i{index}": array for index, array in enumerate(case.inputs) if array is not None}
    constants = {name: array for name, array in given.items() if int(name[1:]) in case.constants}
    feeds = {name: array for name, array in given.items() if name not in constants}
    outputs = [f"o{index}" for index in range(case.outputs)]
    node = helper.make_node(
        case.operator,
        [f"i{index}" if array is not None else "" for index, array in enumerate(case.inputs)],
        outputs,
        "the node",
        **case.attributes,
    )
    return model_of([node], feeds, outputs, case.opset, ranked=ranked, constants=constants), feeds


def branch(name: str, nodes: Sequence[onnx.NodeProto], output: str, inputs: Sequence[Any] = ()) -> onnx.GraphProto:
    for node in nodes:
        for key, value in STAMP.items():
            node.metadata_props.add(key=key, value=value)
    return helper.make_graph(list(nodes), name, list(inputs), [onnx.ValueInfoProto(name=output)])
