"""If: the branch that is known, a node with specialised branches, or both branches and a choice between their results.

https://onnx.ai/onnx/operators/onnx__If.html
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.errors import ExecutionError, ModelError
from workbench.hub.infer import check_node
from workbench.hub.replay import Held, Replay, resolves
from workbench.hub.structure import (
    alike,
    chosen,
    common_dims,
    described,
    finished,
    flat,
    is_tensor,
    origin,
    rebuilt,
    require_total,
    same_type,
    static_shape,
)
from workbench.hub.values import dtype_name, set_type
from workbench.lowering import Refused

_BRANCHES = ("then_branch", "else_branch")


@resolves("If")
def branch(node: ir.Node, replay: Replay) -> bool:
    """Replaced by its branch where the condition is known; else by what the target can be given."""
    condition = replay.constant(node.inputs[0]) if node.inputs else None
    if condition is not None and condition.size == 1:
        check_node(node)
        name = _BRANCHES[0] if condition.item() else _BRANCHES[1]
        replay.bind_outputs(node, replay.inline(node.attributes[name].as_graph()))
        return True
    if replay.control is None:
        return False
    check_node(node)
    undo = replay.attempt()
    try:
        results = _kept(node, replay) if replay.control.kept else _both(node, replay)
    except (ModelError, ExecutionError) as error:  # in a branch that may never be taken
        undo()
        raise Refused(f"a branch does not fit: {error}") from error
    except Refused:
        undo()
        raise
    replay.bind_outputs(node, results)
    return True


def _paired(node: ir.Node, then: list[Held], other: list[Held], replay: Replay) -> list[tuple[ir.Value, ir.Value]]:
    """The tensors that the branches make, in pairs.

    Raises:
        Refused: they are not alike.
    """
    names, way_out = origin(replay.tensor(node.inputs[0])) if node.inputs[0] is not None else ("", "")
    way_out = f"{way_out}, then only the branch that it chooses is converted" if way_out else ""
    cause = f"its condition is computed at run time{names}, and its branches make"
    if not alike(then, other):
        raise Refused(f"{cause} sequences or optionals that do not hold as many tensors", way_out)
    pairs = list(zip(flat(then), flat(other), strict=True))
    if not all(is_tensor(a) and is_tensor(b) for a, b in pairs):
        raise Refused("it is only known at run time of what type the results of its branches are")
    for a, b in pairs:
        shapes = static_shape(a), static_shape(b)
        if a.dtype is not b.dtype or (None not in shapes and shapes[0] != shapes[1]):
            raise Refused(f"{cause} {described(a)} and {described(b)}", way_out)
    return pairs


def _kept(node: ir.Node, replay: Replay) -> list[Held]:
    """The node with specialised branches; a sequence that both make in one length becomes so many tensors."""
    label = node.outputs[0].name or node.name or "If"
    children = [replay.child(f"{label}/{name}") for name in _BRANCHES]
    graphs = [node.attributes[name].as_graph() for name in _BRANCHES]
    then, other = (child.inline(graph) for child, graph in zip(children, graphs, strict=True))
    pairs = _paired(node, then, other, replay)
    if not pairs:
        return then
    made, against = [a for a, _ in pairs], [b for _, b in pairs]
    branches = [finished(child.emitter, values) for child, values in zip(children, (made, against), strict=True)]
    condition = node.inputs[0]
    assert condition is not None
    results = replay.emitter.ops(
        "If", replay.tensor(condition), outputs=len(made),
        then_branch=ir.AttrGraph("then_branch", branches[0]), else_branch=ir.AttrGraph("else_branch", branches[1]),
    )  # fmt: skip
    for result, (a, b) in zip(results, pairs, strict=False):
        set_type(result, dtype_name(a.dtype), common_dims(a, b))
    return rebuilt(then, results)


def _both(node: ir.Node, replay: Replay) -> list[Held]:
    """Both branches, and of each pair of their results the one that the condition means."""
    begin = len(replay.emitter.nodes)
    then, other = (replay.inline(node.attributes[name].as_graph()) for name in _BRANCHES)
    require_total(replay.emitter, begin)
    pairs = _paired(node, then, other, replay)
    if not all(a is b or same_type(a, b) for a, b in pairs):
        raise Refused("the shapes that its branches make depend on values at run time")
    condition = node.inputs[0]
    assert condition is not None
    return rebuilt(then, [chosen(replay.emitter, replay.tensor(condition), a, b) for a, b in pairs])
