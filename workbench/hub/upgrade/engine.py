"""Walks a model and brings every default-domain node to the hub's opset, step by step, or refuses all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.errors import ModelError
from workbench.hub.opset import IR_VERSION, OPSET, schema_of
from workbench.hub.upgrade.newer import accept_newer
from workbench.hub.upgrade.registry import RETIRED_IN, find_newer, find_retired, find_step, is_superset, versions
from workbench.hub.upgrade.site import Names, Site
from workbench.lowering import CONTRADICTIONS, Refused, contradiction

if TYPE_CHECKING:
    from onnx.defs import OpSchema


def upgrade(model: ir.Model, to: int = OPSET) -> None:
    """Bring the model's default-domain nodes, in the graph and in all subgraphs, to the opset ``to``, in place.

    Names of values and nodes, and the nodes' ``metadata_props``, stay; an inserted node carries the ``metadata_props``
    of the node that it serves. Other domains are not touched. Functions must have been inlined. A refused model is left
    half upgraded: discard it.

    Args:
        model: any default-domain opset from 1 on; above ``to`` only nodes whose meaning at ``to`` is the same.
        to: 23 to 25; inserted nodes have the form that those opsets share.

    Raises:
        ModelError: the model has functions, imports no known opset, or has nodes that cannot be upgraded exactly; in
            that case the message has one line for each.
    """
    if not 23 <= to <= OPSET:
        raise ModelError(f"Models are upgraded to an opset from 23 to {OPSET}, not to {to}.")
    if model.functions:
        raise ModelError(f"The model has {len(model.functions)} functions; inline them before the opset upgrade.")
    nodes = [node for node in model.graph.all_nodes() if not node.domain]
    opset = _imported(model, bool(nodes))
    names = Names(model.graph)
    refusals = []
    for node in nodes:
        try:
            _upgrade_node(node, names, node.version or opset, to)
        except Refused as refused:
            refusals.append(_line(node, node.version or opset, refused))
        except CONTRADICTIONS as error:
            refusals.append(_line(node, node.version or opset, Refused(contradiction(error))))
    if refusals:
        count = f"{len(refusals)} node{'s' if len(refusals) != 1 else ''} refused"
        head = f"The model cannot be brought from opset {opset} to {to}: {count}"
        raise ModelError("\n  ".join([head, *refusals]))
    for graph in (model.graph, *model.graph.subgraphs()):
        graph.opset_imports.pop("ai.onnx", None)
        if graph is model.graph or "" in graph.opset_imports:
            graph.opset_imports[""] = to
    model.ir_version = max(model.ir_version or 0, IR_VERSION)


def _imported(model: ir.Model, needed: bool) -> int:
    """The model's default-domain opset."""
    import onnx

    imports = model.graph.opset_imports
    opset = imports.get("", imports.get("ai.onnx"))
    newest = onnx.defs.onnx_opset_version()
    if opset is None:
        if needed:
            raise ModelError("The model imports no opset of the default domain; add it to opset_import.")
        return OPSET
    if not 1 <= opset <= newest:
        raise ModelError(
            f"The model imports opset {opset}; the installed onnx knows 1 to {newest}. "
            "Update onnx, or export the model with an older opset."
        )
    return opset


def _upgrade_node(node: ir.Node, names: Names, opset: int, to: int) -> None:
    """Raise: Refused, with the node in any state."""
    graph = node.graph
    assert isinstance(graph, ir.Graph), "the model's functions are inlined"
    for attribute in node.attributes.values():
        if attribute.is_ref():
            raise Refused(f"the attribute {attribute.name!r} refers to {attribute.ref_attr_name!r} outside a function")
    schema = schema_of(node.op_type, opset=opset)
    _check_arity(node, schema)
    if schema is None:
        _rewrite_retired(node, graph, names, opset)
    elif opset > to:
        rewrite = find_newer(node.op_type)
        if rewrite is not None:
            rewrite(Site(node, graph, names, schema.since_version))
        accept_newer(node, schema_of(node.op_type, opset=opset) or schema, to)
    else:
        site = Site(node, graph, names, schema.since_version)
        _climb(site, to)
        if (reached := schema_of(node.op_type, opset=to)) is None or reached.deprecated:
            raise Refused("the operator was removed from ONNX", "export the model with the opset that it states")
    _settle(node)


def _check_arity(node: ir.Node, schema: OpSchema | None) -> None:
    """The steps may count on the outputs and inputs that the operator has to have."""
    if schema is None:
        return
    for kind, count, least, most in (
        ("inputs", len(node.inputs), schema.min_input, schema.max_input),
        ("outputs", len(node.outputs), schema.min_output, schema.max_output),
    ):
        if not least <= count <= most:
            raise Refused(f"it has {count} {kind}, the operator {least} to {most}")


def _settle(node: ir.Node) -> None:
    """The node now follows its graph's opset import."""
    if node.version is not None:
        node.version = None


def _climb(site: Site, to: int) -> None:
    """Apply the step, if one is needed, of every version between the node's and ``to``."""
    while True:
        operator = site.node.op_type
        above = [version for version in versions()[operator] if site.version < version <= to]
        if not above:
            return
        step = find_step(operator, above[0])
        if step is None and not is_superset(operator, above[0]):
            raise Refused(f"no rule says how {operator}-{site.version} relates to {operator}-{above[0]}")
        site.version = above[0]
        if step is not None:
            step(site)


def _rewrite_retired(node: ir.Node, graph: ir.Graph, names: Names, opset: int) -> None:
    rewrite = find_retired(node.op_type)
    if rewrite is not None and opset < RETIRED_IN and len(node.outputs) == 1:
        rewrite(Site(node, graph, names, 1))
        return
    known = versions().get(node.op_type)
    if known is None:
        raise Refused("ONNX has no such operator", "if it is a custom operator, give it its domain")
    raise Refused(f"the operator exists only from opset {known[0]} on", "correct the model's opset_import")


def _line(node: ir.Node, opset: int, refused: Refused) -> str:
    schema = schema_of(node.op_type, opset=opset)
    label = f"{node.op_type}-{schema.since_version if schema is not None else opset}"
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    text = f"onnx {label} {name!r}: {refused.cause}"
    return f"{text}; {refused.way_out}." if refused.way_out else f"{text}."
