"""The tensors and operations of an NNEF graph under construction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from workbench.formats.nnef.graph import NnefOperation, TensorRef
from workbench.hub import dtype_name
from workbench.lowering import Refused

KINDS = {
    **dict.fromkeys(("float16", "float32", "float64", "bfloat16", "float4e2m1"), "scalar"),
    **dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"), "scalar"),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "integer"),
    **dict.fromkeys(("int2", "uint2", "int4", "uint4"), "integer"),
    "bool": "logical",
}


def kind_of(dtype: str, what: str = "a tensor") -> str:
    """``scalar``, ``integer`` or ``logical`` for numpy's dtype name; refused if NNEF has no such type."""
    if dtype not in KINDS:
        raise Refused(f"{what} is {dtype}, NNEF has scalar, integer and logical tensors only")
    return KINDS[dtype]


@dataclass(eq=False)
class Tensor:
    """A tensor of the graph under construction. ``data`` is set for constants."""

    kind: str
    shape: tuple[int, ...]
    data: ir.TensorProtocol | None = None
    hint: str = ""
    name: str = ""

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def array(self) -> NDArray[Any] | None:
        """The constant's array, or ``None``."""
        return None if self.data is None else self.data.numpy()


@dataclass(eq=False)
class Emitted:
    """One operation under construction: arguments hold :class:`Tensor` where the finished one holds names."""

    name: str
    arguments: dict[str, Any]
    results: dict[str, Any]
    dtype: str | None
    layers: tuple[str, ...] = ()


def storable(data: ir.TensorProtocol, dtype: str) -> ir.TensorProtocol:
    """The constant in a dtype that a tensor file has, which holds it exactly."""
    if dtype.endswith(("int2", "int4")):
        dtype = dtype[:-1] + "8"
    return data if dtype_name(data.dtype) == dtype else ir.Tensor(data.numpy().astype(dtype), name=data.name)


def tensors_in(values: Mapping[str, Any]) -> Iterator[Tensor]:
    """The tensors among arguments or results, in order."""
    for value in values.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, Tensor))


def declaration(name: str, tensor: Tensor, **arguments: Any) -> NnefOperation:
    """The operation that declares an input or a variable of the graph."""
    return NnefOperation(name, arguments, {"output": TensorRef(tensor.name)}, tensor.kind)
