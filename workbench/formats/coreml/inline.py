"""Puts one hub graph into another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir

from workbench.hub import Emitter, layers_of, stamp, subgraphs


def inline(
    emitter: Emitter, model: ir.Model, prefix: str, inputs: Sequence[ir.Value], rename: Callable[[str], str]
) -> list[ir.Value]:
    """Move the nodes of a graph into the emitter; the graph is used up.

    Args:
        emitter: where to.
        model: the hub graph.
        prefix: put before the layers that nodes are stamped with, and before the names of constants.
        inputs: what the graph's inputs are, in their order.
        rename: what a tensor is called in the emitter.

    Returns:
        What the graph's outputs are.
    """
    graph = model.graph
    outputs = list(graph.outputs)
    graph.outputs.clear()
    values = dict(zip(graph.inputs, inputs, strict=True))
    for value in list(graph.initializers.values()):
        if value.const_value is not None:
            values[value] = emitter.tensor(value.const_value, f"{prefix}/{value.name}")
    for node in list(graph):
        graph.remove(node)
        for inner in (node, *_inner(node)):
            stamp(inner, [f"{prefix}/{layer}" for layer in layers_of(inner)])
            inner.name = None
            for index, read in enumerate(inner.inputs):
                if read is not None and read in values:
                    inner.replace_input_with(index, values[read])
            for value in inner.outputs:
                if value.name:
                    value.name = rename(value.name)
        _rename_inner(node, prefix)
        with emitter.layer(layers_of(node)):
            emitter.add(node)
    return [values.get(value, value) for value in outputs]


def _inner(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes inside a node, at any depth."""
    for graph in subgraphs(node):
        yield from ir.traversal.RecursiveGraphIterator(graph)


def _rename_inner(node: ir.Node, prefix: str) -> None:
    """Inputs and constants of the graphs inside a node; a name may stand in one graph only."""
    for owner in (node, *_inner(node)):
        for graph in subgraphs(owner):
            for value in (*graph.inputs, *list(graph.initializers.values())):
                value.name = f"{prefix}/{value.name}"
