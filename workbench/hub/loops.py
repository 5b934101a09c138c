"""Loop and Scan: written out where it is known how often, else a Loop with a specialised body.

https://onnx.ai/onnx/operators/onnx__Loop.html, https://onnx.ai/onnx/operators/onnx__Scan.html

A Scan that is too long to be written out becomes a Loop that gathers one slice of each sequence in a step. Where the
target has no loops and the number of steps is bounded, a condition that is computed is no obstacle either: every step
is written out, and keeps the state as it was once the condition has failed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from workbench.document import Dim
from workbench.errors import ExecutionError, ModelError
from workbench.hub.infer import check_node
from workbench.hub.replay import Array, Control, Held, Replay, every_node, resolves
from workbench.hub.structure import (
    alike,
    chosen,
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
from workbench.hub.values import dims_of, dtype_name, set_type
from workbench.lowering import Refused

_ENDLESS = 2**31 - 1
"""A number of trips from here on bounds nothing: exporters write the largest integer where only a condition ends it."""


@dataclass(frozen=True)
class Step:
    """What a step makes: whether there is another one, the state, and an element of each scan output."""

    going_on: ir.Value
    state: Sequence[Held]
    elements: Sequence[ir.Value]


@dataclass(frozen=True)
class Repetition:
    """A Loop or a Scan.

    Attributes:
        run: replays one step, given a replay into it, the number of the step (int64, no dimensions), and the state.
        size: nodes in a step.
        trips: the new value of the number of steps; ``None`` if nothing bounds it.
        condition: that of the first step; ``None`` if there is none.
        axes: of each scan output, the dimension that the steps become.
        backwards: of each scan output, whether its last element is made first.
    """

    node: ir.Node
    run: Callable[[Replay, ir.Value, Sequence[Held]], Step]
    size: int
    state: list[Held]
    trips: ir.Value | None
    condition: ir.Value | None
    axes: Sequence[int]
    backwards: Sequence[bool]


@resolves("Loop")
def loop(node: ir.Node, replay: Replay) -> bool:
    """A number of trips, a condition, a state; the body is given the number of the trip and the condition."""
    if replay.control is None:
        return False
    check_node(node)
    body = node.attributes["body"].as_graph()
    given = [*node.inputs, None, None][: max(len(node.inputs), 2)]
    state = [replay.look_up(value) for value in given[2:]]
    scans = len(body.outputs) - 1 - len(state)
    if len(body.inputs) != len(state) + 2 or scans < 0 or len(node.outputs) != len(state) + scans:
        raise ModelError(f"onnx Loop {node.name!r}: its body does not have the inputs and outputs of its state.")
    trips, condition = (None if value is None or not value.name else replay.tensor(value) for value in given[:2])

    def run(inner: Replay, index: ir.Value, state: Sequence[Held]) -> Step:
        going_on, *results = inner.inline(body, [index, inner.emitter.const(True), *state])  # it holds, or we were out
        return Step(_tensor(going_on), results[: len(state)], [_tensor(held) for held in results[len(state) :]])

    size = sum(1 for _ in every_node(body))
    return _resolved(Repetition(node, run, max(size, 1), state, trips, condition, [0] * scans, [False] * scans), replay)


@resolves("Scan")
def scan(node: ir.Node, replay: Replay) -> bool:
    """A state, and sequences that are gone through together."""
    if replay.control is None:
        return False
    check_node(node)
    body = node.attributes["body"].as_graph()
    count = node.attributes["num_scan_inputs"].as_int()
    states = len(node.inputs) - count
    scans = len(body.outputs) - states
    if count < 1 or states < 0 or scans < 0 or len(body.inputs) != len(node.inputs):
        raise ModelError(f"onnx Scan {node.name!r}: its body does not have the inputs and outputs of its state.")
    helds = [replay.look_up(value) for value in node.inputs]
    sequences = [_tensor(held) for held in helds[states:]]
    axes = _integers(node, "scan_input_axes", count)
    shapes = [static_shape(value) for value in sequences]
    lengths = {
        shape[axis] for shape, axis in zip(shapes, axes, strict=True) if shape and -len(shape) <= axis < len(shape)
    }
    if len(lengths) != 1 or None in shapes:
        return False
    (length,) = lengths
    turned = [bool(item) for item in _integers(node, "scan_input_directions", count)]

    def run(inner: Replay, index: ir.Value, state: Sequence[Held]) -> Step:
        slices: list[Held] = []
        for value, axis, back in zip(sequences, axes, turned, strict=True):
            place = inner.emitter.op("Sub", inner.emitter.const(length - 1), index) if back else index
            slices.append(inner.emitter.op("Gather", value, place, axis=axis))
        results = inner.inline(body, [*state, *slices])
        elements = [_tensor(held) for held in results[states:]]
        return Step(inner.emitter.const(True), results[:states], elements)

    size = count + sum(1 for _ in every_node(body))
    backwards = [bool(item) for item in _integers(node, "scan_output_directions", scans)]
    steps = replay.emitter.const(length)
    out_axes = _integers(node, "scan_output_axes", scans)
    return _resolved(Repetition(node, run, size, helds[:states], steps, None, out_axes, backwards), replay)


def _integers(node: ir.Node, name: str, count: int) -> list[int]:
    found = list(node.attributes[name].as_ints()) if name in node.attributes else [0] * count
    if len(found) != count:
        raise ModelError(f"onnx {node.op_type} {node.name!r}: {name!r} has {len(found)} items, {count} are needed.")
    return found


def _tensor(held: Held) -> ir.Value:
    if not isinstance(held, ir.Value):
        raise ModelError("a sequence or optional stands where a tensor has to be.")
    return held


def _resolved(repetition: Repetition, replay: Replay) -> bool:
    """Written out, or kept with a specialised body.

    Raises:
        Refused: neither is possible.
    """
    control = replay.control
    assert control is not None
    ways: list[Callable[[], list[Held]]] = [lambda: _written_out(repetition, replay, control)]
    if control.kept:
        longest = dataclasses.replace(control, unrolled=control.longest)
        ways += [lambda: _kept(repetition, replay), lambda: _written_out(repetition, replay, longest)]
    undo, reasons = replay.attempt(), []
    for way in ways:
        try:
            results = way()
        except Refused as refused:
            undo()
            reasons.append(refused)
        else:
            replay.bind_outputs(repetition.node, results)
            return True
    raise reasons[min(1, len(reasons) - 1)]


# -- written out ------------------------------------------------------------------------------------------------------


def _written_out(repetition: Repetition, replay: Replay, control: Control) -> list[Held]:
    """The steps one after the other.

    Raises:
        Refused: they are too many, or it is not known how many.
    """
    going = True if repetition.condition is None else _truth(replay, repetition.condition)
    if going is False:
        return _steps(repetition, replay, control, 0, True)
    trips = None
    if repetition.trips is not None:
        known = replay.emitter.known(repetition.trips)
        if known is None:
            names, way_out = origin(repetition.trips)
            raise Refused(f"how often it repeats is computed at run time{names}", way_out)
        trips = max(int(known.item()), 0)
    most = control.unrolled // repetition.size
    if trips is not None and trips > most and trips < _ENDLESS:
        raise Refused(
            f"it repeats {trips:,} times, which would make some {trips * repetition.size:,} layers: more than the "
            f"{control.unrolled:,} that a loop is written out into"
        )
    bounded = trips is not None and trips < _ENDLESS
    steps = trips if trips is not None and bounded else most + 1
    replay.control = dataclasses.replace(control, unrolled=control.unrolled // max(min(steps, most), 1))
    try:
        return _steps(repetition, replay, control, steps, bounded)
    finally:
        replay.control = control


def _steps(repetition: Repetition, replay: Replay, control: Control, steps: int, bounded: bool) -> list[Held]:
    """So many steps at most, fewer if a condition that is known says so."""
    state, active = list(repetition.state), None
    if steps and repetition.condition is not None and _truth(replay, repetition.condition) is None:
        active = repetition.condition
    elements: list[list[ir.Value]] = [[] for _ in repetition.axes]
    begin = len(replay.emitter.nodes)
    for index in range(steps):
        if active is not None:
            _require_maskable(repetition, control, bounded, active)
        if active is None:
            step = repetition.run(replay, replay.emitter.const(index), state)
            state = list(step.state)
        else:
            step, state = _masked(repetition, replay, index, active, state)
        for made, element in zip(elements, step.elements, strict=True):
            made.append(element)
        going = _truth(replay, step.going_on)
        if going is False:
            break
        if going is None:
            active = _both(replay, active, step.going_on)
        if len(replay.emitter.nodes) - begin > control.unrolled:
            raise Refused(
                f"its steps make more than {control.unrolled:,} layers, that is what a loop is written out into"
            )
    else:
        if not bounded:
            raise Refused(f"it does not end within the {control.unrolled:,} layers that a loop is written out into")
    return [*state, *_stacks(repetition, replay, elements)]


def _require_maskable(repetition: Repetition, control: Control, bounded: bool, active: ir.Value) -> None:
    """Refuse steps under a condition where a loop can be kept, or nothing bounds them, or they leave elements."""
    names, way_out = origin(active)
    cause = f"its condition is computed at run time{names}"
    if control.kept:
        raise Refused(cause, way_out)
    if not bounded:
        raise Refused(f"{cause}, and nothing bounds the number of its steps", "give it a constant number of trips")
    if repetition.axes:
        raise Refused(f"{cause}, and with it the length of its scan outputs", way_out)


def _both(replay: Replay, first: ir.Value | None, second: ir.Value) -> ir.Value:
    return second if first is None else replay.emitter.op("And", _flag(replay, first), _flag(replay, second))


def _truth(replay: Replay, value: ir.Value) -> bool | None:
    array = replay.emitter.known(value)
    return None if array is None or array.size != 1 else bool(array.item())


def _flag(replay: Replay, value: ir.Value) -> ir.Value:
    """A truth value without dimensions."""
    return value if dims_of(value) == () else replay.emitter.op("Reshape", value, replay.emitter.const([], "int64"))


def _masked(
    repetition: Repetition, replay: Replay, index: int, active: ir.Value, old: list[Held]
) -> tuple[Step, list[Held]]:
    """A step that may not have been to be made, and the state after it: the new one if it was, else the old one."""
    emitter, begin = replay.emitter, len(replay.emitter.nodes)
    try:
        step = repetition.run(replay, emitter.const(index), old)
    except (ModelError, ExecutionError) as error:
        raise Refused(f"its condition is computed at run time, and its step {index} does not fit: {error}") from error
    require_total(emitter, begin)
    new = list(step.state)
    pairs = list(zip(flat(new), flat(old), strict=False))
    if not alike(new, old) or not all(a is b or same_type(a, b) for a, b in pairs):
        names, way_out = origin(active)
        raise Refused(f"its condition is computed at run time{names}, and its state changes its shape", way_out)
    return step, rebuilt(new, [chosen(emitter, active, a, b) for a, b in pairs])


def _stacks(repetition: Repetition, replay: Replay, elements: list[list[ir.Value]]) -> list[Held]:
    """The scan outputs from their elements."""
    if repetition.axes and not elements[0]:
        return [replay.emitter.const(array) for array in _empty(repetition, replay)]
    emitter, stacks = replay.emitter, []
    for made, axis, back in zip(elements, repetition.axes, repetition.backwards, strict=True):
        place = emitter.const([axis])
        parts = [emitter.op("Unsqueeze", element, place) for element in made]
        stacks.append(emitter.op("Concat", *(parts[::-1] if back else parts), axis=axis))
    return [*stacks]


def _empty(repetition: Repetition, replay: Replay) -> list[Array]:
    """Scan outputs of no steps."""
    child = replay.child("empty")
    step = repetition.run(child, child.emitter.input("step", "int64", []), repetition.state)
    arrays = []
    for element, axis in zip(step.elements, repetition.axes, strict=True):
        sizes = [dim if isinstance(dim, int) else 0 for dim in dims_of(element) or ()]
        sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, 0)
        arrays.append(np.zeros(sizes, dtype_name(element.dtype)))
    return arrays


# -- kept -------------------------------------------------------------------------------------------------------------


def _kept(repetition: Repetition, replay: Replay) -> list[Held]:
    """A Loop with a specialised body."""
    start = flat(repetition.state)
    if not all(map(is_tensor, start)):
        raise Refused("its state holds a sequence or optional of which it is only known at run time what it holds")
    sizes = [dims_of(value) for value in start]
    child = replay.child(f"{repetition.node.outputs[0].name or repetition.node.name}/body")
    try:
        step, inputs = _body(repetition, child, sizes)
    except (ModelError, ExecutionError) as error:  # of a body that may never be run
        raise Refused(f"its body does not fit: {error}") from error
    if not alike(repetition.state, step.state):
        raise Refused(
            "its state holds a sequence or optional that holds more or fewer tensors from step to step",
            "make the number of its steps a constant, or collect the tensors in a scan output",
        )
    for before, after in zip(inputs, flat(step.state), strict=True):
        if before.dtype is not after.dtype or _opened(before, after):
            raise Refused(
                f"a state of {described(before)} becomes {described(after)} in a step",
                "make the number of its steps a constant",
            )
    return _looped(repetition, replay, child, step, inputs)


def _body(
    repetition: Repetition, child: Replay, sizes: Sequence[tuple[Dim, ...] | None]
) -> tuple[Step, list[ir.Value]]:
    """One step into a subgraph; its inputs are the emitter's."""
    emitter = child.emitter
    index = emitter.input(f"{emitter.name}/step", "int64", [])
    emitter.input(f"{emitter.name}/condition", "bool", [])
    inputs = [
        emitter.input(f"{emitter.name}/state_{place}", dtype_name(value.dtype), size)
        for place, (value, size) in enumerate(zip(flat(repetition.state), sizes, strict=True))
    ]
    return repetition.run(child, index, rebuilt(repetition.state, inputs)), inputs


def _opened(before: ir.Value, after: ir.Value) -> bool:
    """Whether a size that is known before a step is another one, or not known, after it."""
    old, new = dims_of(before), dims_of(after)
    if old is None or new is None or len(old) != len(new):
        return old is not None
    return any(isinstance(a, int) and a != b for a, b in zip(old, new, strict=True))


def _looped(
    repetition: Repetition, replay: Replay, child: Replay, step: Step, inputs: Sequence[ir.Value]
) -> list[Held]:
    emitter, state = replay.emitter, flat(step.state)
    endless = _truth(child, step.going_on) is True
    body = finished(child.emitter, [step.going_on, *state, *step.elements])
    condition = repetition.condition
    if condition is not None and _truth(replay, condition) is True:
        condition = None
    results = emitter.ops(
        "Loop", repetition.trips, condition, *flat(repetition.state),
        outputs=len(state) + len(step.elements), body=ir.AttrGraph("body", body),
    )  # fmt: skip
    for result, value in zip(results, inputs, strict=False):
        set_type(result, dtype_name(value.dtype), dims_of(value))
    trips = None if repetition.trips is None else emitter.known(repetition.trips)
    length = int(trips.item()) if trips is not None and endless and condition is None else None
    stacks = results[len(state) :]
    for place, (stack, element) in enumerate(zip(stacks, step.elements, strict=True)):
        dims = dims_of(element)
        steps: Dim = length
        if length is None:
            known = emitter.open_shapes
            steps = known.dim(known.length(stack)) if known is not None else None
            steps = _promised(repetition, place) if steps is None else steps
        set_type(stack, dtype_name(element.dtype), None if dims is None else (steps, *dims))
    return [*rebuilt(repetition.state, results[: len(state)]), *_arranged(repetition, replay, stacks, length)]


def _promised(repetition: Repetition, place: int) -> int:
    """The length of a scan output that the model declares, where it is not known otherwise.

    Raises:
        Refused: it declares none.
    """
    output = repetition.node.outputs[len(repetition.state) + place]
    declared = dims_of(output)
    if declared and isinstance(declared[0], int):
        return declared[0]
    names, way_out = "", ""
    if repetition.trips is not None:
        names, way_out = origin(repetition.trips)
    raise Refused(
        f"the length of its scan output {output.name!r} is computed at run time{names}",
        f"{way_out}, or declare the length of {output.name!r}" if way_out else f"declare the length of {output.name!r}",
    )


def _arranged(repetition: Repetition, replay: Replay, stacks: Sequence[ir.Value], length: int | None) -> list[Held]:
    """The stacks in the order and along the dimension that the scan outputs have."""
    emitter, arranged = replay.emitter, []
    for stack, axis, back in zip(stacks, repetition.axes, repetition.backwards, strict=True):
        if back and length is not None:
            stack = emitter.op("Gather", stack, emitter.const(np.arange(length)[::-1]), axis=0)
        rank = len(dims_of(stack) or ())
        place = axis + rank if axis < 0 else axis
        if place:
            order = list(range(1, rank))
            order.insert(place, 0)
            stack = emitter.op("Transpose", stack, perm=order)
        arranged.append(stack)
    return [*arranged]
