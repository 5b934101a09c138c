"""Weights of the NeuralNetwork form: floats, half floats, or quantised to 1 to 8 bits.

``WeightParams`` in https://apple.github.io/coremltools/mlmodel/Format/NeuralNetwork.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench import limits
from workbench.errors import ModelError

Array = np.ndarray[Any, Any]


def weight_count(message: Any) -> int:
    """Elements of a ``WeightParams`` message that are not quantised to parts of a byte."""
    return (
        len(message.floatValue) or len(message.float16Value) // 2 or len(message.rawValue) or len(message.int8RawValue)
    )


def weight_array(message: Any, shape: Sequence[int], name: str) -> Array:
    """The weights as float32 of the given shape.

    Raises:
        ModelError: there are fewer or more, or the quantisation contradicts itself.
    """
    count = math.prod(shape)
    limits.check("tensor_elements", count, f"the weights {name!r}")
    if len(message.floatValue):
        data: Array = np.asarray(message.floatValue, dtype=np.float32)
    elif message.float16Value:
        data = np.frombuffer(message.float16Value, dtype="<f2").astype(np.float32)
    elif message.rawValue:
        data = _dequantized(message, shape, count, name)
    elif message.int8RawValue:
        codes = np.frombuffer(message.int8RawValue, dtype=np.int8).astype(np.float32)
        data = _linear(codes, message.quantization, shape, name)
    else:
        data = np.empty(0, dtype=np.float32)
    if data.size != count:
        raise ModelError(f"the weights {name!r} have {data.size} elements, {tuple(shape)} takes {count}.")
    return data.reshape(shape)


def _dequantized(message: Any, shape: Sequence[int], count: int, name: str) -> Array:
    """``bits`` per element, packed from the highest bit of the first byte on."""
    bits = int(message.quantization.numberOfBits)
    if not 1 <= bits <= 8:
        raise ModelError(f"the weights {name!r} are quantised to {bits} bits, 1 to 8 are possible.")
    raw = np.frombuffer(message.rawValue, dtype=np.uint8)
    if bits == 8:
        codes = raw
    elif 8 * raw.size < count * bits:
        raise ModelError(f"the weights {name!r}: {raw.size} bytes hold fewer than {count} elements of {bits} bits.")
    else:
        flags = np.unpackbits(raw, count=count * bits).reshape(count, bits)
        codes = flags @ (1 << np.arange(bits)[::-1]).astype(np.uint8)
    if message.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        table = np.asarray(message.quantization.lookupTableQuantization.floatValue, dtype=np.float32)
        if codes.size and int(codes.max()) >= table.size:
            raise ModelError(f"the weights {name!r} look beyond their table of {table.size} values.")
        return table[codes]
    return _linear(codes.astype(np.float32), message.quantization, shape, name)


def _linear(codes: Array, quantization: Any, shape: Sequence[int], name: str) -> Array:
    """``scale * code + bias``, one pair for all or one for each slice of the first dimension."""
    scale = np.asarray(quantization.linearQuantization.scale, dtype=np.float32)
    bias = np.asarray(quantization.linearQuantization.bias, dtype=np.float32)
    rows = shape[0] if shape else 1
    if scale.size not in (1, rows) or bias.size not in (0, 1, rows) or codes.size % max(rows, 1):
        raise ModelError(f"the weights {name!r}: {scale.size} scales and {bias.size} biases for {rows} channels.")
    result: Array = codes.reshape(rows, -1) * scale.reshape(-1, 1)
    return result + bias.reshape(-1, 1) if bias.size else result
