"""Whether a tensor of an ONNX file holds what its header says, before anything reads it.

onnx and onnx-ir look at the data only when it is first asked for, and then say so in the words of numpy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench import limits
from workbench.errors import ModelError

if TYPE_CHECKING:
    import onnx

_FIELDS: dict[str, frozenset[ir.DataType]] = {
    "float_data": frozenset({ir.DataType.FLOAT, ir.DataType.COMPLEX64}),
    "double_data": frozenset({ir.DataType.DOUBLE, ir.DataType.COMPLEX128}),
    "int64_data": frozenset({ir.DataType.INT64}),
    "uint64_data": frozenset({ir.DataType.UINT32, ir.DataType.UINT64}),
    "string_data": frozenset({ir.DataType.STRING}),
}
"""Where TensorProto keeps the elements of a dtype; all others are in ``int32_data`` (onnx.proto, TensorProto)."""

_PAIRS = frozenset({ir.DataType.COMPLEX64, ir.DataType.COMPLEX128})


MAX_RANK = 64
"""Of a numpy array."""


def check_tensor(tensor: onnx.TensorProto, where: str, stored: int | None = None, open_end: bool = False) -> None:
    """Refuse a tensor whose data is of another size than its dims and dtype say.

    Args:
        tensor: the message as it stands in the file.
        where: the file, for messages.
        stored: bytes of the data if they lie outside the message.
        open_end: the file does not say how long the data is: there may be more than the tensor takes.

    Raises:
        ModelError: unknown dtype, negative dims, or too little or too much data.
        LimitError: more elements than ``limits.tensor_elements``.
    """
    label = f"{where}: tensor {tensor.name!r}"
    dims = list(tensor.dims)
    if any(dim < 0 for dim in dims):
        raise ModelError(f"{label} has the impossible shape {dims}; the file is damaged.")
    if len(dims) > MAX_RANK:
        raise ModelError(f"{label} is of rank {len(dims)}, beyond the {MAX_RANK} that numpy has.")
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError as error:
        raise ModelError(f"{label} is of the unknown dtype {tensor.data_type}.") from error
    if dtype is ir.DataType.UNDEFINED:
        raise ModelError(f"{label} does not say its dtype; the file is damaged.")
    count = math.prod(dims)
    limits.check("tensor_elements", count, f"{label} (elements)")
    if stored is not None or tensor.HasField("raw_data"):
        held = len(tensor.raw_data) if stored is None else stored
        if dtype is ir.DataType.STRING:
            raise ModelError(f"{label}: strings cannot be stored as bytes; the file is damaged.")
        needed, unit = -(-count * dtype.bitwidth // 8), "bytes"
    else:
        field = next((name for name, dtypes in _FIELDS.items() if dtype in dtypes), "int32_data")
        held, unit = len(getattr(tensor, field)), "elements"
        packed = max(8 // dtype.bitwidth, 1) if dtype is not ir.DataType.STRING else 1
        needed = 2 * count if dtype in _PAIRS else -(-count // packed)
    if held < needed or (held > needed and not open_end):
        raise ModelError(
            f"{label} is {dtype.name.lower()}{dims}, which takes {needed:,} {unit}, but {held:,} are stored; "
            "the file is damaged."
        )
