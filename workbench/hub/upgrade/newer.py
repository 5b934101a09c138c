"""Nodes of opsets above the hub's: taken where their meaning at the hub's opset is the same, or rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.hub.opset import schema_of
from workbench.hub.upgrade.element_types import element_type
from workbench.hub.upgrade.registry import newer
from workbench.hub.upgrade.site import Site
from workbench.lowering import Refused

if TYPE_CHECKING:
    from onnx.defs import OpSchema

SAME_MEANING: dict[str, int] = {
    "Cast": 28,
    "Celu": 28,
    "Compress": 28,
    "DepthToSpace": 28,
    "DequantizeLinear": 28,
    "Einsum": 28,
    "Mod": 28,
    "OneHot": 28,
    "Optional": 28,
    "OptionalGetElement": 28,
    "OptionalHasElement": 28,
    "QuantizeLinear": 28,
    "Range": 27,
    "ReduceLogSum": 28,
    "ReduceLogSumExp": 28,
    "ReverseSequence": 28,
    "SpaceToDepth": 28,
    "Unique": 28,
}
"""Versions above 25 that say the same as the one at 25 about the element types and attributes that both have.
"""

_DEFAULTS: dict[tuple[str, str], int | str] = {("Range", "stash_type"): 1, ("SpaceToDepth", "mode"): "DCR"}
"""New attributes, with the value at which the newer version says what the older one says."""


def accept_newer(node: ir.Node, schema: OpSchema, to: int) -> None:
    """Leave the node as it is, without new attributes that say nothing new.

    Raises:
        Refused: the operator does not exist at ``to``, or may mean something else there.
    """
    older = schema_of(node.op_type, opset=to)
    if older is None:
        raise Refused(f"the operator exists only from opset {schema.since_version} on", _WAY_OUT.format(to))
    if older.since_version == schema.since_version:
        return
    if SAME_MEANING.get(node.op_type) != schema.since_version:
        raise Refused(f"its version {schema.since_version} may differ from {older.since_version}", _WAY_OUT.format(to))
    for (operator, name), value in _DEFAULTS.items():
        attribute = node.attributes.get(name)
        if operator == node.op_type and attribute is not None and attribute.value == value:
            node.attributes.pop(name)
    unknown = sorted(set(node.attributes) - set(older.attributes))
    if unknown:
        raise Refused(f"the attributes {unknown} are unknown to version {older.since_version}", _WAY_OUT.format(to))
    check_types(node, older, _WAY_OUT.format(to))


_WAY_OUT = "export the model with opset {} or older"


def check_types(node: ir.Node, older: OpSchema, way_out: str) -> None:
    """Refuse the node unless every input and output has an element type that the older version takes."""
    for kind, values, formals in (("input", node.inputs, older.inputs), ("output", node.outputs, older.outputs)):
        for index, value in enumerate(values):
            if value is None or not value.name or not formals:
                continue
            allowed = formals[min(index, len(formals) - 1)].types
            text = _text(value.type) if isinstance(value.type, _CONTAINERS) else _tensor(element_type(value))
            if not text:
                raise Refused(f"the element type of {kind} {value.name!r} is not known", "declare it in the model")
            if text not in allowed:
                said = text.removeprefix("tensor(").removesuffix(")") if text.startswith("tensor(") else text
                raise Refused(f"version {older.since_version} does not take {said} for {kind} {value.name!r}", way_out)


_CONTAINERS = (ir.SequenceType, ir.OptionalType)


def _text(kind: ir.TypeProtocol | None) -> str:
    """The type as schemas write it, ``seq(tensor(float))``; empty if it is not known."""
    if isinstance(kind, _CONTAINERS):
        inner = _text(kind.elem_type)
        return f"{'seq' if isinstance(kind, ir.SequenceType) else 'optional'}({inner})" if inner else ""
    return _tensor(kind.dtype if isinstance(kind, ir.TensorType) else None)


def _tensor(dtype: ir.DataType | None) -> str:
    return "" if dtype in (None, ir.DataType.UNDEFINED) else f"tensor({dtype.name.lower()})"


@newer("Mod")
def mod_28(site: Site) -> None:
    """The floored remainder of floats: C's, and the divisor is added where the signs differ."""
    fmod = site.node.attributes.get("fmod")
    x, y = site.value(0), site.value(1)
    dtypes = [site.dtype(value) for value in (x, y)]
    if (fmod is not None and fmod.value) or all(dtype is not None and dtype.is_integer() for dtype in dtypes):
        return
    if None in dtypes:
        site.refuse("the element type is not known, and of floats the remainder is another", "declare it in the model")
    rest = site.emit("Mod", [x, y], "rest", like=x, fmod=1)
    zero = site.scalar_like(0.0, x, "zero")
    signs = [site.emit("Less", [value, zero], role) for value, role in ((rest, "below"), (y, "divisor_below"))]
    nonzero = site.emit("Not", [site.emit("Equal", [rest, zero], "whole")], "nonzero")
    turned = site.emit("And", [nonzero, site.emit("Xor", signs, "differ")], "turned")
    site.become("Where", [turned, site.emit("Add", [rest, y], "moved", like=x), rest])


@newer("BitShift")
def bitshift_28(site: Site) -> None:
    """A shift by the width or more (or a negative one) shifts everything out, the sign stays: said of unsigned bits.

    Such a shift is two: by the width less one, and by one. A negative number is turned into its complement and back.
    """
    x, dtype = site.value(0), site.dtype(site.value(0))
    if dtype is None:
        site.refuse("the element type is not known", "declare it in the model")
    bits, signed = int(dtype.bitwidth), dtype.name.startswith("INT")
    unsigned = ir.DataType[dtype.name.removeprefix("U").replace("INT", "UINT")]
    direction = site.take_string("direction", "")
    count = site.emit("Cast", [site.value(1)], "count", to=ir.DataType.INT64.value)
    inside = [
        site.emit(operator, [count, site.constant(bound, role)], f"is_{role}")
        for operator, bound, role in (("Less", bits, "short"), ("GreaterOrEqual", 0, "forward"))
    ]
    kept = site.emit("And", inside, "kept")
    first = site.emit("Where", [kept, count, site.constant(bits - 1, "most")], "first")
    counts = [
        site.emit("Cast", [value], role, to=unsigned.value)
        for value, role in ((first, "by"), (site.emit("Not", [kept], "beyond"), "more"))
    ]
    mirror = None
    if signed and direction == "RIGHT":
        below = site.emit("Less", [x, site.scalar_like(0.0, x, "zero")], "below")
        mirror = site.emit("Neg", [site.emit("Cast", [below], "ones", to=dtype.value)], "mirror", like=x)
        x = site.emit("BitwiseXor", [x, mirror], "mirrored", like=x)
    shifted = site.emit("Cast", [x], "bits", to=unsigned.value) if signed else x
    for value, role in zip(counts, ("partly", "wholly"), strict=True):
        shifted = site.emit("BitShift", [shifted, value], role, direction=direction)
    back = site.emit("Cast", [shifted], "back", to=dtype.value)
    if mirror is None:
        site.become("Identity", [back])
    else:
        site.become("BitwiseXor", [back, mirror])


@newer("CumProd")
def cumprod_26(site: Site) -> None:
    """A scan along the axis whose state is the product of what came before."""
    axis, x = site.known(site.value(1)), site.value(0)
    if axis is None or axis.size != 1 or site.rank(x) is None:
        site.refuse("its axis or the rank of its data is not known", "make the axis a constant of the model")
    exclusive, reverse = site.take_int("exclusive", 0), site.take_int("reverse", 0)
    place = int(axis.item()) % len(x.shape or ())
    first = site.emit("Gather", [x, site.constant(0, "first")], "slice", like=x, axis=place)
    one = ir.tensor([1])
    ones = site.emit("ConstantOfShape", [site.emit("Shape", [first], "shape")], "ones", value=one)
    state = site.emit("CastLike", [ones, x], "start", like=x)
    before, element, after, result = (
        site.fresh(x, role, with_shape=False) for role in ("before", "element", "after", "result")
    )
    for value in (before, element, after, result):
        value.shape = ir.Shape([dim for index, dim in enumerate(x.shape or ()) if index != place])
    product = site.inner_node("Mul", [before, element], [after], "product", {})
    copied = site.inner_node("Identity", [before if exclusive else after], [result], "copy", {})
    body = ir.Graph([before, element], [after, result], nodes=[product, copied], name="product")
    whole = site.node.outputs[0]
    last = site.fresh(x, "last", with_shape=False)
    scan = site.inner_node(
        "Scan", [state, x], [last, site.fresh(x, "products", with_shape=False)], "scan",
        {"body": body, "num_scan_inputs": 1, "scan_input_axes": [place], "scan_output_axes": [place],
         "scan_input_directions": [reverse], "scan_output_directions": [reverse]},
    )  # fmt: skip
    site.graph.insert_before(site.node, scan)
    site.become("Identity", [scan.outputs[1]])
    whole.shape = x.shape
