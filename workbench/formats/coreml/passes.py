"""The pass pipeline that a lowered program goes through, and what its operations stand for afterwards.

coremltools' passes are run one by one, so that work can be cancelled between them; :mod:`pass_list` says which.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Progress
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.duplicates import deduplication
from workbench.formats.coreml.float16 import bound_results, every, to_float16
from workbench.formats.coreml.from_onnx.names import Names
from workbench.formats.coreml.from_onnx.target import STAMP
from workbench.formats.coreml.pass_list import AFTER_FLOAT16, CLOSING, DEDUPLICATION, FUSIONS, short
from workbench.hub import HubNode


class Lineage:
    """Which hub nodes an operation stands for, and which hub value a program value holds.

    Args:
        nodes: the hub's nodes, at the indices that the operations are stamped with.
        tensors: name of a program value → name of the hub value.
    """

    def __init__(self, nodes: Sequence[HubNode], tensors: Mapping[str, str]) -> None:
        self._nodes = nodes
        self._tensors = dict(tensors)
        self._makers = {value.name: index for index, node in enumerate(nodes) for value in node.outputs if value.name}
        self._consumers: dict[ir.Value, list[int]] = {}
        for index, node in enumerate(nodes):
            for value in node.inputs:
                if value is not None:
                    self._consumers.setdefault(value, []).append(index)

    def layers(self, function: Any) -> dict[Any, tuple[str, ...]]:
        """Operation → the source layers that it stands for, for every operation that stands for some.

        A node that no operation is stamped with any more has been fused into what reads its result (the pass stamps the
        fused operation with the last of its nodes), or removed; either way its readers answer for it.
        """
        stamped = {operation: self._stamps(operation) for operation in every(function) if not _is_const(operation)}
        present = {index for indices in stamped.values() for index in indices}
        absorbed: dict[int, set[int]] = {}
        for index in set(range(len(self._nodes))) - present:
            for heir in self._heirs(index, present):
                absorbed.setdefault(heir, set()).add(index)
        result = {}
        for operation, indices in stamped.items():
            everything = sorted(set(indices).union(*(absorbed.get(index, set()) for index in indices)))
            layers = dict.fromkeys(layer for index in everything for layer in self._nodes[index].layers)
            if layers:
                result[operation] = tuple(layers)
        for operation in reversed([operation for operation in stamped if operation not in result]):
            # Compressed weights, and what makes of an input what the source takes: of the layers that read them.
            readers = [result.get(reader, ()) for var in operation.outputs for reader in var.child_ops]
            if any(readers):
                result[operation] = tuple(dict.fromkeys(layer for layers in readers for layer in layers))
        return result

    def before_float16(self, function: Any) -> None:
        """Follow the names that the float16 pass is about to give: it appends to those of the operations."""
        for operation in every(function):
            for place, var in enumerate(operation.outputs):
                suffix = f"_{place}" if len(operation.outputs) > 1 else ""
                if var.name in self._tensors:
                    self._tensors.setdefault(f"{operation.name}_cast_fp16{suffix}", self._tensors[var.name])

    def source(self, var: Any) -> str | None:
        """Name of the hub value that the program value holds.

        It goes by the name and the stamp: an operation that a pass has made may bear a name that is another's, but it
        is not stamped with the node that made that other.
        """
        name = self._tensors.get(var.name)
        if name is None or var.op is None or self._is_output(var):
            return name
        maker, stamps = self._makers.get(name), self._stamps(var.op)
        return name if maker in stamps or (maker is None and not stamps) else None  # an input's values have no maker

    @staticmethod
    def _is_output(var: Any) -> bool:
        return bool(var.consuming_blocks)

    @staticmethod
    def _stamps(operation: Any) -> list[int]:
        scopes = toolkit.submodule("converters.mil.mil.scope").ScopeSource
        found = operation.scopes.get(scopes.TORCHSCRIPT_MODULE_NAME) or []
        return [int(stamp.removeprefix(STAMP)) for stamp in found if stamp is not None and stamp.startswith(STAMP)]

    def _heirs(self, index: int, present: set[int]) -> set[int]:
        """The nearest nodes downstream that are still there."""
        heirs: set[int] = set()
        seen = {index}
        pending = [index]
        while pending:
            for value in self._nodes[pending.pop()].outputs:
                for consumer in self._consumers.get(value, ()):
                    if consumer in present:
                        heirs.add(consumer)
                    elif consumer not in seen:
                        seen.add(consumer)
                        pending.append(consumer)
        return heirs


Keeper = Callable[[tuple[str, ...]], bool]
Step = Callable[[Callable[[], object]], object]
"""One pass; it is given a function to call now and then, which raises to cancel it."""


def run(
    program: Any, lineage: Lineage, keep_fp32: Keeper | None, progress: Progress, left_out: Set[str] = frozenset()
) -> None:
    """Run the pipeline; call it inside a :func:`toolkit.session`.

    Args:
        program: changed in place.
        keep_fp32: tells of an operation's source layers whether it stays in float32; ``None`` leaves all as they are.
        left_out: names of optimisations (:data:`pass_list.OPTIMISATIONS`) that are not run.

    Raises:
        Cancelled: by the progress listener, between two passes or within the one that rounds to float16.
    """
    function = program.functions["main"]
    steps: list[tuple[str, Step]] = [_step(program, name) for name in FUSIONS if short(name) not in left_out]
    if keep_fp32 is not None:
        steps.append(("float16", lambda tick: _to_float16(program, lineage, keep_fp32, tick)))
        steps += [_step(program, name) for name in AFTER_FLOAT16]
        steps.append(("bounds", lambda tick: bound_results(function)))
    steps += [_step(program, name) for name in CLOSING if short(name) not in left_out]
    stored = any(operation.op_type.startswith("constexpr_") for operation in every(function))
    with contextlib.nullcontext() if stored else toolkit.all_replaceable():
        for count, (name, step) in enumerate(steps):
            tick = functools.partial(progress, f"optimising: {name}", count / len(steps))
            tick()
            before = list(every(function))
            step(tick)
            _let_go(before, set(every(function)))
    _detach_outputs(function)
    name_uniquely(function, lineage)


def _let_go(before: Sequence[Any], after: Set[Any]) -> None:
    """Let go of the arrays of operations that a pass has removed: their variables live as long as the draft."""
    for operation in before:
        if operation not in after:
            for var in (*operation.outputs, *operation.internal_inputs.values()):
                var._sym_val = None


def _step(program: Any, name: str) -> tuple[str, Step]:
    registry = toolkit.submodule("converters.mil.mil.passes.pass_registry").PASS_REGISTRY
    chosen = deduplication() if name == DEDUPLICATION else registry[name]

    def step(tick: Callable[[], object]) -> None:
        if short(name) == "fuse_conv_bias":
            _own_subtrahends(program.functions["main"])
        chosen(program)

    return short(name), step


def _own_subtrahends(function: Any) -> None:
    """Give each constant that is subtracted an array of its own: the pass negates it where it lies.

    It may be that of the source model, or be read by other operations too.
    """
    builder = toolkit.mil().Builder
    for operation in every(function):
        if operation.op_type == "sub" and isinstance(operation.y.val, np.ndarray) and operation.x.val is None:
            with operation.enclosing_block:
                own = builder.const(val=operation.y.val.copy(), name=operation.y.name, before_op=operation)
            operation.enclosing_block.replace_uses_of_var_after_op(
                anchor_op=own.op, old_var=operation.y, new_var=own, end_op=operation, no_check_var_types=True
            )


def _to_float16(program: Any, lineage: Lineage, keep_fp32: Keeper, tick: Callable[[], object]) -> None:
    function = program.functions["main"]
    name_uniquely(function, lineage)  # the pass remembers its casts by name
    layers = lineage.layers(function)
    lineage.before_float16(function)

    def selected(operation: Any) -> bool:
        tick()  # the pass takes its time over large weights, operation by operation
        return not keep_fp32(layers.get(operation, ()))

    to_float16(program, selected)


def _detach_outputs(function: Any) -> None:
    """Give an output that is a constant or an input after the passes an operation of its own, under its name."""
    builder = toolkit.mil().Builder
    taken = {id(var) for var in function.inputs.values()}
    outputs = []
    with function:
        for var in function.outputs:
            if id(var) in taken or _is_const(var.op):
                name = var.name
                if id(var) not in {id(known) for known in function.inputs.values()}:
                    var.name = f"{name}_value"
                var = builder.identity(x=var, name=name)
            taken.add(id(var))
            outputs.append(var)
        function.set_outputs(outputs)


def name_uniquely(function: Any, lineage: Lineage) -> None:
    """Give every value a name of its own, and every operation that of its first output, as layers are named.

    Inputs, outputs and the hub's values keep their names; what the builder and the passes have named gives way.
    """
    operations = list(every(function))
    values = [var for operation in operations for var in operation.outputs]
    inner = [var for operation in operations for block in operation.blocks for var in block.inputs]
    names, kept = Names(), set()
    for var in (*function.inputs.values(), *function.outputs, *(var for var in values if lineage.source(var)), *inner):
        if id(var) not in kept and names.claim(var.name):
            kept.add(id(var))
    for var in (*inner, *values):  # the blocks of a loop share their inputs
        if id(var) not in kept:
            kept.add(id(var))
            var.name = names.unique(var.name)
    for operation in operations:
        operation.name = operation.outputs[0].name


def _is_const(operation: Any) -> bool:
    return operation is not None and operation.op_type == "const"
