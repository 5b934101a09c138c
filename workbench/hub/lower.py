"""The engine that every ``from_onnx`` table runs on: all nodes, all refusals, one outcome a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any, Protocol

import onnx_ir as ir

from workbench.document import Progress
from workbench.hub.bodies import has_body
from workbench.hub.emitter import Emitter
from workbench.hub.evaluate import RANDOM
from workbench.hub.node import HubNode
from workbench.hub.opset import OPSET
from workbench.hub.replay import RESOLVERS
from workbench.hub.stamps import refusal_of
from workbench.hub.structure import fed_by
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import has_subgraph
from workbench.lowering import CONTRADICTIONS, Outcome, Refused, Table, contradiction
from workbench.plan import Verdict


class Target(Protocol):
    """What a format gives the engine: where its lowerings emit to, and what values it has for the hub's."""

    def begin(self, node: HubNode) -> None:
        """A node's lowering is about to emit (name and stamp what comes)."""

    def bind(self, node: HubNode, results: Sequence[Any]) -> None:
        """The results stand for the node's outputs, in their order; an omitted output may be ``None``.

        May raise :class:`Refused` (a result of another shape or dtype than the hub's value is a defect).
        """

    def stand_in(self, node: HubNode) -> None:
        """The node was refused: give its outputs placeholders so that the nodes after it can still be planned."""


Lowering = Callable[[HubNode, Any], Any]

_OF_OPEN_SIZE = {
    "NonMaxSuppression": "boxes it selects",
    "NonZero": "elements it finds",
    "Unique": "values are different",
}
"""Operators for targets with tensors of lengths that only a run tells: the values decide how much they make."""

_OF_GIVEN_SHAPE = ("ConstantOfShape",)
"""Operators that a target without open sizes never sees where their first input is known: they are constants there."""

_MEASURES = ("NonZero", 13)
"""What a target has if it has such tensors."""

_OF_SHAPES = ("Shape", "Size")  # their results depend on the sizes of what they read, not on its values


def lower_graph(
    graph: ir.Graph,
    table: Table[Lowering],
    target: Target,
    progress: Progress,
    stage: str = "lowering",
    open_shapes: OpenShapes | None = None,
    elements: Callable[[HubNode, Any], Any] | None = None,
) -> list[Outcome]:
    """Lower every node of a specialised graph; a refused node does not stop the others.

    A lowering is called as ``lowering(node, target)`` and returns one value or a sequence of them. ``open_shapes`` is
    that of the specialised graph, for a target that takes open sizes; such a target is asked for a tensor of sizes as
    ``elements(node, array)``, in the place of a lowering of the arithmetic that makes it.
    """
    outcomes = []
    total = max(len(graph), 1)
    for index, node in enumerate(graph):
        if index % 16 == 0:
            progress(stage, index / total)
        outcomes.append(_lower(HubNode(node, open_shapes), table, target, elements))
    progress(stage, 1.0)
    return outcomes


def _lower(
    node: HubNode, table: Table[Lowering], target: Target, elements: Callable[[HubNode, Any], Any] | None
) -> Outcome:
    try:
        made = None if elements is None or len(node.outputs) != 1 else node.elements(node.outputs[0])
        if elements is not None and made is not None:
            target.bind(node, [elements(node, made)])
            return Outcome(node.layers, node.label, Verdict.EXACT)
        lowering = table.find(node.operator, node.version, node.domain)
        if lowering is None or refusal_of(node.node) is not None:
            raise _unknown(node, table.target)
        _require_static(node)
        target.begin(node)
        result = lowering(node, target)
        if node.leftover():
            raise Refused(f"the attributes {', '.join(map(repr, node.leftover()))} are not understood")
        target.bind(node, list(result) if isinstance(result, list | tuple) else [result])
    except Refused as refusal:
        target.stand_in(node)
        return Outcome(node.layers, node.label, Verdict.REFUSED, refusal.cause, refusal.way_out)
    except CONTRADICTIONS as error:
        target.stand_in(node)
        return Outcome(node.layers, node.label, Verdict.REFUSED, contradiction(error))
    if node.approximations:
        return Outcome(node.layers, node.label, Verdict.APPROXIMATE, "; ".join(node.approximations))
    return Outcome(node.layers, node.label, Verdict.EXACT)


def foresee(graph: ir.Graph, table: Table[Lowering]) -> list[Outcome]:
    """What can be said of the nodes of a graph whose input sizes are open: refused is only what no sizes can help.

    That is a node that computes from the inputs' values with an operator that the table does not have and onnx gives no
    body for. Everything else is undecided; much of it, the arithmetic of shapes, becomes constants with the sizes.
    """
    certain, varying = _certain(graph), set(graph.inputs)
    outcomes = []
    for found in map(HubNode, graph):
        node = found.node
        if node.op_type in RANDOM or (node.op_type not in _OF_SHAPES and not varying.isdisjoint(Emitter.reads(node))):
            varying.update(node.outputs)
        hopeless = node in certain and not varying.isdisjoint(node.outputs) and not _might_be_lowered(found, table)
        cause = _unknown(found, table.target).cause if hopeless else "it depends on the sizes of the inputs"
        verdict = Verdict.REFUSED if hopeless else Verdict.UNDECIDED
        outcomes.append(Outcome(found.layers, found.label, verdict, cause))
    return outcomes


def _might_be_lowered(node: HubNode, table: Table[Lowering]) -> bool:
    """Whether the table has the operator, or it may be replaced by nodes that the table has."""
    if has_subgraph(node.node) or (not node.domain and node.operator in RESOLVERS):
        return True  # unrolled, chosen or followed where the sizes decide
    if not node.domain and node.operator in never_replaced(table):
        return False
    return has_body(node.node) or table.find(node.operator, node.version, node.domain) is not None


def never_replaced(table: Table[Lowering]) -> Set[str]:
    """Operators whose composition or body needs what the target lacks: chance, or lengths that only a run tells."""
    lengths = frozenset() if table.find(*_MEASURES) else frozenset(_OF_OPEN_SIZE)
    return lengths | frozenset(operator for operator in RANDOM if table.find(operator, OPSET) is None)


def _certain(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that outputs depend on whatever control flow chooses: those it reads may be gone with its branches."""
    found: set[ir.Node] = set()
    pending = [value.producer() for value in graph.outputs]
    while pending:
        node = pending.pop()
        if node is not None and node not in found:
            found.add(node)
            if not has_subgraph(node):
                pending += [value.producer() for value in node.inputs if value is not None]
    return found


def _unknown(node: HubNode, target: str) -> Refused:
    """Why a node without a lowering is refused; for control flow, what decides and what could be done about it."""
    tried = refusal_of(node.node)
    if tried is not None:
        return tried
    if node.operator in _OF_OPEN_SIZE and not node.domain:
        return Refused(
            f"how many {_OF_OPEN_SIZE[node.operator]} depends on values at run time",
            "end the model before it, and compute the rest where the model is used",
        )
    _require_tensors(node)
    if node.operator in _OF_GIVEN_SHAPE and not node.domain:
        return Refused(
            f"the shape of what {node.operator} makes depends on values at run time",
            "make what it is computed from a constant of the model",
        )
    if not has_subgraph(node.node):
        return Refused(f"{target} has no counterpart for {node.label} in this version of the workbench")
    deciding = sorted(fed_by(node.input(0)))
    if node.operator != "If" or not deciding:
        return Refused("a part of the graph is repeated or chosen at run time", "unroll it before converting")
    names = ", ".join(map(repr, deciding))
    return Refused(
        f"its condition is computed at run time from {names}",
        f"make {names} a constant of the model, then only the branch that it chooses is converted",
    )


def _require_tensors(node: HubNode) -> None:
    """Refuse sequences and optionals that are left where it is not known what they hold."""
    for value in (*node.inputs, *node.outputs):
        if value is None or not isinstance(value.type, ir.SequenceType | ir.OptionalType):
            continue
        what = "a sequence" if isinstance(value.type, ir.SequenceType) else "an optional"
        if value.producer() is None:
            raise Refused(
                f"the input {value.name!r} is {what}, and what it holds is only known at run time",
                "give the model an input for each tensor instead",
            )
        if value.is_graph_output():
            raise Refused(
                f"the output {value.name!r} is {what}, only tensors can be converted",
                "make its tensors outputs instead, or one of them with ConcatFromSequence",
            )
        raise Refused(f"{value.name!r} is {what}, and what it holds is only known at run time")


def _require_static(node: HubNode) -> None:
    _require_tensors(node)
    for value in (*node.inputs, *node.outputs):
        if value is None or not value.name:
            continue
        if value.type is None:
            producer = value.producer()
            origin = "" if producer is None else f" comes from {producer.op_type} {producer.name!r} and"
            raise Refused(f"{value.name!r}{origin} is of a type that is only known at run time")
        if not isinstance(value.type, ir.TensorType):
            raise Refused(f"{value.name!r} is a {type(value.type).__name__}, only tensors can be converted")
        node.shape(value)
