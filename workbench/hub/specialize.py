"""Specialisation: a hub graph with its input shapes fixed, everything that follows from them computed.

Before: any hub graph. After: inputs have static shapes; nodes whose inputs are all known are constants (the arithmetic
of shapes vanishes); an ``If`` whose condition is known is replaced by its branch; dead nodes are gone; values have
inferred types. Stamps and the names of values survive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

# The one part of onnx-ir that clones a single node with values of an outer graph; it has no public name in 1.1.
from onnx_ir._cloner import Cloner

from workbench.document import TensorSpec
from workbench.errors import ModelError, OptionError
from workbench.hub.emitter import Emitter, needed_nodes
from workbench.hub.infer import check_node
from workbench.hub.stamps import layers_of
from workbench.hub.values import constant_of, dims_of, dtype_name, spec_of


@dataclass(frozen=True)
class Specialized:
    """A specialised graph, and the layers that became constants or turned out to be unused."""

    model: ir.Model
    folded: tuple[str, ...]


def open_dimensions(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> list[TensorSpec]:
    """Inputs that still have a dynamic dimension once ``shapes`` is applied."""
    return [
        spec_of(value)
        for value in model.graph.inputs
        if isinstance(value.type, ir.TensorType) and value.name not in shapes and not spec_of(value).is_static
    ]


def check_shapes(inputs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> None:
    """Check the option ``shapes`` against the model's inputs.

    Raises:
        OptionError: an unknown name, another rank, or another size than the model has fixed.
    """
    by_name = {spec.name: spec for spec in inputs}
    for name, shape in shapes.items():
        if name not in by_name:
            raise OptionError(f"shapes: the model has no input {name!r}; its inputs are {', '.join(map(str, inputs))}.")
        spec = by_name[name]
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise OptionError(f"shapes: {name!r} takes non-negative integers, not {tuple(shape)}.")
        if spec.shape is not None and (
            len(shape) != len(spec.shape)
            or any(isinstance(dim, int) and dim != size for dim, size in zip(spec.shape, shape, strict=True))
        ):
            raise OptionError(f"shapes: {name!r} is {spec.describe()}; {tuple(shape)} does not fit it.")


def specialize(model: ir.Model, shapes: Mapping[str, Sequence[int]] | None = None) -> Specialized:
    """Fix the input shapes and compute what follows from them.

    Args:
        model: a hub graph; it is not changed.
        shapes: input name → sizes, for the inputs with dynamic dimensions.

    Raises:
        OptionError: ``shapes`` does not fit the inputs.
        ModelError: with these shapes, the inputs of some node do not fit together.
    """
    graph = model.graph
    shapes = shapes or {}
    check_shapes([spec_of(value) for value in graph.inputs], shapes)
    emitter = Emitter(graph.name or "model", fold=True)
    replay = Replay(emitter)
    for value in graph.inputs:
        if isinstance(value.type, ir.TensorType):
            shape = shapes.get(value.name or "", dims_of(value))
            replay.values[value] = emitter.input(value.name or "", dtype_name(value.dtype), shape)
    replay.graph(graph)
    for value in graph.outputs:
        if value not in replay.values:
            raise ModelError(f"the output {value.name!r} is an input that is no tensor; it cannot be converted.")
    specialized = replay.finish(model)
    kept = {layer for node in emitter.nodes for layer in layers_of(node)}
    named = [layer for node in graph for layer in layers_of(node)]
    folded = tuple(dict.fromkeys(layer for layer in named if layer not in kept))
    return Specialized(specialized, folded)


class Replay:
    """Replays nodes into the emitter; ``values`` maps the old values to the new ones."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.values: dict[ir.Value, ir.Value] = {}

    def finish(self, original: ir.Model) -> ir.Model:
        """The model of what was replayed and is needed; outputs have the names that they have in the original."""
        outputs = [self.values[value] for value in original.graph.outputs]
        self.emitter.nodes = needed_nodes(self.emitter.nodes, outputs)
        named = [
            self.emitter.rename(value, output.name or "") if value.producer() is not None else value
            for value, output in zip(outputs, original.graph.outputs, strict=True)
        ]
        return self.emitter.finish(named, original.metadata_props)

    def graph(self, graph: ir.Graph) -> None:
        for value in graph.initializers.values():
            if value not in self.values and value.const_value is not None:
                self.values[value] = self.emitter.tensor(value.const_value, value.name)
        for node in graph:
            with self.emitter.layer(layers_of(node)):
                self.node(node)

    def node(self, node: ir.Node) -> None:
        if node.op_type == "If" and not node.domain:
            condition = constant_of(self.values.get(node.inputs[0])) if node.inputs[0] is not None else None
            if condition is not None and condition.size == 1:
                check_node(node)
                branch = node.attributes["then_branch" if condition.item() else "else_branch"].as_graph()
                return self._inline(node, branch)
        if node.op_type == "Constant" and not node.domain:
            return self._constant(node)
        cloner = Cloner(attr_map={}, value_map=dict(self.values), metadata_props={}, allow_outer_scope_values=True)
        self.values.update(zip(node.outputs, self.emitter.add(cloner.clone_node(node)), strict=True))

    def _inline(self, node: ir.Node, branch: ir.Graph) -> None:
        if len(branch.outputs) != len(node.outputs):
            raise ModelError(
                f"onnx If {node.name!r}: it has {len(node.outputs)} outputs, its branch makes {len(branch.outputs)}."
            )
        self.graph(branch)
        self.values.update(zip(node.outputs, (self.values[value] for value in branch.outputs), strict=True))

    def _constant(self, node: ir.Node) -> None:
        tensor = _constant_tensor(node)
        self.values[node.outputs[0]] = self.emitter.tensor(tensor, node.outputs[0].name)


def _constant_tensor(node: ir.Node) -> ir.TensorProtocol:
    """The value of a Constant node (https://onnx.ai/onnx/operators/onnx__Constant.html)."""
    check_node(node)
    if len(node.attributes) != 1:
        raise ModelError(f"onnx Constant {node.name!r}: it has {len(node.attributes)} values; it takes exactly one.")
    name, attribute = next(iter(node.attributes.items()))
    if name == "value":
        return attribute.as_tensor()
    if name in ("value_string", "value_strings"):
        items = [attribute.as_string()] if name == "value_string" else list(attribute.as_strings())
        encoded = [item.encode() for item in items]
        return ir.StringTensor(encoded, shape=ir.Shape([] if name == "value_string" else [len(items)]))
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    return ir.tensor(np.asarray(attribute.value, dtype=kinds[name]))
