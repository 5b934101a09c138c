"""Sequences and optionals taken apart into tensors, for nodes whose inputs and outputs are tensors only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as ir

from workbench.document import Dim
from workbench.hub.emitter import Emitter
from workbench.hub.replay import Held, Items, Option
from workbench.hub.values import dims_of, dtype_name
from workbench.lowering import Refused


def tensors_of(held: Held) -> list[ir.Value]:
    """The tensors that it consists of."""
    if isinstance(held, Items):
        return list(held.values)
    if isinstance(held, Option):
        return [] if held.content is None else tensors_of(held.content)
    return [held]


def flat(helds: Iterable[Held]) -> list[ir.Value]:
    """The tensors of all of them."""
    return [value for held in helds for value in tensors_of(held)]


def rebuilt(helds: Iterable[Held], values: Sequence[ir.Value]) -> list[Held]:
    """The same structure with other tensors in it, one for each of :func:`flat`."""
    source = iter(values)
    return [_rebuilt(held, source) for held in helds]


def _rebuilt(held: Held, values: Iterator[ir.Value]) -> Held:
    if isinstance(held, Items):
        return Items(tuple(next(values) for _ in held.values), held.dtype)
    if isinstance(held, Option):
        content = None if held.content is None else _rebuilt(held.content, values)
        assert not isinstance(content, Option)
        return Option(content, held.type)
    return next(values)


def alike(first: Sequence[Held], second: Sequence[Held]) -> bool:
    """Whether they consist of as many tensors in the same places."""
    return len(first) == len(second) and all(map(_alike, first, second))


def _alike(first: Held, second: Held) -> bool:
    if isinstance(first, Items):
        return isinstance(second, Items) and len(first.values) == len(second.values)
    if isinstance(first, Option):
        if not isinstance(second, Option) or (first.content is None) != (second.content is None):
            return False
        return first.content is None or second.content is None or _alike(first.content, second.content)
    return isinstance(second, ir.Value)


def is_tensor(value: ir.Value) -> bool:
    """Whether the value is known to be a tensor."""
    return isinstance(value.type, ir.TensorType)


def static_shape(value: ir.Value) -> tuple[int, ...] | None:
    """The shape, if all of it is known."""
    dims = dims_of(value)
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(dim for dim in dims if isinstance(dim, int))


def same_type(first: ir.Value, second: ir.Value) -> bool:
    """Whether both are tensors of one dtype and one static shape."""
    shape = static_shape(first)
    return first.dtype is second.dtype is not None and shape is not None and shape == static_shape(second)


def common_dims(first: ir.Value, second: ir.Value) -> tuple[Dim, ...] | None:
    """The dimensions as far as both have them."""
    one, other = dims_of(first), dims_of(second)
    if one is None or other is None or len(one) != len(other):
        return None
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def finished(emitter: Emitter, values: Iterable[ir.Value]) -> ir.Graph:
    """The subgraph that an emitter has made; each of its outputs is made in it, and none twice."""
    outputs: list[ir.Value] = []
    for value in values:
        fresh = emitter.owns(value) and value not in outputs
        outputs.append(value if fresh else emitter.op("Identity", value))
    return emitter.finish(outputs).graph


def chosen(emitter: Emitter, condition: ir.Value, then: ir.Value, other: ir.Value) -> ir.Value:
    """One of two tensors of the same type by a condition of one element."""
    if then is other:
        return then
    scalar = condition if dims_of(condition) == () else emitter.op("Reshape", condition, emitter.const([], "int64"))
    return emitter.op("Where", scalar, then, other)


_AT_POSITIONS = frozenset({"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"})
_DIVISIONS = frozenset({"Div", "Mod"})


def require_total(emitter: Emitter, begin: int) -> None:
    """Refuse nodes, of those emitted since ``begin``, that might fail where the model would not have computed them."""
    for node in emitter.nodes[begin:]:
        operand = node.inputs[1] if len(node.inputs) > 1 else None
        known = emitter.known(operand)
        if node.op_type in _AT_POSITIONS and known is None:
            what = "its positions are"
        elif node.op_type in _DIVISIONS and _is_integer(operand) and (known is None or not known.all()):
            what = "its divisor is"
        else:
            continue
        cause = f"{node.op_type} {node.name!r} may not be computed unless the condition holds"
        raise Refused(f"{cause}: {what} only known at run time")


def _is_integer(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_integer()


def fed_by(value: ir.Value | None) -> set[str]:
    """The inputs of the model, or of the subgraph under construction, that a value depends on."""
    pending, seen, found = [value], set(), set()
    while pending:
        current = pending.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        producer = current.producer()
        if producer is not None:
            pending += producer.inputs
        elif current.const_value is None:
            found.add(current.name or "")
    return found


def origin(value: ir.Value) -> tuple[str, str]:
    """`` from 'n'``, and what can be done about that, for a value that is computed at run time."""
    names = ", ".join(map(repr, sorted(fed_by(value))))
    return (f" from {names}", f"make {names} a constant of the model") if names else ("", "")


def described(value: ir.Value) -> str:
    """``float32[2, 3]``."""
    dims = dims_of(value)
    shape = "of unknown rank" if dims is None else f"[{', '.join('?' if d is None else str(d) for d in dims)}]"
    return f"{dtype_name(value.dtype)}{shape}"
