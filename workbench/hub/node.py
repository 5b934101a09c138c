"""A hub node as a ``from_onnx`` lowering sees it: attributes decoded by declared type, constants, static shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import onnx_ir as ir

from workbench.hub.opset import schema_of, since_version
from workbench.hub.stamps import approximations_of, layers_of
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import constant_of, dtype_name, is_constant
from workbench.lowering import Refused

Array = np.ndarray[Any, Any]


class HubNode:
    """One node of a specialised hub graph.

    Every attribute has to be read (:meth:`leftover` names those that were not): no attribute is ever ignored silently.

    Args:
        open_shapes: what is known of the graph's open sizes. Where there are some, a shape holds
            :class:`workbench.hub.sizes.Size` s beside numbers: whatever a lowering does with one holds for all of its
            range, or refuses.
    """

    def __init__(self, node: ir.Node, open_shapes: OpenShapes | None = None) -> None:
        self.node = node
        self._open_shapes = open_shapes
        self.operator = node.op_type
        self.domain = node.domain
        self.version = since_version(node.op_type, node.domain)
        self.inputs: Sequence[ir.Value | None] = node.inputs
        self.outputs: Sequence[ir.Value] = node.outputs
        self.approximations = approximations_of(node)
        self._unread = {name for name, attribute in node.attributes.items() if not attribute.is_ref()}

    @property
    def name(self) -> str:
        return self.node.name or self.outputs[0].name or ""

    @property
    def label(self) -> str:
        """``Clip-13``, ``com.microsoft.Gelu``."""
        return f"{self.domain}.{self.operator}" if self.domain else f"{self.operator}-{self.version}"

    @property
    def layers(self) -> tuple[str, ...]:
        """The source layers that the node stands for."""
        return layers_of(self.node) or (self.name,)

    # -- inputs -------------------------------------------------------------------------------------------------

    def input(self, index: int) -> ir.Value | None:
        """The input, ``None`` if it is omitted."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return value if value is None or value.name else None

    def value(self, index: int) -> ir.Value:
        """The input; refused if it is omitted."""
        value = self.input(index)
        if value is None:
            raise Refused(f"the input {self._input_name(index)!r} is missing")
        return value

    def constant(self, index: int) -> Array | None:
        """The input's array if it is a constant; ``None`` if it is omitted or computed."""
        return constant_of(self.input(index))

    def is_constant(self, index: int) -> bool:
        """Whether the input is a constant; a weight is not read for it."""
        return is_constant(self.input(index))

    def require_constant(self, index: int) -> Array:
        """The input's array; refused if it is omitted or computed at run time."""
        value = self.value(index)
        array = constant_of(value)
        if array is None:
            producer = value.producer()
            origin = f"the model input {value.name!r}"
            if producer is not None:
                origin = f"computed by {producer.op_type} {producer.name!r}"
            raise Refused(
                f"{self._input_name(index)!r} is {origin}, a constant is needed",
                "fix the input shapes with shapes={…}" if producer else "make it a constant of the model",
            )
        return array

    def constant_or(self, index: int, default: Array) -> Array:
        """The constant input's array, or the default if the input is omitted; refused if it is computed."""
        return default if self.input(index) is None else self.require_constant(index)

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The value's shape, numbers and open sizes; refused if a dimension is only known at run time."""
        known = value.shape is not None and all(isinstance(dim, int) for dim in value.shape)
        if not known and self._open_shapes is not None:
            return self._open_shape(value, self._open_shapes)
        if value.shape is None or not known:
            raise Refused(f"the shape of {value.name!r} depends on values at run time")
        return tuple(int(dim) for dim in value.shape)  # type: ignore[arg-type]  # checked above

    def _open_shape(self, value: ir.Value, known: OpenShapes) -> tuple[int, ...]:
        """Sizes behave as numbers do, so that they are typed as such: what does not hold for all of them raises."""
        shape = known.shape(value)
        if shape is None:
            raise Refused(f"the shape of {value.name!r} depends on values at run time")
        for axis, size in enumerate(shape):
            if size is None:
                raise Refused(
                    f"the size of {value.name!r} along axis {axis} does not follow from {known.describe()}",
                    "fix these with shapes={…}",
                )
        return tuple(size for size in shape if size is not None)  # type: ignore[misc]  # sizes among them, see above

    def elements(self, value: ir.Value) -> Array | None:
        """The elements of a small integer tensor that is made of open sizes; ``None`` of every other."""
        return None if self._open_shapes is None else self._open_shapes.made(value)

    def rank(self, value: ir.Value) -> int:
        return len(self.shape(value)) if value.shape is None else len(value.shape)

    def dtype(self, value: ir.Value) -> str:
        """numpy's name of the value's dtype."""
        return dtype_name(value.dtype)

    def axis(self, name: str = "axis", rank: int | None = None) -> int:
        """An axis attribute as a non-negative number (of the first input's rank unless told otherwise)."""
        axis = self.attr_int(name)
        return axis + (self.rank(self.value(0)) if rank is None else rank) if axis < 0 else axis

    # -- attributes ---------------------------------------------------------------------------------------------

    @overload
    def attr_int(self, name: str, /) -> int: ...
    @overload
    def attr_int(self, name: str, absent: None, /) -> int | None: ...
    def attr_int(self, name: str, /, *absent: None) -> int | None:
        """An integer attribute; its default is the schema's. Pass ``None`` to be told that it is absent."""
        attribute = self._take(name, required=not absent)
        return None if attribute is None else attribute.as_int()

    def attr_ints(self, name: str) -> tuple[int, ...] | None:
        """A list of integers; ``None`` if absent and without a default."""
        attribute = self._take(name, required=False)
        return None if attribute is None else tuple(attribute.as_ints())

    def attr_float(self, name: str) -> float:
        """A float attribute; its default is the schema's."""
        attribute = self._take(name, required=True)
        assert attribute is not None
        return attribute.as_float()

    def attr_floats(self, name: str) -> tuple[float, ...] | None:
        """A list of floats; ``None`` if absent and without a default."""
        attribute = self._take(name, required=False)
        return None if attribute is None else tuple(attribute.as_floats())

    def attr_string(self, name: str, *default: None) -> str | None:
        """A string attribute; its default is the schema's. Pass ``None`` to be told that it is absent."""
        attribute = self._take(name, required=not default)
        if attribute is None:
            return None
        if not isinstance(attribute.value, str):  # onnx-ir hands out bytes that are not UTF-8 as they are
            raise Refused(f"the attribute {name!r} is {attribute.value!r}, which is no text")
        return attribute.as_string()

    def attr_strings(self, name: str) -> tuple[str, ...] | None:
        """A list of strings; ``None`` if absent and without a default."""
        attribute = self._take(name, required=False)
        return None if attribute is None else tuple(attribute.as_strings())

    def attr_tensor(self, name: str) -> Array | None:
        """A tensor attribute; ``None`` if absent."""
        attribute = self._take(name, required=False)
        return None if attribute is None else attribute.as_tensor().numpy()

    def attr_graph(self, name: str) -> ir.Graph:
        """A subgraph."""
        attribute = self._take(name, required=True)
        assert attribute is not None
        return attribute.as_graph()

    def has(self, name: str) -> bool:
        """Whether the node states the attribute itself."""
        return name in self.node.attributes

    def ignore(self, *names: str) -> None:
        """Declare that the attributes carry no meaning here (the call says which, so a reader can judge)."""
        self._unread.difference_update(names)

    def leftover(self) -> tuple[str, ...]:
        """Attributes that nobody has read."""
        return tuple(sorted(self._unread))

    def approximate(self, bound: str) -> None:
        """Declare that the lowering is not exact, with its bound (``"erf within 1.5e-7 absolute"``)."""
        self.approximations.append(bound)

    # -- inside -------------------------------------------------------------------------------------------------

    def _take(self, name: str, *, required: bool) -> ir.Attr | None:
        self._unread.discard(name)
        attribute = self.node.attributes.get(name)
        if attribute is not None:
            return attribute
        schema = schema_of(self.operator, self.domain)
        declared = schema.attributes.get(name) if schema is not None else None
        if declared is not None and declared.default_value.type:
            return ir.serde.deserialize_attribute(declared.default_value)
        if required:
            raise Refused(f"the attribute {name!r} is missing and has no default")
        return None

    def _input_name(self, index: int) -> str:
        schema = schema_of(self.operator, self.domain)
        if schema is None or not schema.inputs:
            return f"input {index}"
        name: str = schema.inputs[min(index, len(schema.inputs) - 1)].name
        return name
