"""If and Loop: operations with blocks of their own. MIL: ``control_flow``.

What is decided beforehand has been resolved in the hub, and a Scan that is left is a Loop. Each subgraph is lowered by
the same tables into a block; it reads the values around it. Scan outputs are collected as :mod:`collecting` says, for
which the loop counts its steps; a step's number and the bound of steps are int32, as all integers are.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#module-coremltools.converters.mil.mil.ops.defs.iOS15.control_flow
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import silent
from workbench.formats.coreml.from_onnx.carrier import carrier
from workbench.formats.coreml.from_onnx.collecting import Collector, collector
from workbench.formats.coreml.from_onnx.table import TABLE, lowers
from workbench.formats.coreml.from_onnx.target import ProgramTarget, Var
from workbench.hub import Emitter, HubNode, constant_of, lower_graph
from workbench.hub.sizes import is_measured
from workbench.lowering import Refused
from workbench.plan import Verdict

_ENDLESS = np.iinfo(np.int32).max
"""A bound of steps from here on is none: exporters write the largest integer where only a condition ends the loop."""


def _truth(t: ProgramTarget, value: Var) -> Var:
    """A truth value without dimensions."""
    return t.reshape(value, ())


def _block(t: ProgramTarget, node: HubNode, graph: ir.Graph, given: Sequence[tuple[ir.Value, Var]]) -> list[Var]:
    """Lower a subgraph into the block that coremltools has opened; its outputs.

    Args:
        given: what the graph's inputs are.

    Raises:
        Refused: a node of the subgraph is; the cause is that node's.
    """
    for value, var in given:
        t.adopt(value, var)
    for outcome in lower_graph(graph, TABLE, t, silent, open_shapes=t.open_shapes, elements=t.elements):
        if outcome.verdict is Verdict.REFUSED:
            raise Refused(f"in it, {outcome.operator} {outcome.layers[-1]!r}: {outcome.note}", outcome.way_out)
        if outcome.verdict is Verdict.APPROXIMATE and outcome.note not in node.approximations:
            node.approximate(outcome.note)
    return [t.var(value) for value in graph.outputs]


def _own(t: ProgramTarget, var: Var, taken: Sequence[Var] = ()) -> Var:
    """An output of a block has to be made in it: nothing from outside, no constant, no other output."""
    return var if t.makes(var) and all(var is not other for other in taken) else t.op("identity", x=var)


def _outputs(t: ProgramTarget, found: Sequence[Var]) -> list[Var]:
    outputs: list[Var] = []
    for var in found:
        outputs.append(_own(t, var, outputs))
    return outputs


def _listed(made: Any) -> list[Var]:
    return list(made) if isinstance(made, list | tuple) else [made]


@lowers("If", since=1)
def if_1(node: HubNode, t: ProgramTarget) -> list[Var]:
    """``cond``; the hub has seen to it that both branches make the same dtypes."""
    then, other = node.attr_graph("then_branch"), node.attr_graph("else_branch")

    def branch(graph: ir.Graph) -> Any:
        def build() -> list[Var]:
            with t.nested():
                return _outputs(t, _block(t, node, graph, ()))

        return build

    chosen = _truth(t, t.var(node.value(0)))
    return _listed(t.op("cond", pred=chosen, _true_fn=branch(then), _false_fn=branch(other)))


@dataclass(frozen=True)
class Looping:
    """A Loop node as it is said in MIL.

    The loop's variables are, as far as there is a need of them, the number of the step and the condition; then the
    state; then what the scan outputs are collected in.
    """

    node: HubNode
    body: ir.Graph
    most: Var | None
    """The bound of steps, int32."""
    first: Var | None
    """The condition of the first step; ``None`` if it holds."""
    asks: bool
    """Whether there is a condition at all."""
    state: list[Var]
    collectors: list[Collector]

    @property
    def counts(self) -> bool:
        """Whether the steps are counted."""
        return self.most is not None or bool(self.collectors) or _reads(self.body, self.body.inputs[0])

    def parts(self, variables: Sequence[Var]) -> tuple[Var, Var, list[Var], list[Var]]:
        """The number of the step, the condition, the state and the collections among the variables."""
        rest = list(variables)
        count = rest.pop(0) if self.counts else None
        going = rest.pop(0) if self.asks else None
        return count, going, rest[: len(self.state)], rest[len(self.state) :]

    def variables(self, count: Var, going: Var, state: list[Var], collected: list[Var]) -> list[Var]:
        """The inverse of :meth:`parts`."""
        return [*([count] if self.counts else []), *([going] if self.asks else []), *state, *collected]


@lowers("Loop", since=1)
def loop_1(node: HubNode, t: ProgramTarget) -> list[Var]:
    """``while_loop``."""
    looping = _looping(node, t)
    if looping.most is None and not looping.asks:
        raise Refused("nothing ends it: it has no bound of steps and its condition is always true")
    start = looping.variables(
        t.const(np.int32(0), "step"),
        t.const(np.bool_(True), "condition") if looping.first is None else looping.first,
        looping.state,
        [collector.begin(t) for collector in looping.collectors],
    )

    def condition(*variables: Var) -> Var:
        with t.nested():
            count, going, _, _ = looping.parts(variables)
            if looping.most is None:
                return _own(t, going)
            within = t.op("less", x=count, y=looping.most)
            return t.op("logical_and", x=within, y=going) if looping.asks else within

    def step(*variables: Var) -> list[Var]:
        with t.nested():
            return _outputs(t, [t.opaque(var) for var in _step(t, looping, variables)])

    made = _listed(t.op("while_loop", _cond=condition, _body=step, loop_vars=tuple(map(t.opaque, start))))
    count, _, state, collected = looping.parts(made)
    pairs = zip(looping.collectors, collected, strict=True)
    return [*state, *(collector.result(t, held, count) for collector, held in pairs)]


def _looping(node: HubNode, t: ProgramTarget) -> Looping:
    body = node.attr_graph("body")
    if any(is_measured(node.shape(value)[0]) for value in node.outputs[max(len(node.inputs) - 2, 0) :]):
        t.measures(node)
    given = [*node.inputs, None, None][: max(len(node.inputs), 2)]
    state = [t.var(value) for value in given[2:] if value is not None]
    most = node.constant(0)
    bounded = node.input(0) is not None and (most is None or most.item() < _ENDLESS)
    always = constant_of(body.outputs[0])
    asks = node.input(1) is not None or always is None or not always.all()
    known = bounded and most is not None and not asks
    return Looping(
        node,
        body,
        t.cast(_truth(t, t.var(node.value(0))), "int32") if bounded else None,
        _truth(t, t.var(node.value(1))) if node.input(1) is not None else None,
        asks,
        state,
        [collector(node.shape(value), carrier(node.dtype(value)), known) for value in node.outputs[len(state) :]],
    )


def _reads(graph: ir.Graph, value: ir.Value) -> bool:
    return value in graph.outputs or any(value in Emitter.reads(node) for node in graph)


def _step(t: ProgramTarget, looping: Looping, variables: Sequence[Var]) -> list[Var]:
    """The body once: the loop's variables for the next step."""
    count, _, state, collected = looping.parts(variables)
    body = looping.body
    given = list(zip(body.inputs[2:], state, strict=True))
    if looping.counts:
        given.append((body.inputs[0], count))
    going, *results = _block(t, looping.node, body, given)
    following = t.op("add", x=count, y=np.int32(1)) if looping.counts else None
    triples = zip(looping.collectors, collected, results[len(state) :], strict=True)
    written = [collector.write(t, held, count, element) for collector, held, element in triples]
    return looping.variables(following, _truth(t, going), results[: len(state)], written)
