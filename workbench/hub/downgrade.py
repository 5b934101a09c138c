"""The way down: a hub graph at an older opset, where the older definitions say the same; else a refusal for each node.

A version that is a superset of the one before it (:mod:`workbench.hub.upgrade.supersets`) gives every node that the
older version takes the same meaning. So a node goes down as it is if the older version takes it: its attributes (new
ones that say nothing new are left out), the number of its inputs, its element types, and the texts that attributes may
hold. Where a version changed how a thing is said, a rule below says it the old way.

Operators that the older opset does not have are replaced by their composition or function body before, see
:func:`workbench.hub.bodies.expand_bodies` and :func:`existed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.hub.opset import OPSET, schema_of
from workbench.hub.replay import every_node
from workbench.hub.stamps import refusal_of
from workbench.hub.upgrade.newer import check_types
from workbench.hub.upgrade.registry import is_superset, versions
from workbench.hub.upgrade.site import Names, Site
from workbench.lowering import Refused

if TYPE_CHECKING:
    from onnx.defs import OpSchema

OLDEST = 13
"""The oldest opset that graphs are brought down to: from 13 on axes are inputs, and Softmax has one axis."""

_LATER: Mapping[tuple[str, str, str], int] = {
    ("Pad", "mode", "wrap"): 19,
    ("Resize", "coordinate_transformation_mode", "half_pixel_symmetric"): 19,
    ("ScatterElements", "reduction", "max"): 18,
    ("ScatterElements", "reduction", "min"): 18,
    ("ScatterND", "reduction", "max"): 18,
    ("ScatterND", "reduction", "min"): 18,
}
"""(operator, attribute, text) → the version that brought the text; the schemas do not tell."""

_REPLACED: Mapping[str, int] = {"GroupNormalization": 21}
"""Operators whose older version says something that their newer one has no way to say → the newer version."""


def existed(node: ir.Node, opset: int) -> bool:
    """Whether the opset has the node's operator, so that it need not be replaced by others."""
    if node.domain:
        return True
    schema = schema_of(node.op_type, opset=opset)
    return schema is not None and not schema.deprecated and opset >= _REPLACED.get(node.op_type, 0)


def downgrade(model: ir.Model, to: int) -> dict[ir.Node, Refused]:
    """Bring the default-domain nodes of a hub graph, subgraphs included, down to the opset ``to``, in place.

    Names of values and nodes stay, and so do stamps. With refusals the model is left half changed: discard it.

    Args:
        to: from :data:`OLDEST` to the hub's own.

    Returns:
        The nodes of the graph itself that cannot be said at that opset (or hold one that cannot) → why.
    """
    names = Names(model.graph)
    refusals: dict[ir.Node, Refused] = {}
    for outer in list(model.graph):
        for node in list(every_node([outer])):
            try:
                _lower(node, names, to)
            except Refused as refused:
                refusals.setdefault(outer, refused if node is outer else _inside(node, refused))
    for graph in (model.graph, *model.graph.subgraphs()):
        if graph is model.graph or "" in graph.opset_imports:
            graph.opset_imports[""] = to
    return refusals


def _inside(node: ir.Node, refused: Refused) -> Refused:
    return Refused(f"{node.op_type} {node.name!r} in its body: {refused.cause}", refused.way_out)


def _lower(node: ir.Node, names: Names, to: int) -> None:
    """Raise: Refused, with the node in any state."""
    if node.domain:
        return
    if not existed(node, to):
        tried = refusal_of(node)
        first = versions().get(node.op_type, (OPSET,))[0]
        reason = f"; {tried.cause}" if tried is not None else ""
        since = max(first, _REPLACED.get(node.op_type, 0))
        raise Refused(f"the operator, as it is meant here, exists from opset {since} on{reason}", _way_out(since))
    graph = node.graph
    assert isinstance(graph, ir.Graph), "the model's functions are inlined"
    older, newer = schema_of(node.op_type, opset=to), schema_of(node.op_type)
    assert older is not None, "the opset has the operator"
    assert newer is not None, "the hub has the operator"
    site = Site(node, graph, names, newer.since_version)
    between = [version for version in versions()[node.op_type] if older.since_version < version <= newer.since_version]
    for version in reversed(between):
        rule = _RULES.get((node.op_type, version))
        if rule is not None:
            rule(site)
        elif not is_superset(node.op_type, version):
            raise Refused(f"no rule says how {node.op_type}-{version} is said before", _way_out(version))
    _check(node, older, newer, to)


def _check(node: ir.Node, older: OpSchema, newer: OpSchema, to: int) -> None:
    """Whether the older version takes the node; what it does not know and says nothing is removed."""
    cause = _complaint(node, older, newer, to)
    if cause:
        later = [version for version in versions()[node.op_type] if version > to]
        taken = (v for v in later if not _complaint(node, schema_of(node.op_type, opset=v) or newer, newer, v))
        raise Refused(cause, _way_out(next(taken, newer.since_version)))
    for name in set(node.attributes) - set(older.attributes):
        node.attributes.pop(name)
    node.resize_inputs(_count(node))


def _count(node: ir.Node) -> int:
    """The number of inputs up to the last that is there."""
    return max((place + 1 for place, value in enumerate(node.inputs) if value is not None), default=0)


def _complaint(node: ir.Node, schema: OpSchema, newer: OpSchema, opset: int) -> str:
    """Why that version of the operator does not take the node, which is of the newer one; empty if it does."""
    label = f"version {schema.since_version}"
    for name, attribute in node.attributes.items():
        if name not in schema.attributes:
            declared = newer.attributes.get(name)
            if declared is None or not _is_default(attribute, declared):
                return f"{label} has no attribute {name!r}"
        elif attribute.type is ir.AttributeType.STRING:
            since = _LATER.get((node.op_type, name, attribute.as_string()), 0)
            if since > opset:
                return f"{name}={attribute.as_string()!r} exists from opset {since} on"
    count = _count(node)
    if count > schema.max_input:
        return f"{label} has no input {newer.inputs[schema.max_input].name!r}"
    for place, formal in enumerate(schema.inputs[: schema.min_input]):
        if place >= count or node.inputs[place] is None:
            return f"{label} needs its input {formal.name!r}"
    if len(node.outputs) > schema.max_output:
        return f"{label} has no output {newer.outputs[schema.max_output].name!r}"
    try:
        check_types(node, schema, "")
    except Refused as refused:
        return refused.cause
    return ""


def _is_default(attribute: ir.Attr, declared: OpSchema.Attribute) -> bool:
    """Whether the attribute says what it says when it is absent."""
    import onnx

    if not declared.default_value.type:
        return False
    stated = onnx.helper.get_attribute_value(declared.default_value)
    value = attribute.value
    return bool((stated.decode() if isinstance(stated, bytes) else stated) == value)


def _way_out(version: int) -> str:
    return f"write it with opset={version} or later"


# -- what is said another way before ----------------------------------------------------------------------------------


def _batch_normalization_14(site: Site) -> None:
    """Before 14 what runs is decided by the number of outputs; the attribute ``training_mode`` is new."""
    if site.take_int("training_mode", 0):
        site.refuse("training_mode=1 exists from opset 14 on", _way_out(14))


def _reduction_18(site: Site) -> None:
    """The axes were an attribute; without them everything is reduced."""
    axes = site.input(1)
    known = site.known(axes)
    if axes is not None and known is None:
        site.refuse(f"its axes are computed by {axes.name!r}; before opset 18 they are an attribute", _way_out(18))
    nothing = known is None or known.size == 0
    if nothing and site.take_int("noop_with_empty_axes", 0):
        site.refuse("noop_with_empty_axes=1 exists from opset 18 on", _way_out(18))
    site.node.attributes.pop("noop_with_empty_axes", None)
    site.node.resize_inputs(1)
    if not nothing and known is not None:
        site.set(axes=[int(axis) for axis in known.ravel()])


def _pad_18(site: Site) -> None:
    """All axes were padded, in their order."""
    axes = site.input(3)
    if axes is None:
        return
    places, widths = site.known(axes), site.known(site.value(1))
    rank = site.rank(site.value(0))
    if places is None or widths is None or rank is None:
        what = "the rank of its data" if rank is None else "which axes are padded by how much"
        site.refuse(f"{what} is not known, and before opset 18 all axes are padded", _way_out(18))
    whole = np.zeros((2, rank), np.int64)
    whole[:, places.ravel()] = widths.reshape(2, -1)
    site.node.resize_inputs(3)
    site.set_input(1, site.constant(whole.ravel(), "widths"))


def _split_18(site: Site) -> None:
    """The number of parts was that of the outputs, all of one size."""
    parts = site.take_int("num_outputs", 0)
    if not parts or site.input(1) is not None:
        return
    dims = site.dims(site.value(0))
    axis = site.node.attributes.get("axis")
    size = None if dims is None else dims[axis.as_int() if axis is not None else 0]
    if size is None:
        site.refuse("the size that is split is open, and whether the parts are equal is not known", _way_out(18))
    if size % parts:
        whole = -(-size // parts)
        site.set_input(1, site.constant([whole] * (parts - 1) + [size - whole * (parts - 1)], "sizes"))


def _grid_sample_20(site: Site) -> None:
    """The modes had other names, and grids two dimensions."""
    mode = site.take_string("mode", "linear")
    rank = site.rank(site.value(0))
    if rank != 4:
        site.refuse("before opset 20 only pictures, tensors of rank 4, are sampled", _way_out(20))
    site.set(mode={"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))


def _roi_align_16(site: Site) -> None:
    """There was no half pixel to leave out."""
    mode = site.take_string("coordinate_transformation_mode", "half_pixel")
    if mode != "output_half_pixel":
        site.refuse(f"coordinate_transformation_mode={mode!r} exists from opset 16 on", _way_out(16))


def _dft_20(site: Site) -> None:
    """The axis was an attribute, and another one where it is not given."""
    axis = site.input(2)
    known = site.known(axis)
    if axis is not None and (known is None or known.size != 1):
        site.refuse(f"its axis is computed by {axis.name!r}; before opset 20 it is an attribute", _way_out(20))
    rank = site.rank(site.value(0))
    place = -2 if known is None else int(known.item())
    if place < 0 and rank is None:
        site.refuse("the rank of its data is not known; before opset 20 the axis counts from the front", _way_out(20))
    site.node.resize_inputs(min(len(site.node.inputs), 2))
    site.set(axis=place if place >= 0 else place + (rank or 0))


_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare".split()
)
_RULES: Mapping[tuple[str, int], Callable[[Site], None]] = {
    **{(operator, 18): _reduction_18 for operator in _REDUCTIONS},
    ("BatchNormalization", 14): _batch_normalization_14,
    ("DFT", 20): _dft_20,
    ("GridSample", 20): _grid_sample_20,
    ("Pad", 18): _pad_18,
    ("RoiAlign", 16): _roi_align_16,
    ("Split", 18): _split_18,
}
"""(operator, version) → how what this version says is said in the one before."""
