"""What ``from_onnx`` lowerings emit into: flat NNEF operations with shapes checked as they are made.

Tensors are named at the end, so that a lowering need not care. Constants become a literal where one number is enough
and a variable otherwise; weights are passed through as they lie (memory-mapped ones stay so).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from workbench import limits
from workbench.formats.nnef.binding import Mismatch, bind, standard_operations
from workbench.formats.nnef.from_onnx.precision import FLOATS, settle
from workbench.formats.nnef.from_onnx.tensor import KINDS, Emitted, Tensor, declaration, kind_of, storable
from workbench.formats.nnef.graph import NnefOperation, TensorRef, Value
from workbench.formats.nnef.levels import reshaped
from workbench.formats.nnef.quantization import Quantization
from workbench.formats.nnef.shapes import result_shapes
from workbench.formats.nnef.syntax import ArrayOf, TensorOf, Type
from workbench.hub import HubNode, dtype_name
from workbench.hub.on_disk import OnDisk
from workbench.hub.stored import Grid, Stored
from workbench.lowering import Refused, Table

Lowering = Callable[[HubNode, "Builder"], Any]
TABLE: Table[Lowering] = Table("onnx", "nnef")


class Builder:
    """Emits operations. See :class:`workbench.hub.Target` for what the engine calls.

    Args:
        scalar: numpy's name of the dtype of the graph's floating-point tensors.
    """

    keeps_states = True
    """Whether a state is a variable that is updated, rather than an input and an output."""

    def __init__(self, scalar: str) -> None:
        self.scalar_dtype = scalar
        self.inputs: list[tuple[ir.Value, Tensor]] = []
        self.states: dict[Tensor, ir.TensorProtocol] = {}
        self.nameless: Set[ir.Value] = frozenset()
        self.values: dict[ir.Value, Tensor] = {}
        self.emitted: list[Emitted] = []
        self.declared = standard_operations()
        self.quantized: dict[Tensor, Quantization] = {}
        self.within_planes: dict[Tensor, tuple[Tensor, int]] = {}
        self._views: dict[tuple[int, str], Tensor] = {}
        self._node: HubNode | None = None

    @property
    def whole(self) -> int:
        """Up to this magnitude every integer is a scalar exactly: 2^24 in float32."""
        return int(2 ** FLOATS[self.scalar_dtype].bits)

    # -- what lowerings use -------------------------------------------------------------------------------------

    @property
    def quantizes(self) -> bool:
        """Whether quantised tensors are said by ``graph.quant`` and the operations that emulate quantisation."""
        return self.declared is standard_operations()

    def tensor(self, value: ir.Value) -> Tensor:
        """The tensor that stands for a hub value."""
        found = self.values.get(value)
        if found is None:
            data = value.const_value
            if data is None:
                raise Refused(f"the tensor {value.name!r} comes from outside of the graph")
            dtype = dtype_name(data.dtype)
            kind = kind_of(dtype, f"the constant {value.name!r}")
            if dtype == "uint64" and (data.numpy() > np.iinfo(np.int64).max).any():
                raise Refused(f"the constant {value.name!r} has values beyond those of int64")
            found = self._constant(data, kind, dtype, value.name or "")
            self.values[value] = found
        return found

    def _constant(self, data: ir.TensorProtocol, kind: str, dtype: str, hint: str) -> Tensor:
        """The tensor of a constant of the hub, of numpy's ``dtype`` there."""
        data = storable(data, self.scalar_dtype if kind == "scalar" else dtype)
        return Tensor(kind, tuple(int(d) for d in data.shape.numpy()), data, hint=hint)

    def const(self, array: Any, kind: str = "scalar") -> Tensor:
        """A constant; ``array`` is converted to the dtype that ``kind`` has here.

        Raises:
            Refused: ``array`` is of integers that the dtype does not hold.
        """
        dtype = {"integer": "int64", "logical": "bool"}.get(kind, self.scalar_dtype)
        given = np.asarray(array)
        data = given.astype(dtype)
        if given.dtype.kind in "iu" and kind != "logical" and not np.array_equal(data, given):
            raise Refused("constant integers are too large to be computed with as scalars")
        return Tensor(kind, data.shape, ir.Tensor(data), hint="constant")

    def number(self, value: float) -> Tensor:
        """A scalar constant of rank 0, which is written as a literal."""
        return self.const(value)

    def op(self, name: str, *tensors: Tensor | Sequence[Tensor], dtype: str | None = None, **attributes: Any) -> Tensor:
        """Emit an operation with one result: its tensors in the order of the declaration, its attributes by name.

        Raises:
            Refused: the arguments do not fit the operation (which tells of a case the lowering did not think of).
        """
        result = self.ops(name, *tensors, dtype=dtype, **attributes)
        assert isinstance(result, Tensor), name
        return result

    def ops(
        self,
        name: str,
        *tensors: Tensor | Sequence[Tensor],
        dtype: str | None = None,
        count: int = 0,
        **attributes: Any,
    ) -> Any:
        """Emit an operation; its result, the tuple of its results, or the list of ``count`` for an array."""
        declaration = self.declared[name]
        wanted = [p.name for p in declaration.parameters if "tensor" in str(p.type)]
        given: dict[str, Any] = dict(zip(wanted, tensors, strict=False))
        given.update({key: self._plain(value) for key, value in attributes.items()})
        known: dict[str, Tensor] = {}
        named = {key: self._named(value, known) for key, value in given.items()}
        if any(0 in tensor.shape for tensor in known.values()):
            raise Refused("a tensor that it reads holds no elements, which NNEF cannot say")
        kinds = {key: tensor.kind for key, tensor in known.items()}
        try:
            bound, resolved = bind(declaration, list(named.items()), dtype, kinds)
            results = {
                result.name: [TensorRef(f"@{result.name}{i}") for i in range(count)]
                if isinstance(result.type, ArrayOf)
                else TensorRef(f"@{result.name}")
                for result in declaration.results
            }
            probe = NnefOperation(name, bound, results, resolved)
            shapes = self._shapes(probe, {key: tensor.shape for key, tensor in known.items()})
        except Mismatch as mismatch:
            raise Refused(f"the operation {name} does not take these arguments: {mismatch}") from mismatch
        made = {
            result.name: self._map(
                results[result.name],
                functools.partial(_made, kind=_kind_of_result(result.type, resolved), shapes=shapes, hint=name),
            )
            for result in declaration.results
        }
        arguments = {key: self._map(value, lambda ref: known[ref.name]) for key, value in bound.items()}
        layers = self._node.layers if self._node is not None else ()
        self.emitted.append(Emitted(name, arguments, made, resolved, layers))
        values = tuple(made.values())
        return values[0] if len(values) == 1 else values

    def _shapes(self, operation: NnefOperation, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The shapes of an operation's results."""
        return result_shapes(operation, shapes)

    def _plain(self, value: Any) -> Any:
        """Attributes as the finished operation holds them: no numpy numbers, lists for arrays."""
        if isinstance(value, np.generic):
            return self._plain(value.item())
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self._plain(item) for item in value)
        if isinstance(value, float) and self.scalar_dtype != "float64":
            return shortest(value)
        return value

    def _named(self, value: Any, known: dict[str, Tensor]) -> Value:
        """Tensors as references under provisional names; numbers of rank 0 as literals."""
        if isinstance(value, Tensor):
            literal = self._literal(value)
            if literal is not None:
                return literal
            name = f"#{len(known)}"
            known[name] = value
            return TensorRef(name)
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return [self._named(item, known) for item in value]
        return value

    def _literal(self, tensor: Tensor) -> Value | None:
        if tensor.rank or tensor.data is None:
            return None
        value = tensor.data.numpy().item()
        if isinstance(value, float):
            return self._plain(value) if np.isfinite(value) else None
        return value

    @staticmethod
    def _map(value: Any, function: Callable[[TensorRef], Any]) -> Any:
        if isinstance(value, TensorRef):
            return function(value)
        if isinstance(value, list):
            return [Builder._map(item, function) for item in value]
        return value

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The tensor in another shape; constants are reshaped at once."""
        if tuple(shape) == x.shape:
            return x
        if isinstance(x.data, OnDisk):
            return Tensor(x.kind, tuple(shape), x.data.reshaped(tuple(shape)), hint=x.hint)
        if shape and isinstance(x.data, Stored) and x.data.grid.scale.size == 1:
            return self._held(x, reshaped(x.data.grid, tuple(shape)))
        if x.array is not None:
            return self._moved(x, x.array.reshape(tuple(shape)))
        missing = [axis for axis, extent in enumerate(shape) if extent == 1]
        if len(shape) > x.rank and x.shape == tuple(extent for extent in shape if extent != 1) and missing:
            return self.op("unsqueeze", x, axes=missing)
        return self.op("reshape", x, shape=list(shape))

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The tensor with its axes permuted; constants are permuted at once."""
        if list(axes) == list(range(x.rank)):
            return x
        if isinstance(x.data, Stored):
            return self._held(x, x.data.grid.transposed(tuple(axes)))
        if x.array is not None:
            return self._moved(x, x.array.transpose(tuple(axes)))
        return self.op("transpose", x, axes=list(axes))

    def _held(self, x: Tensor, grid: Grid) -> Tensor:
        data = Stored(grid)
        data.name = x.data.name if x.data is not None else None
        return Tensor(x.kind, grid.data.shape, data, hint=x.hint)

    def _moved(self, x: Tensor, array: NDArray[Any]) -> Tensor:
        name = x.data.name if x.data is not None else None
        return Tensor(x.kind, array.shape, ir.Tensor(array, name=name), hint=x.hint)

    def with_rank(self, x: Tensor, rank: int) -> Tensor:
        """Prepend axes of extent 1: ONNX aligns shapes on the right, NNEF on the left."""
        return self.reshape(x, (*[1] * (rank - x.rank), *x.shape))

    def aligned(self, *tensors: Tensor) -> list[Tensor]:
        """The tensors with equal ranks; constants of one element become literals where another tensor has the rank."""
        rank = max(tensor.rank for tensor in tensors)
        carried = max((tensor.rank for tensor in tensors if not self._is_one(tensor)), default=-1)
        return [
            self.reshape(tensor, ()) if self._is_one(tensor) and carried == rank else self.with_rank(tensor, rank)
            for tensor in tensors
        ]

    @staticmethod
    def _is_one(tensor: Tensor) -> bool:
        if tensor.data is None or tensor.data.size != 1:
            return False
        return bool(np.isfinite(tensor.data.numpy().astype(np.float64)).all())

    def scalar(self, x: Tensor) -> Tensor:
        """The tensor as scalar (integers are exact up to 2^24 in float32)."""
        return self._as("scalar", x)

    def integer(self, x: Tensor) -> Tensor:
        """The tensor as integer; scalars are truncated."""
        return self._as("integer", x)

    def logical(self, x: Tensor) -> Tensor:
        """Whether the tensor is not zero."""
        if x.kind == "logical":
            return x
        if x.array is not None:
            return self.const(x.array != 0, "logical")
        return self.op("ne", self.scalar(x), self.number(0.0))

    def _as(self, kind: str, x: Tensor) -> Tensor:
        if x.kind == kind:
            return x
        if x.array is not None:
            converted = self.const(x.array, kind)
            converted.hint = x.hint
            return converted
        key = (id(x), kind)
        if key not in self._views:
            self._views[key] = self.op("cast", x, dtype=kind)
        return self._views[key]

    def like(self, x: Tensor, value: ir.Value) -> Tensor:
        """The tensor in the kind that the hub value has."""
        kind = kind_of(dtype_name(value.dtype))
        return self.logical(x) if kind == "logical" else self._as(kind, x)

    def as_output(self, tensor: Tensor, value: ir.Value) -> Tensor:
        """The tensor as the output that the hub value is."""
        return self.like(tensor, value)

    # -- what the engine uses -----------------------------------------------------------------------------------

    def begin(self, node: HubNode) -> None:
        """The node's operations follow."""
        self._node = node

    def bind(self, node: HubNode, results: Sequence[Any]) -> None:
        """The tensors stand for the node's outputs; a shape that differs is refused."""
        for value, tensor in zip(node.outputs, results, strict=False):
            if not value.name:
                continue
            if tensor is None:
                if value.uses() or value.is_graph_output():
                    raise Refused(f"the output {value.name!r} has no counterpart")
                continue
            tensor = self.settled(node, dtype_name(value.dtype), tensor)
            shape = tuple(int(dim) for dim in value.shape or ())  # type: ignore[arg-type]  # static, checked before
            if tensor.shape != shape:
                raise Refused(f"{value.name!r} would have the shape {list(tensor.shape)}, not {list(shape)}")
            if value not in self.nameless and not tensor.name and all(tensor is not given for _, given in self.inputs):
                tensor.hint = value.name or tensor.hint
            self.values[value] = tensor

    def settled(self, node: HubNode, dtype: str, tensor: Tensor) -> Tensor:
        """What the node made, as a value of the dtype that it has in the model; may refuse."""
        return settle(node, self, dtype, tensor)

    def stand_in(self, node: HubNode) -> None:
        """Outputs of a refused node, so that those after it can be planned."""
        for value in node.outputs:
            if value.name:
                kind = KINDS.get(dtype_name(value.dtype), "scalar")
                known = value.shape is not None and all(isinstance(dim, int) for dim in value.shape)
                shape = tuple(int(dim) for dim in value.shape) if known and value.shape is not None else ()  # type: ignore[arg-type]
                self.values[value] = Tensor(kind, shape, hint=value.name)

    def add_input(self, value: ir.Value, dtype: str, shape: tuple[int, ...]) -> None:
        """Declare an input of the graph."""
        tensor = Tensor(kind_of(dtype, f"the input {value.name!r}"), shape, hint=value.name or "")
        self.inputs.append((value, tensor))
        self.values[value] = tensor

    def add_state(self, value: ir.Value, dtype: str, shape: tuple[int, ...], start: ir.TensorProtocol | None) -> None:
        """Declare an input that is a variable, which holds ``start``, or zeros, before the first run."""
        self.add_input(value, dtype, shape)
        tensor = self.inputs[-1][1]
        if start is None:
            limits.check("folded_elements", math.prod(shape), "elements of a state")
            start = ir.Tensor(np.zeros(shape, {"integer": "int64", "logical": "bool"}.get(tensor.kind, "float32")))
        self.states[tensor] = storable(start, self.scalar_dtype if tensor.kind == "scalar" else dtype_name(start.dtype))

    def extensions(self, operations: Sequence[NnefOperation]) -> tuple[tuple[str, ...], ...]:
        """The extensions that the text has to name, each as its words."""
        return ()

    def external(self, tensor: Tensor) -> NnefOperation:
        """The declaration of an input."""
        return declaration("external", tensor, shape=list(tensor.shape))


def _made(ref: TensorRef, kind: str, shapes: Mapping[str, tuple[int, ...]], hint: str) -> Tensor:
    return Tensor(kind, shapes[ref.name], hint=hint)


def _kind_of_result(kind: Type, resolved: str | None) -> str:
    if isinstance(kind, ArrayOf):
        return _kind_of_result(kind.item, resolved)
    dtype = kind.dtype if isinstance(kind, TensorOf) else None
    return (resolved if dtype == "?" else dtype) or "scalar"


def shortest(value: float) -> float:
    """The double whose shortest text reads back as the same float32 (0.1 for 0.10000000149…)."""
    return float(str(np.float32(value))) if np.isfinite(value) else float(value)
