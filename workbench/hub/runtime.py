"""What the installed onnxruntime can be trusted with: the opset it loads, and what an old one computes wrongly.

Python 3.11 and newer get an onnxruntime that runs the hub's opset. The last one for Python 3.10 is 1.23, which loads
opset 23 at most and has faults of its own, found by running onnx's node tests and variations of them on both. A node
that meets one of these faults is refused there: nothing is computed silently wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ExecutionError
from workbench.hub.opset import OPSET, schema_of

Array = np.ndarray[Any, Any]
Inputs = Sequence[Array | None]

_RUNTIME_25 = (1, 24)
"""onnxruntime below this version loads opset 23 at most."""

WAY_OUT = "use Python 3.11 or newer, for which there is an onnxruntime without this fault"


@functools.lru_cache(maxsize=1)
def runs_hub_opset() -> bool:
    """Whether the installed onnxruntime loads the hub's opset."""
    import onnxruntime

    major, minor = (int(part) for part in onnxruntime.__version__.split(".")[:2])
    return (major, minor) >= _RUNTIME_25


def runtime_opset(operators: Iterable[str]) -> int:
    """The opset to declare to the installed onnxruntime for these standard operators: the hub's, if it can.

    An onnxruntime that does not load it has most kernels up to opset 21 (at 23 it lacks QuantizeLinear, at 22
    LpNormalization), so it gets 21, or 23 for operators that came with 23. The versions of an operator from 22 to 25
    add element types and options and change no result: a graph that does not use them means the same at 21, and one
    that does is refused by that onnxruntime itself.
    """
    if runs_hub_opset():
        return OPSET
    return 21 if all(schema_of(operator, "", 21) for operator in operators) else 23


def check_runtime(node: ir.Node, known: Inputs) -> None:
    """Refuse a node that the installed onnxruntime does not know or computes wrongly.

    Args:
        node: a node of the hub.
        known: its inputs as far as they are constants.

    Raises:
        ExecutionError: with the cause and the way out.
    """
    if runs_hub_opset() or node.domain:
        return
    cause = _fault(node, known)
    if cause:
        import onnxruntime

        raise ExecutionError(
            f"onnx {node.op_type} {node.name!r}: onnxruntime {onnxruntime.__version__} {cause}; {WAY_OUT}"
        )


def _fault(node: ir.Node, known: Inputs) -> str:
    if schema_of(node.op_type) and not schema_of(node.op_type, "", 23):
        return "does not know this operator"
    fault = _FAULTS.get(node.op_type)
    return fault(node.attributes, known) if fault is not None else ""


def _attention(attributes: Mapping[str, ir.Attr], known: Inputs) -> str:
    return "computes it wrongly where a row is masked entirely, and its products of queries and keys"


def _average_pool(attributes: Mapping[str, ir.Attr], known: Inputs) -> str:
    """The padding at the end of axis i is taken from ``pads[2 i + 1]`` instead of ``pads[n + i]``."""
    if not _integer(attributes, "count_include_pad"):
        return ""
    axes = len(attributes["kernel_shape"].as_ints())
    pads = attributes["pads"].as_ints() if "pads" in attributes else [0] * 2 * axes
    ends = [(pads[axes + axis], pads[2 * axis + 1]) for axis in range(axes)]
    rounded_up = _integer(attributes, "ceil_mode")
    automatic = "auto_pad" in attributes and attributes["auto_pad"].as_string() not in ("NOTSET", "VALID")
    if automatic or any(end != taken if rounded_up else end > taken for end, taken in ends):
        return "counts padding wrongly that differs between the sides"
    return ""


def _layer_normalization(attributes: Mapping[str, ir.Attr], known: Inputs) -> str:
    scale, bias = known[1:3] if len(known) > 2 else (None, None)
    if scale is not None and bias is not None and scale.shape != bias.shape:
        return "does not take a scale and a bias of different shapes"
    return ""


def _reduction(attributes: Mapping[str, ir.Attr], known: Inputs) -> str:
    axes = known[1] if len(known) > 1 else None
    if _integer(attributes, "noop_with_empty_axes") and (axes is None or not axes.size):
        return "leaves out the operation on each element where the axes are empty"
    return ""


def _reverse_sequence(attributes: Mapping[str, ir.Attr], known: Inputs) -> str:
    lengths = known[1] if len(known) > 1 else None
    return "reverses a sequence of length 0 wrongly" if lengths is None or not (lengths > 0).all() else ""


def _integer(attributes: Mapping[str, ir.Attr], name: str) -> int:
    return attributes[name].as_int() if name in attributes else 0


_FAULTS: dict[str, Callable[[Mapping[str, ir.Attr], Inputs], str]] = {
    "Attention": _attention,
    "AveragePool": _average_pool,
    "LayerNormalization": _layer_normalization,
    "ReduceL1": _reduction,
    "ReduceL2": _reduction,
    "ReduceLogSum": _reduction,
    "ReduceSumSquare": _reduction,
    "ReverseSequence": _reverse_sequence,
}
"""What onnxruntime 1.23 computes wrongly, or refuses in words of its own, at the opset it is given."""
