"""A few operations of an NNEF graph as a model of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from workbench.document import TensorSpec
from workbench.formats.nnef.document import Contents, NnefDocument, Sidecar
from workbench.formats.nnef.graph import NnefGraph, NnefOperation, TensorRef
from workbench.formats.nnef.placeholder import with_placeholder
from workbench.formats.nnef.printer import print_graph
from workbench.formats.nnef.read import assemble, document_of
from workbench.formats.nnef.tract.declarations import DATUM_NAMES, tract_operations
from workbench.lowering import Refused

_QUANTIZED = re.compile(r'^\s*"([^"]+)"\s*:')


def excerpt(contents: Contents, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> NnefDocument:
    """The operations between tensors, with the variables that they read.

    Args:
        contents: of the model; it is not changed.
        name: of the excerpt.
        inputs: the tensors that are fed in place of being computed, with their sizes.
        outputs: names of the tensors to compute.

    Raises:
        Refused: the graph uses extensions, has no tensor of that name, or one that has to be fed is missing.
    """
    graph = contents.graph
    if graph.extensions and not graph.is_tract:
        raise Refused("its graph uses extensions, whose operations have no declarations here to print them by")
    fed = {spec.name: spec for spec in inputs}
    unknown = [wanted for wanted in (*fed, *outputs) if wanted not in graph.dtypes]
    if unknown:
        raise Refused(f"the graph has no tensor {unknown[0]!r}")
    makers = {made: operation for operation in graph.operations for made in operation.outputs}
    needed: set[int] = set()
    pending = list(outputs)
    while pending:
        wanted = pending.pop()
        operation = makers[wanted]
        if wanted in fed or id(operation) in needed:
            continue
        if operation.name == "external":
            raise Refused(f"the operations read {wanted!r}, which is not fed")
        needed.add(id(operation))
        pending += operation.inputs
    externals = [_external(spec, graph) for spec in inputs]
    kept = [operation for operation in graph.operations if id(operation) in needed]
    part = replace(graph, inputs=tuple(fed), outputs=tuple(outputs), operations=(*externals, *kept))
    part, placeholder = with_placeholder(part)
    names = {*fed, *(made for operation in kept for made in operation.outputs)}
    variables = {variable.label: variable for variable in contents.variables.values()}
    lines = [line for line in contents.quantization_text.splitlines() if _quantizes(line, names)]
    found = assemble(
        print_graph(part, tract_operations() if graph.is_tract else None),
        "\n".join(lines),
        Sidecar(contents.scalar, placeholder=placeholder).to_json(),
        lambda label: (variables[label].stored, variables[label].quantized),
        name,
    )
    return document_of(found, name)


def _external(spec: TensorSpec, graph: NnefGraph) -> NnefOperation:
    sizes = [dim for dim in spec.shape or () if isinstance(dim, int)]
    kind = graph.dtypes[spec.name]
    if graph.is_tract:
        arguments = {"datum_type": DATUM_NAMES[spec.dtype], "shape": sizes}
        return NnefOperation("tract_core_external", arguments, {"output": TensorRef(spec.name)})
    return NnefOperation("external", {"shape": sizes}, {"output": TensorRef(spec.name)}, kind)


def _quantizes(line: str, names: set[str]) -> bool:
    found = _QUANTIZED.match(line)
    return found is not None and found.group(1) in names
