"""Random inputs that fit a model: shapes, dtypes, and the values that its first layers can do something with.

A token id that the embedding table does not have, a mask of nothing but zeros, a sampling rate that the model compares
with 16000: a model fed with such numbers fails, or says nothing. What an integer input may be is read off the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import TensorSpec
from workbench.errors import ExecutionError
from workbench.executors import constant_tensor
from workbench.hub import dims_of, subgraphs

Array = np.ndarray[Any, Any]

_GUESSES = {
    "batch": 1,
    "n": 1,
    "b": 1,
    "seq": 16,
    "time": 16,
    "length": 16,
    "height": 64,
    "width": 64,
    "h": 64,
    "w": 64,
}
_OTHERWISE = 16
_UNKNOWN = 8
"""Integers of which nothing is known are below it."""
_TELLING = 16
"""So many values at most are a choice that the model makes; more are a table."""
_MOVES = frozenset("Identity Reshape Unsqueeze Squeeze Flatten Transpose Slice Expand Tile Split Concat".split())
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


@dataclass(frozen=True)
class Range:
    """What an integer input may be: from ``low`` to ``high`` (exclusive), or one of ``choices``."""

    low: int = 0
    high: int | None = None
    choices: tuple[int, ...] = ()

    def within(self, other: Range) -> Range:
        """What both bounds allow; of the choices, those of either that are within them."""
        highs = [high for high in (self.high, other.high) if high is not None]
        low, high = max(self.low, other.low), min(highs, default=None)
        choices = dict.fromkeys((*self.choices, *other.choices))
        return Range(low, high, tuple(item for item in choices if low <= item and (high is None or item < high)))


def resolve(spec: TensorSpec, counterpart: TensorSpec | None, sizes: dict[str, int]) -> tuple[int, ...]:
    """A fixed shape: the input's own sizes, else its counterpart's, else a guess by the dimension's name and place.

    Args:
        spec: the input.
        counterpart: the same input as the other model states it.
        sizes: dimension's name → the size that it was given before; what is found here is added.
    """
    dims = spec.shape
    other = counterpart.shape if counterpart is not None else None
    if dims is None:
        dims = other if other is not None else (1,)
    if other is None or len(other) != len(dims):
        other = (None,) * len(dims)
    shape = []
    for axis, (dim, fixed) in enumerate(zip(dims, other, strict=True)):
        if not isinstance(dim, int):
            size = fixed if isinstance(fixed, int) else _guess(dim, axis, sizes)
            if dim is not None:
                size = sizes.setdefault(dim, size)
            dim = size
        shape.append(dim)
    return tuple(shape)


def _guess(name: str | None, axis: int, sizes: Mapping[str, int]) -> int:
    if name is not None and name in sizes:
        return sizes[name]
    words = (name or "").lower()
    known = next((size for word, size in _GUESSES.items() if words == word or (len(word) > 1 and word in words)), None)
    return known if known is not None else (1 if axis == 0 else _OTHERWISE)


def invent(generator: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...], allowed: Range | None) -> Array:
    """Random values of an input: standard normal floats, booleans, bytes, and integers that are allowed.

    An integer or boolean mask is one up to a random length of its last axis and zero behind it.

    Raises:
        ExecutionError: nothing can be made up for the dtype.
        LimitError: it has more elements than ``tensor_elements``, counting sizes of none as one.
    """
    limits.check("tensor_elements", math.prod(max(size, 1) for size in shape), f"the input {spec}, in elements")
    if spec.dtype in ("float16", "float32", "float64"):
        return np.asarray(generator.standard_normal(shape), dtype=spec.dtype)
    if spec.dtype not in np.sctypeDict or np.dtype(spec.dtype).kind not in "iub":
        raise ExecutionError(f"there are no random values for the input {spec}; pass feeds={{{spec.name!r}: …}}.")
    dtype = np.dtype(spec.dtype)
    if "mask" in spec.name.lower() and shape and dtype.kind in "ib":
        return _mask(generator, shape).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(generator.integers(0, 2, shape), dtype)
    if allowed is not None and allowed.choices:
        return np.asarray(generator.choice(np.asarray(allowed.choices), shape), dtype)
    if dtype.itemsize == 1 and allowed is None:
        info = np.iinfo(dtype)
        return np.asarray(generator.integers(info.min, info.max + 1, shape), dtype)
    low = 0 if allowed is None else allowed.low
    high = low + _UNKNOWN if allowed is None or allowed.high is None else max(allowed.high, low + 1)
    return np.asarray(generator.integers(low, min(high, np.iinfo(dtype).max), shape), dtype)


def _mask(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """At least half of each row is seen: a row that is masked throughout has no meaning in an attention."""
    size = shape[-1]
    lengths = generator.integers(max((size + 1) // 2, 1), size + 1, (*shape[:-1], 1))
    return np.arange(size) < lengths


def ranges_of(graph: ir.Graph) -> dict[str, Range]:
    """Integer input → what the graph shows of the values that it may have; it has no entry where that is nothing.

    Followed are the nodes that move integers, cast them or add a constant; told are the rows of a table that is
    gathered from, the depth of a one-hot encoding, lengths of sequences, and constants that the input is compared with.
    """
    found: dict[str, Range] = {}
    for value in graph.inputs:
        if value.name and value.dtype is not None and value.dtype.is_integer():
            for allowed in _uses(value):
                found[value.name] = found.get(value.name, Range()).within(allowed)
    return found


def _uses(value: ir.Value) -> Iterator[Range]:
    pending, seen = [(value, 0)], {value}
    while pending:
        current, shift = pending.pop()
        for node, index in current.uses():
            allowed = _allowed(node, index)
            if allowed is not None:
                yield _shifted(allowed, shift)
            step = _step(node, index)
            if step is None:
                continue
            for output in node.outputs:
                if output not in seen:
                    seen.add(output)
                    pending.append((output, shift + step))


def _allowed(node: ir.Node, index: int) -> Range | None:
    """What one reader of the input asks of its values."""
    if node.domain:
        return None
    if node.op_type in ("Gather", "GatherElements") and index == 1:
        return _rows(node)
    if node.op_type == "OneHot" and index == 0:
        depth = _constant(node.inputs[1])
        return None if depth is None else Range(0, int(depth.reshape(-1)[0]))
    if node.op_type == "Equal":
        constant = _constant(node.inputs[1 - index])
        few = constant is not None and constant.dtype.kind in "iu" and 0 < constant.size <= _TELLING
        return Range(choices=tuple(int(item) for item in np.unique(constant))) if few and constant is not None else None
    lengths = (node.op_type in _RECURRENT and index == 4) or (node.op_type == "ReverseSequence" and index == 1)
    if lengths:
        dims = dims_of(node.inputs[0]) if node.inputs[0] is not None else None
        attribute = node.attributes.get("time_axis")
        axis = 0 if attribute is None else attribute.as_int()
        size = None if dims is None or axis >= len(dims) else dims[axis]
        return Range(1, size + 1 if isinstance(size, int) else None)
    return None


def _rows(node: ir.Node) -> Range | None:
    """As many as the table has; negative indices count from its end and say nothing new."""
    table = node.inputs[0]
    dims = None if table is None else dims_of(table)
    attribute = node.attributes.get("axis")
    axis = 0 if attribute is None else attribute.as_int()
    if dims is None or not -len(dims) <= axis < len(dims):
        return None
    rows = dims[axis]
    return Range(0, rows) if isinstance(rows, int) else None


def _shifted(allowed: Range, shift: int) -> Range:
    if not shift:
        return allowed
    high = None if allowed.high is None else allowed.high - shift
    return replace(
        allowed, low=allowed.low - shift, high=high, choices=tuple(choice - shift for choice in allowed.choices)
    )


def _step(node: ir.Node, index: int) -> int | None:
    """What the node adds to the integers that it hands on; ``None`` where it does something else with them."""
    if node.domain or any(True for _ in subgraphs(node)):
        return None
    if (node.op_type in _MOVES or node.op_type == "Gather") and (index == 0 or node.op_type == "Concat"):
        return 0
    if node.op_type == "Cast":
        output = node.outputs[0]
        return 0 if output.dtype is not None and output.dtype.is_integer() else None
    if node.op_type == "Add" or (node.op_type == "Sub" and index == 0):
        constant = _constant(node.inputs[1 - index])
        if constant is None or constant.size != 1 or constant.dtype.kind not in "iu":
            return None
        added = int(constant.reshape(-1)[0])
        return added if node.op_type == "Add" else -added
    return None


def _constant(value: ir.Value | None) -> Array | None:
    tensor = None if value is None else constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def joined(ranges: Iterable[Range]) -> Range | None:
    """What all of them allow; ``None`` if there are none."""
    found: Range | None = None
    for allowed in ranges:
        found = allowed if found is None else found.within(allowed)
    return found
