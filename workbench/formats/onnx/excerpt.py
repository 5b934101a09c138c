"""A few nodes of an ONNX graph as a model of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from workbench.document import TensorSpec
from workbench.hub import dims_of, needed_nodes, set_type
from workbench.lowering import Refused


def excerpt(model: ir.Model, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> ir.Model:
    """The nodes between tensors, with the constants that they read, at the model's own opset.

    Args:
        model: a model or a hub graph; it is not changed.
        inputs: the tensors that are fed in place of being computed; their sizes are the model's own.
        outputs: names of the tensors to compute.

    Raises:
        Refused: the graph has no tensor of that name, or one that has to be fed is missing.
    """
    copy = model.clone()
    graph = copy.graph
    made = {value.name: value for node in graph for value in node.outputs if value.name}
    values = {**{value.name or "": value for value in (*graph.inputs, *graph.initializers.values())}, **made}
    unknown = [wanted for wanted in (*(spec.name for spec in inputs), *outputs) if wanted not in values]
    if unknown:
        raise Refused(f"the graph has no tensor {unknown[0]!r}")
    fed = [_cut(values[spec.name], spec) for spec in inputs]
    results = [values[wanted] for wanted in outputs]
    graph.outputs[:] = results
    needed = needed_nodes(graph, results)
    kept = set(needed)
    graph.remove([node for node in reversed(graph) if node not in kept], safe=True)
    read = {value for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.inputs if value is not None}
    for value in list(graph.initializers.values()):
        if value not in read and value.name is not None:
            del graph.initializers[value.name]
    missing = [value.name for value in graph.inputs if value in read and value not in graph.initializers.values()]
    if missing:
        raise Refused(f"the nodes read {missing[0]!r}, which is not fed")
    graph.inputs[:] = fed
    copy.metadata_props.clear()
    return copy


def _cut(value: ir.Value, spec: TensorSpec) -> ir.Value:
    """An input in the place of a value; what made the value makes another one.

    Sizes that the model leaves open stay open: branches that are not taken need not fit those that are fed.
    """
    dims = dims_of(value)
    fed = set_type(ir.Value(), spec.dtype, dims if dims is not None else (None,) * len(spec.shape or ()))
    value.replace_all_uses_with(fed)
    value.name = f"{spec.name}//computed"
    fed.name = spec.name
    return fed
