"""One node under upgrade, and what a step may do with it: read attributes, add constants, emit nodes around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir

from workbench.hub.upgrade.element_types import element_type
from workbench.hub.values import constant_of
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]
Attribute = int | float | str | Sequence[int] | Sequence[float] | ir.TensorProtocol | ir.Graph


class Names:
    """The names that a model uses already, so that a new one collides with none in any (sub)graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._taken: set[str] = set(graph.initializers)
        self._taken.update(value.name for value in graph.inputs if value.name)
        for inner in graph.subgraphs():
            self._taken.update(inner.initializers)
            self._taken.update(value.name for value in inner.inputs if value.name)
        for node in graph.all_nodes():
            self._taken.update(value.name for value in node.outputs if value.name)
            if node.name:
                self._taken.add(node.name)

    def unique(self, name: str) -> str:
        """The name itself if it is free, else the name with a number."""
        candidate, count = name, 0
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate


class Site:
    """The node that steps upgrade, with its neighbourhood.

    Attributes:
        node: the node; steps change it in place.
        original: the operator version that the model has (``Softmax-11`` → 11).
        version: the operator version that the node has now; a step that skips versions raises it itself.
    """

    def __init__(self, node: ir.Node, graph: ir.Graph, names: Names, version: int) -> None:
        self.node = node
        self.graph = graph
        self.original = version
        self.version = version
        self._names = names
        self._base = node.name or next((value.name for value in node.outputs if value.name), None) or node.op_type

    @staticmethod
    def refuse(cause: str, way_out: str = "") -> NoReturn:
        """This node cannot be upgraded exactly."""
        raise Refused(cause, way_out)

    # -- attributes: each is taken (read and removed), since the newer version states it otherwise ---------------

    def take(self, name: str, kind: ir.AttributeType) -> Any:
        """Remove the attribute and return its value, ``None`` if it is absent; refused if it is of another type."""
        attribute = self.node.attributes.pop(name, None)
        if attribute is None:
            return None
        if attribute.type is not kind:
            self.refuse(f"the attribute {name!r} is {attribute.type.name}, expected {kind.name}")
        return attribute.value

    def take_int(self, name: str, default: int) -> int:
        value = self.take(name, ir.AttributeType.INT)
        return default if value is None else int(value)

    def take_ints(self, name: str) -> list[int] | None:
        value = self.take(name, ir.AttributeType.INTS)
        return None if value is None else [int(item) for item in value]

    def take_float(self, name: str) -> float | None:
        value = self.take(name, ir.AttributeType.FLOAT)
        return None if value is None else float(value)

    def take_string(self, name: str, default: str) -> str:
        value = self.take(name, ir.AttributeType.STRING)
        return default if value is None else str(value)

    def required(self, name: str, value: Any) -> Any:
        """The value; refused if it is ``None`` although the old version demands the attribute."""
        if value is None:
            self.refuse(f"the required attribute {name!r} is missing")
        return value

    def has(self, name: str) -> bool:
        return name in self.node.attributes

    def set(self, **attributes: Attribute) -> None:
        """State attributes on the node."""
        for attribute in ir.convenience.convert_attributes(attributes):
            self.node.attributes.add(attribute)

    # -- inputs and what is known of them -----------------------------------------------------------------------

    def input(self, index: int) -> ir.Value | None:
        """The input; ``None`` if it is omitted."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        return value if value is not None and value.name else None

    def value(self, index: int) -> ir.Value:
        """The input; refused if it is omitted."""
        value = self.input(index)
        if value is None:
            self.refuse(f"input {index} is missing")
        return value

    def set_input(self, index: int, value: ir.Value | None) -> None:
        """Put the value at that place, omitting what lies before it and is absent."""
        if index >= len(self.node.inputs):
            self.node.resize_inputs(index + 1)
        self.node.replace_input_with(index, value)

    @staticmethod
    def known(value: ir.Value | None) -> Array | None:
        """The array of an initializer or of a Constant node; ``None`` if computed, fed, overridable or omitted."""
        if value is None:
            return None
        if value.producer() is None:
            return constant_of(value)
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()

    @staticmethod
    def rank(value: ir.Value) -> int | None:
        return None if value.shape is None else len(value.shape)

    @staticmethod
    def dims(value: ir.Value) -> tuple[int | None, ...] | None:
        """The dimensions as far as they are static; ``None`` if not even the rank is known."""
        if value.shape is None:
            return None
        return tuple(dim if isinstance(dim, int) else None for dim in value.shape)

    @staticmethod
    def dtype(value: ir.Value) -> ir.DataType | None:
        return element_type(value)

    # -- new values and nodes -----------------------------------------------------------------------------------

    def constant(self, array: Any, role: str, dtype: Any = np.int64) -> ir.Value:
        """Add an initializer to the node's own graph; ``role`` ends its name."""
        data = np.ascontiguousarray(np.asarray(array, dtype=dtype)).reshape(np.shape(array))
        tensor = ir.tensor(data)
        value = ir.Value(name=self._names.unique(f"{self._base}_{role}"), const_value=tensor)
        value.type = ir.TensorType(tensor.dtype)
        value.shape = ir.Shape(list(data.shape))
        self.graph.register_initializer(value)
        return value

    def scalar_like(self, number: float, like: ir.Value, role: str) -> ir.Value:
        """A scalar of the dtype of ``like``; through CastLike where that dtype is not known before run time."""
        dtype = self.dtype(like)
        if dtype is not None and not dtype.is_floating_point() and not number.is_integer():
            self.refuse(f"{number:g} cannot be said in {dtype.name.lower()}, the element type of {like.name!r}")
        if dtype is not None:
            with np.errstate(over="ignore"):  # a bound beyond float16 becomes infinity, as the old attribute did
                return self.constant(number, role, dtype.numpy())
        return self.emit("CastLike", [self.constant(number, role, np.float32), like], f"{role}_cast")

    def emit(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        role: str,
        like: ir.Value | None = None,
        **attributes: Attribute,
    ) -> ir.Value:
        """Insert a node before this one; ``like`` lends its element type to the output."""
        output = ir.Value(name=self._names.unique(f"{self._base}_{role}"))
        if like is not None:
            output.type = like.type
        self.graph.insert_before(self.node, self.inner_node(operator, inputs, [output], role, attributes))
        return output

    def emit_after(self, operator: str, inputs: Sequence[ir.Value | None], role: str, **attributes: Attribute) -> None:
        """Insert a node after this one that reads its output, then ``inputs``, and takes over that output's name."""
        inner = self.node.outputs[0]
        outer = ir.Value(type=inner.type, shape=inner.shape, doc_string=inner.doc_string)
        outer.metadata_props.update(inner.metadata_props)
        name = inner.name
        inner.replace_all_uses_with(outer, replace_graph_outputs=True)
        inner.name = self._names.unique(f"{self._base}_{role}_input")
        inner.shape = None
        outer.name = name
        self.graph.insert_after(self.node, self.inner_node(operator, [inner, *inputs], [outer], role, attributes))

    def fresh(self, like: ir.Value, role: str, *, with_shape: bool) -> ir.Value:
        """A new value of the element type of ``like``, and of its shape if asked for."""
        return ir.Value(
            name=self._names.unique(f"{self._base}_{role}"), type=like.type, shape=like.shape if with_shape else None
        )

    def inner_node(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[ir.Value],
        role: str,
        attributes: dict[str, Attribute],
    ) -> ir.Node:
        """A node that carries this one's stamps, in no graph yet."""
        return ir.Node(
            "",
            operator,
            inputs,
            ir.convenience.convert_attributes(attributes),
            outputs=outputs,
            name=self._names.unique(f"{self._base}_{role}_node"),
            metadata_props=dict(self.node.metadata_props),
        )

    def become(self, operator: str, inputs: Iterable[ir.Value | None], **attributes: Attribute) -> None:
        """Make the node another operator; its name, stamps and outputs stay, its old attributes go."""
        values = list(inputs)
        self.node.op_type = operator
        self.node.attributes.clear()
        self.set(**attributes)
        self.node.resize_inputs(len(values))
        for index, value in enumerate(values):
            self.node.replace_input_with(index, value)

    # -- outputs ------------------------------------------------------------------------------------------------

    def declares(self, index: int) -> bool:
        """Whether the node names that output."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index].name)

    def reads(self, index: int) -> bool:
        """Whether anything reads that output."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.uses()) or value.is_graph_output()
