"""Values and types that stand in an ML program: decoded from the protobuf, weights mapped from their file.

Message definitions: ``MIL.proto`` in https://apple.github.io/coremltools/mlmodel/index.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench import limits
from workbench.document import Dim, TensorSpec
from workbench.errors import ModelError
from workbench.formats.coreml import blob
from workbench.formats.coreml.package import Package

Array = np.ndarray[Any, Any]

DTYPES: dict[int, str] = {
    1: "bool", 2: "string", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16", 21: "int8", 22: "int16",
    23: "int32", 24: "int64", 25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4",
    36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3", 40: "float8e4m3fn", 41: "float8e5m2",
}  # fmt: skip
"""``MILSpec.DataType`` → our name (numpy's, where numpy has the dtype)."""

_IMMEDIATE = ("floats", "ints", "bools", "longInts", "doubles")


@dataclass(frozen=True)
class Constant:
    """A constant of a program; nothing is loaded until :meth:`array` is called.

    Attributes:
        dtype: :data:`DTYPES`' name; a ``list`` of values has the dtype of its elements.
        shape: the declared shape.
    """

    dtype: str
    shape: tuple[int, ...]
    load: Callable[[], Array]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def array(self) -> Array:
        """The value with its declared shape; strings are of dtype object."""
        return self.load()


class Values:
    """Decodes the values of one model; holds its weight files open.

    Args:
        package: where the weights are.
        widen: read float16 as float32.
    """

    def __init__(self, package: Package, widen: bool = False) -> None:
        self.package = package
        self._widen = widen
        self._files: dict[Path, blob.BlobFile] = {}

    def constant(self, value: Any, where: str) -> Constant:
        """Decode a ``MILSpec.Value`` message.

        Raises:
            ModelError: value and type do not fit together, or the weights cannot be found.
        """
        stored = self._stored(value, where)
        if not self._widen or stored.dtype != "float16":
            return stored
        return Constant("float32", stored.shape, lambda: stored.array().astype(np.float32))

    def _stored(self, value: Any, where: str) -> Constant:
        kind = value.type.WhichOneof("type")
        if kind == "listType":
            items = [self.constant(item, where) for item in value.immediateValue.list.values]
            return Constant(
                items[0].dtype if items else "string",
                (len(items),),
                lambda: np.asarray([item.array().reshape(-1)[0] for item in items], dtype=object),
            )
        if kind != "tensorType":
            raise ModelError(f"{where}: a constant of type {kind} is not supported.")
        dtype, shape = tensor_type(value.type, where)
        if shape is None or not all(isinstance(dim, int) for dim in shape):
            raise ModelError(f"{where}: a constant's shape has to be fixed.")
        sizes = tuple(dim for dim in shape if isinstance(dim, int))
        limits.check("tensor_elements", math.prod(sizes), where)
        if value.WhichOneof("value") == "blobFileValue":
            reference = value.blobFileValue
            path, offset = self.package.blob(reference.fileName), int(reference.offset)
            data = self._blob(path, offset, dtype, math.prod(sizes), where)
            return Constant(dtype, sizes, lambda: data.reshape(sizes))
        return Constant(dtype, sizes, lambda: _immediate(value.immediateValue.tensor, dtype, sizes, where))

    def _blob(self, path: Path, offset: int, dtype: str, count: int, where: str) -> Array:
        if path not in self._files:
            self._files[path] = blob.BlobFile(path)
        found = self._files[path].read(offset)
        if found.data.size != count:
            raise ModelError(f"{where}: {count} elements are declared, the weight file has {found.data.size}.")
        if dtype == "bool" and found.dtype in ("uint8", "int8"):
            return found.data.view(np.bool_)
        if found.dtype != dtype:
            raise ModelError(f"{where}: declared as {dtype}, stored as {found.dtype}.")
        return found.data


def _immediate(tensor: Any, dtype: str, shape: tuple[int, ...], where: str) -> Array:
    field = tensor.WhichOneof("value")
    count = math.prod(shape)
    if field == "strings":
        data: Array = np.asarray(list(tensor.strings.values), dtype=object)
    elif field == "bytes":
        raw = np.frombuffer(tensor.bytes.values, dtype=np.uint8)
        data = blob.unpack(raw, dtype, count) if dtype in blob.BITS else blob.typed(raw, dtype, where)
    elif field in _IMMEDIATE and dtype != "string":
        data = np.asarray(getattr(tensor, field).values).astype(blob.numpy_dtype(dtype))
    elif field is None and count == 0:
        data = np.empty(0, dtype=object if dtype == "string" else blob.numpy_dtype(dtype))
    else:
        raise ModelError(f"{where}: a value of kind {field} cannot be of dtype {dtype}.")
    if data.size != count:
        raise ModelError(f"{where}: {count} elements are declared, {data.size} are given.")
    return data.reshape(shape)


def tensor_type(value_type: Any, where: str) -> tuple[str, tuple[Dim, ...] | None]:
    """dtype and shape of a ``MILSpec.ValueType`` that is a tensor (or the state of one); an unknown size is ``None``.

    Raises:
        ModelError: it is a list, a dictionary, or of a dtype that is not known.
    """
    kind = value_type.WhichOneof("type")
    if kind == "stateType":
        return tensor_type(value_type.stateType.wrappedType, where)
    if kind != "tensorType":
        raise ModelError(f"{where}: is a {kind or 'value without type'}, not a tensor.")
    tensor = value_type.tensorType
    dtype = DTYPES.get(tensor.dataType)
    if dtype is None:
        raise ModelError(f"{where}: its dtype number {tensor.dataType} is not known.")
    if tensor.rank < 0 or any(dim.unknown.variadic for dim in tensor.dimensions if dim.HasField("unknown")):
        return dtype, None
    return dtype, tuple(int(dim.constant.size) if dim.HasField("constant") else None for dim in tensor.dimensions)


def named_spec(named: Any, where: str) -> TensorSpec:
    """The spec of a ``MILSpec.NamedValueType``; what is no tensor is stated as ``opaque``."""
    if named.type.WhichOneof("type") not in ("tensorType", "stateType"):
        return TensorSpec(named.name, "opaque", None)
    dtype, shape = tensor_type(named.type, f"{where}: {named.name!r}")
    return TensorSpec(named.name, dtype, shape)


def held_spec(named: Any, where: str) -> TensorSpec:
    """As :func:`named_spec`; a list of tensors is held as one tensor, whose dimension 0, the list, may grow."""
    if named.type.WhichOneof("type") != "listType":
        return named_spec(named, where)
    dtype, element = tensor_type(named.type.listType.type, f"{where}: {named.name!r}")
    return TensorSpec(named.name, dtype, None if element is None else (None, *element))


def shown(array: Array) -> Any:
    """A constant as an attribute of a layer: a number, a string, a list, or dtype and shape of something large."""
    if array.size > 64:
        return f"{array.dtype}{list(array.shape)}"
    return array.item() if array.ndim == 0 else array.tolist()


def as_sequence(array: Array) -> Sequence[Any]:
    """The elements in order, as Python numbers or strings."""
    return list(array.reshape(-1).tolist())
