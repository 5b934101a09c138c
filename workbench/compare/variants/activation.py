"""Activations that are missing, or others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from workbench.compare.variants.kit import (
    Variant,
    becoming,
    giving,
    known_array,
    varies,
)

Array = np.ndarray[Any, Any]


_ACTIVATIONS: tuple[tuple[str, str, Mapping[str, float | str]], ...] = (
    ("Identity", "", {}),
    ("Relu", "", {}),
    ("Sigmoid", "", {}),
    ("Tanh", "", {}),
    ("HardSigmoid", "alpha 0.2", {"alpha": 0.2}),
    ("HardSigmoid", "alpha 1/6", {"alpha": 1 / 6}),
    ("HardSwish", "", {}),
    ("Softplus", "", {}),
    ("Softsign", "", {}),
    ("Mish", "", {}),
    ("Selu", "", {}),
    ("Gelu", "exact", {"approximate": "none"}),
    ("Gelu", "by tanh", {"approximate": "tanh"}),
    ("Abs", "", {}),
    *(("LeakyRelu", f"alpha {alpha:g}", {"alpha": alpha}) for alpha in (0.01, 0.1, 0.2, 0.25, 0.3)),
    *(("Elu", f"alpha {alpha:g}", {"alpha": alpha}) for alpha in (1.0, 0.1, 0.5)),
)


@varies("Relu LeakyRelu PRelu Sigmoid Tanh HardSigmoid HardSwish Softplus Softsign Mish Selu Elu Gelu Celu Erf Clip")
def activation(node: ir.Node) -> Iterator[Variant]:
    """No activation, or another."""
    for operator, detail, attributes in _ACTIVATIONS:
        if operator == "Identity":
            yield Variant("activation missing", f"there is no {node.op_type}", becoming("Identity"))
        elif operator != node.op_type or attributes:
            text = f"{operator}{f' ({detail})' if detail else ''} instead of {node.op_type}"
            yield Variant("other activation", text, becoming(operator, **attributes))
    if node.op_type == "Clip" and all(known_array(node, index) is not None for index in (1, 2)):
        low = np.asarray(known_array(node, 1))
        for top in (1.0, 5.0, 6.0, 127 / 128 * 6):
            yield Variant("saturated", f"the upper bound {top:g}", giving(2, np.full_like(low, top)))
