"""What is emitted for tract: the lowerings to standard operations are the base, said in the forms that tract reads.

tract keeps dtypes: inputs and outputs have those of the model, ``integer`` is int64 with arithmetic of its own, and
what is narrower than the graph's scalar is rounded by casts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.formats.nnef.from_onnx.builder import Builder
from workbench.formats.nnef.from_onnx.precision import FLOATS, KEPT, SUMS
from workbench.formats.nnef.from_onnx.tensor import Tensor, kind_of, storable
from workbench.formats.nnef.graph import NnefOperation, TensorRef, Value
from workbench.formats.nnef.tract.declarations import DATUM_NAMES, registry_of, tract_operations
from workbench.formats.nnef.tract.shapes import tract_shapes
from workbench.hub import HubNode, dtype_name

Rewriting = Callable[..., Any]
REWRITINGS: dict[str, Rewriting] = {}
"""Standard operation → how tract is told; called as the operation is emitted, with the builder in front."""

_CONVERTED = 1 << 16  # integers of another width than 64 bits that are stored as int64, rather than cast by tract


def rewrites(*operations: str) -> Callable[[Rewriting], Rewriting]:
    """Register the decorated function for standard operations that tract lacks, or reads otherwise."""

    def register(function: Rewriting) -> Rewriting:
        for operation in operations:
            assert operation not in REWRITINGS, operation
            REWRITINGS[operation] = function
        return function

    return register


class TractBuilder(Builder):
    """Emits operations of the tract dialect. See :class:`Builder`."""

    keeps_states = False  # tract has no update

    def __init__(self, scalar: str) -> None:
        super().__init__(scalar)
        self.declared = tract_operations()
        self._datums: dict[Tensor, str] = {}

    # -- what lowerings use -------------------------------------------------------------------------------------

    def ops(
        self,
        name: str,
        *tensors: Tensor | Sequence[Tensor],
        dtype: str | None = None,
        count: int = 0,
        **attributes: Any,
    ) -> Any:
        """As :meth:`Builder.ops`; what tract reads otherwise is said in another way."""
        rewriting = REWRITINGS.get(name)
        if rewriting is None:
            return super().ops(name, *tensors, dtype=dtype, count=count, **attributes)
        extra = {"dtype": dtype} if dtype is not None else {}
        return rewriting(self, *tensors, **extra, **attributes)

    def plain(self, name: str, *tensors: Tensor | Sequence[Tensor], **attributes: Any) -> Any:
        """The standard operation as it is."""
        return super().ops(name, *tensors, **attributes)

    def datum(self, kind: str) -> str:
        """tract's name of the dtype that a kind has in this graph."""
        return {"integer": "i64", "logical": "bool"}.get(kind) or DATUM_NAMES[self.scalar_dtype]

    def cast(self, x: Tensor, kind: str, to: str | None = None) -> Tensor:
        """``tract_core_cast`` to the dtype of the kind, or to another one of tract's."""
        made: Tensor = super().ops("tract_core_cast", x, to=to or self.datum(kind))
        made.kind, made.hint = kind, f"{x.hint}_{to or self.datum(kind)}"
        return made

    def through(self, x: Tensor, dtype: str) -> Tensor:
        """The values of ``x`` as those of a narrower dtype (numpy's name): rounded, or wrapped around."""
        return self.cast(self.cast(x, x.kind, DATUM_NAMES[dtype]), x.kind)

    def whole_numbers(self, value: ir.Value) -> Tensor:
        """An operand of arithmetic on integers."""
        return self.integer(self.tensor(value))

    # -- what the engine uses -----------------------------------------------------------------------------------

    def settled(self, node: HubNode, dtype: str, tensor: Tensor) -> Tensor:
        """What is narrower than the graph's scalar is rounded to it."""
        if self.scalar_dtype == "float16" and node.operator in SUMS:
            node.approximate("tract adds up float16 in float16, rounding at each step")
        narrower = dtype in FLOATS and tensor.kind == "scalar" and dtype != self.scalar_dtype
        if narrower and dtype in DATUM_NAMES and tensor.data is None and node.operator not in KEPT:
            return self.through(tensor, dtype)
        return super().settled(node, dtype, tensor)

    def add_input(self, value: ir.Value, dtype: str, shape: tuple[int, ...]) -> None:
        """An input of the model's own dtype where tract has it, and what the graph computes with."""
        kind = kind_of(dtype, f"the input {value.name!r}")
        tensor = Tensor(kind, shape, hint=value.name or "")
        self.inputs.append((value, tensor))
        datum = DATUM_NAMES.get(dtype) or self.datum(kind)
        self._datums[tensor] = datum
        as_it_is = datum == self.datum(kind) or 0 in shape  # of no elements: refused where it is read
        self.values[value] = tensor if as_it_is else self.cast(tensor, kind)

    def as_output(self, tensor: Tensor, value: ir.Value) -> Tensor:
        """The tensor in the dtype that the model's output has, where tract has it."""
        tensor = self.like(tensor, value)
        datum = DATUM_NAMES.get(dtype_name(value.dtype)) or self.datum(tensor.kind)
        return tensor if datum == self.datum(tensor.kind) else self.cast(tensor, tensor.kind, datum)

    def extensions(self, operations: Sequence[NnefOperation]) -> tuple[tuple[str, ...], ...]:
        """The registries of the operations; always tract_core, by which the dialect is known."""
        needed = {registry_of(operation.name) for operation in operations} | {"tract_core"}
        return tuple(("tract_registry", registry) for registry in sorted(filter(None, needed)))

    # -- inside -------------------------------------------------------------------------------------------------

    def _constant(self, data: ir.TensorProtocol, kind: str, dtype: str, hint: str) -> Tensor:
        """Constants are stored as they are, and cast where the graph computes in another dtype."""
        wanted = self.scalar_dtype if kind == "scalar" else {"integer": "int64"}.get(kind, dtype)
        if dtype == wanted or dtype not in DATUM_NAMES or (kind == "integer" and data.size <= _CONVERTED):
            return super()._constant(data, kind, wanted, hint)
        stored = storable(data, dtype)
        return self.cast(Tensor(kind, tuple(int(d) for d in stored.shape.numpy()), stored, hint=hint), kind)

    def _shapes(self, operation: NnefOperation, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return tract_shapes(operation, shapes)

    def _literal(self, tensor: Tensor) -> Value | None:
        """A number in the text is a float32 for tract, whatever stands beside it; others are variables."""
        literal = super()._literal(tensor)
        if tensor.kind == "logical":
            return literal
        exact = self.scalar_dtype == "float32" and tensor.kind == "scalar"
        return literal if exact and literal is not None and np.isfinite(np.float32(literal)) else None

    def external(self, tensor: Tensor) -> NnefOperation:
        datum = self._datums[tensor]
        standard = {"f32": "scalar", "i64": "integer", "bool": "logical"}.get(datum)
        result = {"output": TensorRef(tensor.name)}
        if standard is not None:
            return NnefOperation("external", {"shape": list(tensor.shape)}, result, standard)
        arguments = {"datum_type": datum, "shape": list(tensor.shape)}
        return NnefOperation("tract_core_external", arguments, result)
