"""The pass pipeline that a lowered program goes through, and what its operations stand for afterwards.

coremltools' passes are run one by one, so that work can be cancelled between them. Chosen are those that keep the
meaning of a tensor together with its name: every fusion names its result after the tensor that it computes. Left out
are passes that change a layout under its name (``reduce_transposes``, ``compose_conv1d``), that trade a division
for a less exact product (``divide_to_multiply``) or a product and a sum for a batch norm, whose epsilon then changes
the result by 5·10⁻⁶ (``fuse_elementwise_to_batchnorm``), and all that our lowerings give nothing to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Progress
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.from_onnx.names import Names
from workbench.formats.coreml.from_onnx.target import STAMP
from workbench.hub import HubNode
from workbench.hub.half import to_half

_FUSIONS = (
    "common::noop_elimination",
    "common::const_elimination",
    "common::fuse_matmul_weight_bias",
    "common::fuse_linear_bias",
    "common::fuse_gelu_tanh_approximation",
    "common::fuse_gelu_exact",
    "common::fuse_leaky_relu",
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_reduce_mean",
    "common::fuse_conv_batchnorm",
    "common::fuse_conv_scale",  # again: a batch norm in between is gone now
    "common::fuse_conv_bias",
    "common::fuse_conv_batchnorm",
    "common::fuse_prelu",
    "common::prelu_to_lrelu",
    "common::merge_consecutive_relus",
    "common::merge_consecutive_reshapes",
    "common::merge_consecutive_transposes",
    "common::remove_redundant_ops",
)
_AFTER_FLOAT16 = (
    "common::const_elimination",
    "common::dead_code_elimination",
    "common::cast_optimization",  # cancels the casts that stand between two operations in float16
    "common::dead_code_elimination",
)
_CLOSING = (
    "mil_backend::fuse_activation_silu",
    "common::const_elimination",
    "common::const_deduplication",
    "common::dead_code_elimination",
    "common::topological_reorder",
    "nn_backend::handle_unused_inputs",
)


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
            if operation.op_type.startswith("constexpr_"):  # compressed weights: of the layers that read them
                readers = [result.get(reader, ()) for var in operation.outputs for reader in var.child_ops]
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


def run(program: Any, lineage: Lineage, keep_fp32: Keeper | None, progress: Progress) -> None:
    """Run the pipeline; call it inside a :func:`toolkit.session`.

    Args:
        program: changed in place.
        keep_fp32: tells of an operation's source layers whether it stays in float32; ``None`` leaves all as they are.

    Raises:
        Cancelled: by the progress listener, between two passes or within the one that rounds to float16.
    """
    function = program.functions["main"]
    steps: list[tuple[str, Step]] = [_step(program, name) for name in _FUSIONS]
    if keep_fp32 is not None:
        steps.append(("float16", lambda tick: _to_float16(program, lineage, keep_fp32, tick)))
        steps += [_step(program, name) for name in _AFTER_FLOAT16]
    steps += [_step(program, name) for name in _CLOSING]
    for count, (name, step) in enumerate(steps):
        tick = functools.partial(progress, f"optimising: {name}", count / len(steps))
        tick()
        step(tick)
    program.validate()
    _detach_outputs(function)
    name_uniquely(function, lineage)


def _step(program: Any, name: str) -> tuple[str, Step]:
    registry = toolkit.submodule("converters.mil.mil.passes.pass_registry").PASS_REGISTRY
    return name.partition("::")[2], lambda tick: registry[name](program)


def _to_float16(program: Any, lineage: Lineage, keep_fp32: Keeper, tick: Callable[[], object]) -> None:
    function = program.functions["main"]
    name_uniquely(function, lineage)  # the pass remembers its casts by name
    layers = lineage.layers(function)
    lineage.before_float16(function)
    quantization = toolkit.submodule("converters.mil.mil.passes.defs.quantization")

    def selected(operation: Any) -> bool:
        tick()  # the pass takes its time over large weights, operation by operation
        return not keep_fp32(layers.get(operation, ()))

    quantization.FP16ComputePrecision(op_selector=selected)(program)
    _bound_constants(function)


def _bound_constants(function: Any) -> None:
    """Let the casts of constants to float16 make bounds of what lies far beyond its range, where they made infinities.

    The pass rounds a constant by a cast whose value it knows; the next one folds it.
    """
    for operation in every(function):
        if operation.op_type != "cast" or operation.dtype.val != "fp16" or operation.x.val is None:
            continue
        (rounded,) = operation.outputs
        if rounded.val is not None and np.isinf(rounded.val).any():
            bound = to_half(np.asarray(operation.x.val))
            rounded._sym_val.val = bound[()] if np.isscalar(rounded.val) else bound


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


def every(block: Any) -> Iterator[Any]:
    """The operations of a function or block, and those of their own blocks."""
    for operation in block.operations:
        yield operation
        for nested in operation.blocks:
            yield from every(nested)


def _is_const(operation: Any) -> bool:
    return operation is not None and operation.op_type == "const"
