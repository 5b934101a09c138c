"""What is refused on the last onnxruntime for Python 3.10; the faults themselves were measured there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from workbench import ExecutionError
from workbench.hub import runtime


def node(operator: str, **attributes: Any) -> ir.Node:
    return ir.node(operator, [ir.Value(name=name) for name in "xyz"], attributes)


POOL = {"kernel_shape": [2, 2], "count_include_pad": 1}
LENGTHS = np.asarray([2, 5], np.int64)


@pytest.mark.parametrize(
    ("made", "known", "words"),
    [
        (node("Swish"), (None,), "does not know"),
        (node("Attention"), (None,), "masked"),
        (node("AveragePool", pads=[0, 0, 1, 0], **POOL), (None,), "padding"),
        (node("AveragePool", pads=[0, 1, 0, 0], ceil_mode=1, **POOL), (None,), "padding"),
        (node("AveragePool", auto_pad="SAME_UPPER", **POOL), (None,), "padding"),
        (node("AveragePool", pads=[0, 1, 0, 0], **POOL), (None,), ""),
        (node("AveragePool", pads=[1, 1, 1, 1], ceil_mode=1, **POOL), (None,), ""),
        (node("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 0]), (None,), ""),
        (node("LayerNormalization"), (None, np.ones(4), np.ones(1)), "different shapes"),
        (node("LayerNormalization"), (None, np.ones(4), np.ones(4)), ""),
        (node("ReduceL1", noop_with_empty_axes=1), (None, None), "axes are empty"),
        (node("ReduceL1", noop_with_empty_axes=1), (None, LENGTHS), ""),
        (node("ReduceL1"), (None, None), ""),
        (node("ReverseSequence"), (None, LENGTHS), ""),
        (node("ReverseSequence"), (None, LENGTHS - 2), "length 0"),
        (node("ReverseSequence"), (None, None), "length 0"),
        (node("Relu"), (None,), ""),
    ],
    ids=lambda value: value.op_type if isinstance(value, ir.Node) else None,
)
def test_faults_are_refused_with_the_way_out(
    made: ir.Node, known: tuple[Any, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "runs_hub_opset", lambda: False)
    if not words:
        runtime.check_runtime(made, known)
        return
    with pytest.raises(ExecutionError, match=words) as caught:
        runtime.check_runtime(made, known)
    assert "Python 3.11" in str(caught.value)
