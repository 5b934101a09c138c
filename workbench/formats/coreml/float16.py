"""Rounding a lowered program to float16: coremltools' pass, with decisions of our own about constants.

The pass casts the inputs of each operation and its results back; other passes cancel the casts. An operation with a
constant beyond float16's range stays in float32. Ours are:

- numbers from ±1e6 on are bounds, not quantities (:mod:`workbench.hub.half`): constants that are infinite for the pass
  become ±65504, and so do the results of an operation that stays in float32 for the sake of such a number (the mask
  ``(1 − seen) · −1e9``), where they are rounded: an infinite mask makes NaN of a row that is masked throughout;
- a constant that only operations in float16 read is rounded at once, and its float32 is let go;
- what is held as integers is scaled in the precision of its readers; where float16 cannot hold the scales to its own
  precision, or some of the layers stay in float32 and others do not, it is computed beforehand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit
from workbench.hub.half import BEYOND, LARGEST, to_half

Array = np.ndarray[Any, Any]
Selected = Callable[[Any], bool]
"""Whether an operation is computed in float16."""

_SMALL = 400
"""Up to this size the pass takes care that an epsilon does not become zero."""
_SMALLEST = 2.0**-14
"""Below it float16 loses digits."""
_INFINITE = 1e38
"""From here on the pass takes a number for an infinite one."""


def to_float16(program: Any, selected: Selected) -> None:
    """Run the pass on a pymil ``Program``, inside a :func:`toolkit.session`."""
    function = program.functions["main"]
    rounding = _pass()(selected)
    with function:
        _settle_stored(function, rounding)
    rounding(program)
    _bound_constants(function)


def bound_results(function: Any) -> None:
    """Bound what operations in float32 with a number from ±1e6 on hand over to float16; call it once casts are few."""
    builder = toolkit.mil().Builder
    with function:
        for operation in list(every(function)):
            made = operation.x.op if operation.op_type == "cast" and operation.dtype.val == "fp16" else None
            if made is None or made.op_type == "cast" or not _has_bound(made):
                continue
            with operation.enclosing_block:
                bounded = builder.clip(
                    x=operation.x, alpha=np.float32(-LARGEST), beta=np.float32(LARGEST),
                    name=f"{operation.x.name}_bounded", before_op=operation,
                )  # fmt: skip
                operation.set_inputs(x=bounded)
            bounded.op.scopes = made.scopes


def every(block: Any) -> Iterator[Any]:
    """The operations of a function or block, and those of their own blocks."""
    for operation in block.operations:
        yield operation
        for nested in operation.blocks:
            yield from every(nested)


@functools.cache
def _pass() -> Any:
    """coremltools' pass with scans of constants that copy nothing, each constant scanned once."""
    quantization = toolkit.submodule("converters.mil.mil.passes.defs.quantization")

    class Rounding(quantization.FP16ComputePrecision):  # type: ignore[misc, name-defined]  # coremltools is not typed
        def __init__(self, selected: Selected) -> None:
            super().__init__(op_selector=lambda operation: operation not in self.kept and selected(operation))
            self.kept: set[Any] = set()
            self._beyond: dict[Any, bool] = {}
            self._spent: list[Any] = []

        def fp16_overflow(self, op: Any) -> bool:
            return any(self.beyond(var) for var in _constants(op))

        def beyond(self, var: Any) -> bool:
            """Whether a float32 constant has a finite number that float16 does not reach."""
            if var not in self._beyond:
                self._beyond[var] = _beyond(np.asarray(var.val), _INFINITE)
            return self._beyond[var]

        def rounds(self, operation: Any) -> bool:
            """Whether the pass will compute the operation in float16."""
            return bool(self.is_valid_op(operation)) and self.op_selector(operation)

        def transform_op(self, op: Any) -> None:
            super().transform_op(op)
            for constant in self._spent:
                if not constant.outputs[0].child_ops and not constant.outputs[0].consuming_blocks:
                    _remove(constant)
            self._spent.clear()

        def _get_casted_outputs(self, op: Any, casted_inputs: dict[str, Any]) -> Any:
            for name, given in casted_inputs.items():
                several = isinstance(given, list | tuple)
                casted_inputs[name] = [self._rounded(var, op) for var in given] if several else self._rounded(given, op)
            return super()._get_casted_outputs(op, casted_inputs)

        def _rounded(self, var: Any, reader: Any) -> Any:
            """A constant in place of the cast of a large one that has no other reader."""
            cast = getattr(var, "op", None)
            if cast is None or cast.op_type != "cast" or var.child_ops or var.val is None or np.size(var.val) < _SMALL:
                return var
            constant = cast.x.op
            if constant is None or constant.op_type != "const" or len(cast.x.child_ops) > 2:  # the cast and the reader
                return var
            rounded = to_half(cast.x.val) if _is_wide(cast.x.val) else var.val
            cast.enclosing_block.remove_ops([cast])
            self._spent.append(constant)
            return toolkit.mil().Builder.const(val=rounded, name=var.name, before_op=reader)

        def _check_underflow_to_zero(self, new_var: Any, var: Any) -> None:
            if var.val is not None and np.size(var.val) < _SMALL:
                super()._check_underflow_to_zero(new_var, var)

    return Rounding


def _constants(operation: Any) -> Iterator[Any]:
    """The operation's inputs that are float32 constants."""
    for var in operation.get_flattened_inputs():
        if var.op is not None and var.op.op_type == "const" and var.is_tensor_or_scalar_of(dtype="fp32"):
            yield var


def _is_wide(array: Array) -> bool:
    """Whether a number is beyond float16's range, or none."""
    return bool(array.size) and not (array.min() >= -LARGEST and array.max() <= LARGEST)


def _beyond(array: Array, infinite: float) -> bool:
    if not _is_wide(array):
        return False
    magnitude = np.abs(array)
    return bool(np.max(magnitude[magnitude < infinite], initial=0.0) > LARGEST)


def _has_bound(operation: Any) -> bool:
    """Whether a constant of the operation has a number that is a bound and no infinity for the pass."""
    for var in _constants(operation):
        array = np.asarray(var.val)
        if _beyond(array, _INFINITE) and bool((np.abs(array[np.abs(array) < _INFINITE]) >= BEYOND).any()):
            return True
    return False


def _settle_stored(function: Any, rounding: Any) -> None:
    """Compute the constants held as integers that do not go with their readers into float16."""
    builder = toolkit.mil().Builder
    for operation in list(every(function)):
        if not operation.op_type.startswith("constexpr_"):
            continue
        (var,) = operation.outputs
        halves = {rounding.rounds(reader) for reader in var.child_ops}
        if halves == {False}:
            rounding.kept.add(operation)
        elif var.consuming_blocks or halves != {rounding.rounds(operation)} or not _scales_in_half(operation):
            value = operation.materialized_val_inference()
            _replace(operation, builder.const(val=value, name=f"{var.name}_value", before_op=operation))


def _scales_in_half(operation: Any) -> bool:
    """Whether float16 has the scales to its own precision, and what they make of the integers."""
    scale = np.abs(np.asarray(operation.scale.val, np.float64))
    return bool(((scale >= _SMALLEST) | (scale == 0)).all() and (scale * 510 <= LARGEST).all())


def _replace(operation: Any, new: Any) -> None:
    """Put another value of the same type in the place of the operation's."""
    operation.enclosing_block.replace_uses_of_var_after_op(
        anchor_op=operation, old_var=operation.outputs[0], new_var=new, force_replace=True
    )
    operation.enclosing_block.remove_ops([operation])


def _remove(constant: Any) -> None:
    """Remove a constant, and let go of its array: what refers to its variable lives as long as the draft."""
    constant.enclosing_block.remove_ops([constant])
    constant.outputs[0]._sym_val = constant.val._sym_val = None


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
