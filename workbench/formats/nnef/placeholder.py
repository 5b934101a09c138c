"""Graphs without inputs.

NNEF's grammar wants at least one input in a graph, and Khronos' parser reads no graph without. So one that nothing
reads is written, and the sidecar says that it is no input of the model.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef

_NAME = "no_input"


def with_placeholder(graph: NnefGraph) -> tuple[NnefGraph, str | None]:
    """The graph as it can be written in its dialect, and the name of the input that was added, if one was."""
    if graph.inputs or graph.is_tract:  # tract reads graphs without inputs
        return graph, None
    taken = {name for operation in graph.operations for name in operation.outputs}
    name = _NAME
    while name in taken:
        name += "_"
    declared = NnefOperation("external", {"shape": [1]}, {"output": TensorRef(name)}, "scalar")
    return replace(graph, inputs=(name,), operations=(declared, *graph.operations)), name


def without_placeholder(graph: NnefGraph, name: str | None) -> NnefGraph:
    """The graph as it was before; itself if it has another input, or if anything reads the one of that name."""
    if name is None or graph.inputs != (name,) or name in graph.outputs:
        return graph
    if any(name in operation.inputs for operation in graph.operations):
        return graph  # the record says what is not so
    kept = tuple(operation for operation in graph.operations if operation.outputs != (name,))
    dtypes = {tensor: kind for tensor, kind in graph.dtypes.items() if tensor != name}
    return replace(graph, inputs=(), operations=kept, dtypes=dtypes)
