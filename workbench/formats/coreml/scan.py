"""A recurrence said by its equations: the body of a Scan, for what ONNX's recurrent operators cannot say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from workbench.hub import Emitter, dims_of, set_type

Step = Callable[[Emitter, ir.Value, Sequence[ir.Value]], Sequence[ir.Value]]
"""(emitter, ``W x + b`` [B, G H], states [B, H]) → states [B, H]; the first one is the output."""


def scanned(
    emit: Emitter, name: str, layers: Sequence[str], prepared: ir.Value, first: Sequence[ir.Value], hidden: int | None,
    step: Step, *, backwards: bool, restore: bool,
) -> tuple[ir.Value, list[ir.Value]]:  # fmt: skip
    """Run the step over a sequence.

    Args:
        name: begins the names of what is inside.
        layers: what the nodes inside stand for.
        prepared: ``W x + b`` of the whole sequence, float32 [S, B, G H].
        first: the states before the first step, [B, H] each.
        hidden: H.
        backwards: from the last step to the first.
        restore: put what ``backwards`` makes in the order of the sequence, instead of leaving it in that it is made in.

    Returns:
        the outputs [S, B, H], and the states after the last step, [B, H] each.
    """
    length, batch, width = dims_of(prepared) or (None, None, None)
    body = Emitter(name)
    with body.layer(layers, hint=name):
        states = [body.input(f"{name}/state_{index}", "float32", [batch, hidden]) for index in range(len(first))]
        made = list(step(body, body.input(f"{name}/x", "float32", [batch, width]), states))
        graph = body.finish([*made, body.op("Identity", made[0])]).graph
    *finals, y = emit.ops(
        "Scan", *first, prepared, outputs=len(first) + 1, body=ir.AttrGraph("body", graph), num_scan_inputs=1,
        scan_input_directions=[int(backwards)], scan_output_directions=[int(backwards and restore)],
    )  # fmt: skip
    for final in finals:
        set_type(final, "float32", [batch, hidden])
    return set_type(y, "float32", [length, batch, hidden]), finals
