"""Compressing the weights of a program: coremltools' own graph passes, run before it is written.

https://apple.github.io/coremltools/docs-guides/source/opt-overview.html
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.document import Progress
from workbench.formats.coreml import private, toolkit
from workbench.formats.coreml.float16 import every
from workbench.formats.coreml.options import TARGETS
from workbench.hub import constant_of

THRESHOLD = 2048
"""Constants of no more elements are left as they are (coremltools' default)."""

BLOCK = 32
"""Elements that share a scale at most, where the scheme works by blocks."""

SMALLEST_BLOCK = 8
"""Where no number from here to :data:`BLOCK` divides the channels, those of one output share a scale."""


@dataclass(frozen=True)
class Scheme:
    """One way to hold weights.

    Attributes:
        kind: coremltools' pass and its configuration.
        arguments: of the configuration.
        specification: the model file's version that has the operators it needs.
        note: what it does to the weights, for people.
    """

    kind: tuple[str, str]
    arguments: Mapping[str, Any]
    specification: int
    note: str


_PALETTIZE = ("palettize_weights", "OpPalettizerConfig")
_QUANTIZE = ("linear_quantize_weights", "OpLinearQuantizerConfig")

SCHEMES = {
    **{
        f"palettize{bits}": Scheme(
            _PALETTIZE,
            {"mode": "kmeans", "nbits": bits},
            TARGETS["iOS16"],
            f"weights held as one of {2**bits} values each",
        )
        for bits in (8, 6, 4, 2)
    },
    "int8": Scheme(
        _QUANTIZE,
        {"mode": "linear_symmetric", "dtype": "int8"},
        TARGETS["iOS16"],
        "weights held in int8, a scale for each channel",
    ),
    "int4": Scheme(
        _QUANTIZE,
        {"mode": "linear_symmetric", "dtype": "int4", "granularity": "per_block", "block_size": BLOCK},
        TARGETS["iOS18"],
        f"weights held in int4, a scale for {SMALLEST_BLOCK} to {BLOCK} of them, or for each channel",
    ),
}
"""The option's words → what they mean."""


def compress(program: Any, scheme: Scheme, progress: Progress) -> list[str]:
    """Replace large constants of a pymil ``Program`` by compressed ones; use it inside a :func:`toolkit.session`.

    Returns:
        The names of those that coremltools has left as they were; there is no reason known for it.

    Raises:
        Cancelled: by the progress listener, between two constants.
    """

    def told(constants: Sequence[Any], **_: Any) -> Iterator[Any]:
        """In the place of the bar that coremltools would draw on stderr."""
        for done, constant in enumerate(constants):
            progress("compressing weights", done / len(constants))
            yield constant

    optimize = toolkit.submodule("optimize.coreml")
    passes = toolkit.submodule("optimize.coreml._quantization_passes")
    name, configuration = scheme.kind
    made = getattr(optimize, configuration)
    config = optimize.OptimizationConfig(made(weight_threshold=THRESHOLD, **scheme.arguments))
    function = program.functions["main"]
    _part_readers(function)
    if "block_size" in scheme.arguments:
        for constant in _large(function):
            given = {**scheme.arguments, **_blocks(constant)}
            config.set_op_name(constant.name, made(weight_threshold=THRESHOLD, **given))
    bar, passes.tqdm = passes.tqdm, told
    toolkit.submodule("optimize._utils")._logger = logging.getLogger(private.NAME)  # as it comes, it is everybody's
    try:
        getattr(passes, name)(config).apply(program)
    finally:
        passes.tqdm = bar
    return [constant.name for constant in _large(function)]


def _large(function: Any) -> list[Any]:
    """The constants that a scheme is for: of floating point, large, no vectors, finite, and computed with."""
    found = []
    for operation in every(function):
        if operation.op_type == "const":
            (var,) = operation.outputs
            readers = [reader.op_type for reader in var.child_ops]
            if readers and not any(kind.startswith("constexpr_") for kind in readers) and _is_large(var.val):
                found.append(operation)
    return found


def _is_large(array: Any) -> bool:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim < 2 or array.size <= THRESHOLD:
        return False
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def _part_readers(function: Any) -> None:
    """A weight with readers that have its channels on different axes becomes one for each: else none is compressed."""
    builder = toolkit.mil().Builder
    for constant in _large(function):
        (var,) = constant.outputs
        first, *others = list(var.child_ops)
        for reader in others:
            if _axes(reader, var) != _axes(first, var):
                with reader.enclosing_block:
                    own = builder.const(val=var.val, name=f"{var.name}_of_{reader.name}", before_op=reader)
                reader.enclosing_block.replace_uses_of_var_after_op(
                    anchor_op=own.op, old_var=var, new_var=own, end_op=reader, no_check_var_types=True
                )


def _axes(reader: Any, var: Any) -> tuple[int, int]:
    """The axes of a weight that its reader has output and input channels on."""
    last, before = var.rank - 1, var.rank - 2
    if reader.op_type == "conv_transpose":
        return 1, 0
    if reader.op_type != "matmul":
        return 0, 1
    if reader.y is var:
        return (before, last) if reader.transpose_y.val else (last, before)
    return (last, before) if reader.transpose_x.val else (before, last)


def _blocks(constant: Any) -> dict[str, Any]:
    """What of a block-wise scheme is the weight's own: the size that divides it, else a scale for each channel."""
    (var,) = constant.outputs
    size = var.shape[_axes(var.child_ops[0], var)[1]]
    block = max(divisor for divisor in range(1, BLOCK + 1) if size % divisor == 0)
    return {"block_size": block} if block >= SMALLEST_BLOCK else {"granularity": "per_channel"}


def is_compressed(node: ir.Node) -> bool:
    """Whether the node reads weights that are large enough."""
    return any(
        value is not None
        and value.const_value is not None
        and value.const_value.size > THRESHOLD
        and _is_large(constant_of(value))
        for value in node.inputs
    )
